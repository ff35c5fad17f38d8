/**
 * The main job, end to end: both compiled agents, a real guest, its channel, and interrupts that
 * QEMU injects. Once with everything as easy as it gets, once with what a stock guest brings along:
 * a TSC that the kernel gave up, no udev, a unix socket.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import {
  agentBinary,
  guestTraceCommand,
  HostAgent,
  multiTraceEvents,
  waitForGuestPerfEvents,
} from "./agents.ts";
import { type LatencyRow, latencyRows, ledgerLines } from "./host_report.ts";
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
const KILLS = 3;
/** Interrupts that fall together with the one before have no handler run of their own. */
const PAIRED_SHARE_MIN = 0.98;

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

  function injectionRow(host: HostAgent): LatencyRow {
    const row = latencyRows(host.log.lines).find(({ start }) => start === "msi_send_message");
    if (row === undefined) {
      throw guest.explain(new Error(`No latency table in:\n${host.log.tail(40)}`));
    }
    return row;
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

  test("every interrupt is paired, none before its cause, and the ledger balances", async () => {
    const host = await startHost();
    await poker.poke(INTERRUPTS);
    expect(await host.end("SIGINT")).toBe(0);
    const row = injectionRow(host);
    expect(row.calls).toBeGreaterThanOrEqual(INTERRUPTS * PAIRED_SHARE_MIN);
    expect(row.calls).toBeLessThanOrEqual(INTERRUPTS);
    expect(row.min).toBeGreaterThan(0);
    const ledger = ledgerLines(host.log.lines).at(-1)!;
    expect(ledger.produced).toBe((await handled()) - handledBefore);
    expect(ledger.produced).toBe(ledger.delivered + ledger.lostKernel + ledger.dropped);
    expect(ledger.lostKernel + ledger.dropped).toBe(0);
  });

  test(`agent-guest outlives ${KILLS} SIGKILLs of agent-host; the stream goes on`, async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      const host = await startHost();
      const poking = poker.poke(INTERRUPTS_PER_KILL);
      await host.end("SIGKILL");
      await poking;
      expect(await guest.isRunningInGuest(guestAgentPid)).toBe(true);
    }
    const host = await startHost();
    await poker.poke(INTERRUPTS_PER_KILL);
    expect(await host.end("SIGINT")).toBe(0);
    const row = injectionRow(host);
    expect(row.calls).toBeGreaterThanOrEqual(INTERRUPTS_PER_KILL * PAIRED_SHARE_MIN);
    expect(row.min).toBeGreaterThan(0);
    expect(await guest.isRunningInGuest(guestAgentPid)).toBe(true);
  });
});
