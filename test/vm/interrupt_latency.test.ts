/**
 * The main job, end to end: both compiled agents, a real guest, its channel, and interrupts that
 * QEMU injects. Once with everything as easy as it gets, once with what a stock guest brings along:
 * a TSC that the kernel gave up, no udev, a unix socket.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { TRACING_CAPABILITIES } from "../../shared/cli/privileges.ts";
import { CAP_SYS_ADMIN, capabilityMask, parsePrivileges } from "../../shared/sys/capability.ts";
import {
  agentBinary,
  guestTraceCommand,
  HostAgent,
  multiTraceEvents,
  waitForGuestPerfEvents,
} from "./agents.ts";
import { eventsOf, type HostReport, parseHostReport } from "./host_report.ts";
import { buildInitramfs } from "./initramfs.ts";
import { parseMsiLines } from "./msi.ts";
import { type PokeInterrupt, Poker } from "./poke.ts";
import { ensurePrerequisites, type Prerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import type { GuestConfig } from "./qemu_args.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";
import { Workspace } from "./workspace.ts";

const INTERRUPTS = 1_000;
const INTERRUPTS_PER_KILL = 200;
/** The guest may look into the queue before the interrupt: QEMU then saves the next injection. */
const COUNTED_SHARE_MIN = 0.9;
/** An injection that falls together with the one before has no handler run of its own. */
const PAIRED_SHARE_MIN = 0.98;
/** Pings alone come to some hundred; an idle machine gets to 1. */
const CLOCK_BOUND_US_MAX = 50;

const GUESTS: readonly (readonly [string, Partial<GuestConfig>])[] = [
  ["tcp, TSC kept", { transport: "tcp", tsc: "reliable", portLinks: true }],
  ["unix socket, stock TSC, no udev", { transport: "unix", tsc: "stock", portLinks: false }],
];

setDefaultTimeout(180_000);

describe.each(GUESTS)("interrupt latency of a real guest (%s)", (_name, config) => {
  const workspace = new Workspace();
  let prerequisites: Prerequisites;
  let guest: QemuGuest;
  let poker: Poker;
  let interrupt: PokeInterrupt;
  let guestAgentPid = 0;
  /** Handler runs before the guest's agent opened its event. */
  let handledBefore = 0;

  async function handled(): Promise<number> {
    const lines = parseMsiLines(await guest.shell.output("cat /proc/interrupts"));
    return lines.find(({ irq }) => irq === interrupt.line.irq)?.count ?? 0;
  }

  async function startHost(): Promise<HostAgent> {
    const events = multiTraceEvents(guest, interrupt, prerequisites.qemuPath);
    const host = new HostAgent(workspace, ["multi-trace", ...events.flatMap((e) => ["-e", e])]);
    await host.waitReady();
    return host;
  }

  /** The report of an agent-host that was asked to end: positive latencies, whole ledger. */
  async function endAndCheck(host: HostAgent, interrupts: number): Promise<HostReport> {
    const status = await host.end("SIGINT");
    const report = parseHostReport(host.log.lines);
    const row = report.latencies.find(({ start }) => start === "msi_send_message");
    if (status !== 0 || row === undefined) {
      throw guest.explain(new Error(`agent-host ended with ${status}:\n${host.log.tail(40)}`));
    }
    const injected = eventsOf(report, "host");
    expect(injected).toBeGreaterThan(interrupts * COUNTED_SHARE_MIN);
    expect(injected).toBeLessThanOrEqual(interrupts);
    expect(row.calls).toBeGreaterThanOrEqual(injected * PAIRED_SHARE_MIN);
    expect(row.calls).toBeLessThanOrEqual(injected);
    expect(row.min).toBeGreaterThanOrEqual(0);
    expect(report.violations).toBe(0);
    expect(report.clockBoundsUs.length).toBe(1);
    expect(report.clockBoundsUs[0]).toBeLessThan(CLOCK_BOUND_US_MAX);
    const clockLines = host.log.lines.filter((line) => /^guest 1: |^clock bound:/.test(line));
    console.log(clockLines.join("\n"));
    expect(clockLines.join("\n")).toMatch(/QEMU's emulated TSC, \d+ readings/);
    expect(clockLines.join("\n")).toMatch(/ping agrees: \d+ round trips/);
    expect(report.verdict).toStartWith("balances");
    return report;
  }

  beforeAll(async () => {
    ensureTracingMounts();
    prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
    poker = new Poker(guest);
    await poker.start();
    interrupt = await poker.learnInterrupt();
    handledBefore = await handled();
    guestAgentPid = await guest.startInGuest(guestTraceCommand(interrupt));
    await waitForGuestPerfEvents(guest, guestAgentPid);
  });

  afterAll(async () => {
    await workspace.dispose();
    await guest?.shutdown();
  });

  test("the guest's agent holds what its kernel wants, and nothing else", async () => {
    const status = await guest.shell.run(`cat /proc/${guestAgentPid}/task/*/status`);
    const paranoid = await guest.shell.run("cat /proc/sys/kernel/perf_event_paranoid");
    // Debian's kernel takes no CAP_PERFMON while this is above 2.
    const wanted = [
      ...TRACING_CAPABILITIES,
      ...(Number(paranoid.output) > 2 ? [CAP_SYS_ADMIN] : []),
    ];
    const threads = status.output.split(/^(?=Name:)/m).map((text) => parsePrivileges(text));
    expect(threads.length).toBeGreaterThan(2);
    for (const { permitted, effective, bounding } of threads) {
      const masks = [permitted, effective, bounding];
      expect(masks).toEqual(masks.map(() => capabilityMask(...wanted)));
    }
  });

  test("every interrupt is paired, none before its cause, and the ledger balances", async () => {
    const host = await startHost();
    const before = await handled();
    await poker.poke(INTERRUPTS);
    const report = await endAndCheck(host, INTERRUPTS);
    const inGuest = eventsOf(report, "guest 1");
    expect(inGuest).toBeGreaterThanOrEqual((await handled()) - before);
    expect(inGuest).toBeLessThanOrEqual((await handled()) - handledBefore);
  });

  test("agent-guest outlives a SIGKILL of agent-host; the stream goes on", async () => {
    // More of them, with each event accounted for: kills.test.ts.
    const first = await startHost();
    let killed: Promise<number | string> | undefined;
    await poker.poke(INTERRUPTS_PER_KILL, (done) => {
      if (done === INTERRUPTS_PER_KILL / 2) {
        killed = first.end("SIGKILL");
      }
    });
    expect(await killed).toBe("SIGKILL");
    expect(await guest.isRunningInGuest(guestAgentPid)).toBe(true);
    const host = await startHost();
    await poker.poke(INTERRUPTS_PER_KILL);
    await endAndCheck(host, INTERRUPTS_PER_KILL);
    expect(await guest.isRunningInGuest(guestAgentPid)).toBe(true);
  });
});
