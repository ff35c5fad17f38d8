/**
 * Host-driven capture of a real guest: its /init starts `agent-guest serve`, and nothing is ever
 * typed in it. The host asks for events over the real virtio port, measures, asks for others.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { agentBinary, HostAgent, multiTraceEvents } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { eventsOf, parseHostReport } from "./host_report.ts";
import { buildInitramfs } from "./initramfs.ts";
import { type PokeInterrupt, Poker } from "./poke.ts";
import { ensurePrerequisites, type Prerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";
import { Workspace } from "./workspace.ts";

const INTERRUPTS = 500;
/** The guest may look into the queue before the interrupt: QEMU then saves the next injection. */
const COUNTED_SHARE_MIN = 0.9;
/** An injection that falls together with the one before has no handler run of its own. */
const PAIRED_SHARE_MIN = 0.98;
const STEP_DEADLINE_MS = 20_000;
const CONFIG = 'max-events = 4\ndeny = ["sched:*"]\ngrace = "2s"\n';

setDefaultTimeout(180_000);

describe("agent-guest serve in a real guest", () => {
  const workspace = new Workspace();
  let prerequisites: Prerequisites;
  let guest: QemuGuest;
  let poker: Poker;
  let interrupt: PokeInterrupt;

  /** The pulled stage of the interrupt, with its filter for the guest's kernel. */
  const pulledEvent = (): string =>
    `irq:irq_handler_entry/name~"${interrupt.line.name}*"/pull=${guest.channel}/`;

  async function perfEventsInGuest(): Promise<number> {
    const script = "ls -l /proc/[0-9]*/fd 2>/dev/null | grep -c perf_event; true";
    return Number((await guest.shell.output(script)).trim());
  }

  async function untilNoEvents(): Promise<void> {
    const isOver = async (): Promise<boolean> => (await perfEventsInGuest()) === 0;
    await waitUntil(isOver, STEP_DEADLINE_MS, "the guest to close its events");
  }

  /** Runs agent-host to its end, which it finds by itself. */
  async function run(...args: string[]): Promise<{ status: number | string; lines: string }> {
    const host = new HostAgent(workspace, args);
    const status = await host.waitEnd();
    return { status, lines: host.log.lines.join("\n") };
  }

  beforeAll(async () => {
    ensureTracingMounts();
    prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const files = { "/etc/vmspan/agent-guest.toml": CONFIG };
    const initramfsPath = buildInitramfs(prerequisites, { programs, files });
    const config = { serves: true, tsc: "stock", portLinks: false } as const;
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
    poker = new Poker(guest);
    await poker.start();
    interrupt = await poker.learnInterrupt();
    await guest.console.waitForLine(/^Waiting for a host at /, STEP_DEADLINE_MS);
  });

  afterAll(async () => {
    await workspace.dispose();
    await guest?.shutdown();
  });

  test("interrupt latency is measured with nothing typed in the guest", async () => {
    expect(await perfEventsInGuest()).toBe(0);
    const [injection = "", handler = ""] = multiTraceEvents(
      guest,
      interrupt,
      prerequisites.qemuPath,
    );
    const key = handler.slice(handler.indexOf("key="));
    const stages = ["-e", injection, "-e", `${pulledEvent()}${key}`];
    const host = new HostAgent(workspace, ["multi-trace", ...stages]);
    await host.waitReady();
    expect(await perfEventsInGuest()).toBeGreaterThan(0);
    await poker.poke(INTERRUPTS);
    const status = await host.end("SIGINT");
    const report = parseHostReport(host.log.lines);
    const row = report.latencies.find(({ start }) => start === "msi_send_message");
    if (status !== 0 || row === undefined) {
      throw guest.explain(new Error(`agent-host ended with ${status}:\n${host.log.tail(40)}`));
    }
    const injected = eventsOf(report, "host");
    expect(injected).toBeGreaterThan(INTERRUPTS * COUNTED_SHARE_MIN);
    expect(row.calls).toBeGreaterThanOrEqual(injected * PAIRED_SHARE_MIN);
    expect(row.min).toBeGreaterThanOrEqual(0);
    expect(report.violations).toBe(0);
    expect(report.verdict).toStartWith("balances");
    // The guest's kernel filtered: the ledger has none but this line's handler runs.
    expect(eventsOf(report, "guest 1")).toBeLessThanOrEqual(injected * 1.1);
    await untilNoEvents();
  });

  test("another host asks for other events, by wildcard", async () => {
    const host = new HostAgent(workspace, [
      ...["trace", "-e", `irq:irq_handler_e*//pull=${guest.channel}/`, "-N", "20"],
    ]);
    await host.waitReady();
    await poker.poke(20);
    expect(await host.waitEnd()).toBe(0);
    expect(host.log.lines.some((line) => line.includes("irq:irq_handler_entry:"))).toBe(true);
    expect(host.log.lines.some((line) => line.includes("irq:irq_handler_exit:"))).toBe(true);
    await untilNoEvents();
  });

  test("an agent that dies is started again by init, and asked again by the host", async () => {
    const host = new HostAgent(workspace, ["trace", "-e", pulledEvent()]);
    await host.waitReady();
    await poker.poke(5);
    await host.log.waitForLine(/irq:irq_handler_entry:/, STEP_DEADLINE_MS);
    const before = host.log.lines.length;
    await guest.shell.output("kill -9 $(pidof agent-guest)");
    const goesOn = async (): Promise<boolean> => {
      await poker.poke(1);
      const later = host.log.lines.slice(before);
      return later.some((line) => line.includes("irq:irq_handler_entry:"));
    };
    await waitUntil(goesOn, STEP_DEADLINE_MS, "events of the agent that init started");
    expect(await host.end("SIGINT")).toBe(0);
    await untilNoEvents();
  });

  test("what the guest does not allow, know or take is refused with its reason", async () => {
    const pull = `pull=${guest.channel}/`;
    const refusals: readonly (readonly [string, RegExp])[] = [
      [`sched:sched_switch//${pull}`, /this guest does not allow it \(PERMISSION\)/],
      [`irq:irq_handler_enty//${pull}`, /\(UNKNOWN_EVENT\)\nHINT: did you mean irq:irq_handler_en/],
      [`irq:irq_handler_entry/nofield==1/${pull}`, /\(BAD_FILTER\)\n {2}nofield==1\n {2}\^/],
      [`irq:*//${pull}`, /Cannot open \d+ events: this guest allows 4 \(LIMIT\)/],
    ];
    for (const [event, wanted] of refusals) {
      const { status, lines } = await run("trace", "-e", event);
      expect(lines).toMatch(wanted);
      expect(status).toBe(4);
    }
    expect(await perfEventsInGuest()).toBe(0);
  });

  test("list --pull shows what the guest allows", async () => {
    const { status, lines } = await run("list", "--pull", guest.channel, "irq:*", "block:*");
    expect(status).toBe(0);
    expect(lines).toMatch(/^irq:irq_handler_entry +irq name$/m);
    const refused = await run("list", "--pull", guest.channel, "sched:*");
    expect(refused.status).toBe(1);
  });

  test("events of a host that was killed are closed when the grace period is over", async () => {
    const host = new HostAgent(workspace, ["trace", "-e", pulledEvent()]);
    await host.waitReady();
    expect(await perfEventsInGuest()).toBeGreaterThan(0);
    expect(await host.end("SIGKILL")).toBe("SIGKILL");
    await untilNoEvents();
  });
});
