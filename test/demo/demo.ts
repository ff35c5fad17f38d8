/**
 * `make demo`: interrupt latency of a real virtual machine, with one command.
 *
 *   demo   0.1 s  guest: Debian's kernel 6.1.0-56-amd64, emulated by QEMU
 *   demo   6.5 s  guest is up: 2 CPUs, channel org.qemu.perf0 on 127.0.0.1:40123
 *   ...
 *             start => end                  calls      total(us) ...
 *
 * Two agents, as on a real host: agent-guest in the guest sends the guest's irq_handler_entry over
 * virtio-serial; agent-host puts a uprobe on the function with which QEMU sends an MSI, and pairs.
 * Everything that is printed without "demo" in front comes from agent-host itself.
 */

import { parseArgs } from "node:util";
import {
  agentBinary,
  guestTraceCommand,
  HostAgent,
  multiTraceEvents,
  waitForGuestPerfEvents,
} from "../vm/agents.ts";
import { waitUntil } from "../vm/deadline.ts";
import { eventsOf, type HostReport, parseHostReport } from "../vm/host_report.ts";
import { buildInitramfs } from "../vm/initramfs.ts";
import { Poker } from "../vm/poke.ts";
import { ensurePrerequisites, type Prerequisites } from "../vm/prerequisites.ts";
import { QemuGuest } from "../vm/qemu.ts";
import type { Transport, TscMode } from "../vm/qemu_args.ts";
import { ensureTracingMounts } from "../vm/tracing_mounts.ts";
import { Workspace } from "../vm/workspace.ts";

const INTERRUPTS_DEFAULT = 4_000;
const INTERRUPTS_MAX = 1_000_000;
const PROGRESS_INTERVAL_MS = 2_000;
const GUEST_AGENT_END_DEADLINE_MS = 10_000;
/** The guest may look into the queue before the interrupt: QEMU then saves the next injection. */
const COUNTED_SHARE_MIN = 0.9;
/** An injection that falls together with the one before has no handler run of its own. */
const PAIRED_SHARE_MIN = 0.98;

const USAGE = `usage: demo.ts [--count N] [--transport tcp|unix] [--tsc reliable|stock]`;

interface DemoOptions {
  readonly count: number;
  readonly transport: Transport;
  readonly tsc: TscMode;
}

const startMs = performance.now();

function say(line: string): void {
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1).padStart(5);
  console.log(`demo  ${seconds} s  ${line}`);
}

function parseOptions(argv: readonly string[]): DemoOptions {
  const { values } = parseArgs({
    args: [...argv],
    options: {
      count: { type: "string", default: String(INTERRUPTS_DEFAULT) },
      transport: { type: "string", default: "tcp" },
      // As a guest under KVM keeps it; emulated, Debian's kernel drops it for the HPET.
      tsc: { type: "string", default: "reliable" },
    },
  });
  const { count, transport, tsc } = values;
  const number = Number(count);
  if (!Number.isInteger(number) || number < 1 || number > INTERRUPTS_MAX) {
    throw new RangeError(`Cannot use --count ${count}, wanted 1 to ${INTERRUPTS_MAX}`);
  }
  if ((transport !== "tcp" && transport !== "unix") || (tsc !== "reliable" && tsc !== "stock")) {
    throw new RangeError(`Cannot use --transport ${transport} --tsc ${tsc}, ${USAGE}`);
  }
  return { count: number, transport, tsc };
}

function requireRoot(): void {
  if (process.getuid?.() !== 0) {
    throw new Error("Cannot trace QEMU: not root, wanted: sudo make demo");
  }
}

function setUp(): Prerequisites {
  requireRoot();
  agentBinary("agent-host");
  const prerequisites = ensurePrerequisites({ progress: say });
  for (const path of ensureTracingMounts()) {
    say(`mounted ${path}`);
  }
  return prerequisites;
}

/** Provokes the interrupts and tells how far it is. */
async function provoke(poker: Poker, count: number): Promise<void> {
  let toldMs = performance.now();
  await poker.poke(count, (done) => {
    if (performance.now() - toldMs >= PROGRESS_INTERVAL_MS) {
      toldMs = performance.now();
      say(`${done} of ${count} interrupts`);
    }
  });
}

/** The numbers printed above have to make sense, or the demo fails. */
function checkReport(report: HostReport, count: number): void {
  const injected = eventsOf(report, "host");
  const paired = report.latencies.reduce((sum, { calls }) => sum + calls, 0);
  if (injected < count * COUNTED_SHARE_MIN || paired < injected * PAIRED_SHARE_MIN) {
    throw new Error(`agent-host saw ${injected} of ${count} injections and paired ${paired}`);
  }
  if (report.violations > 0) {
    throw new Error(`${report.violations} handler runs are stamped before their injection`);
  }
  if (!report.verdict.startsWith("balances")) {
    throw new Error(`The ledger of agent-host says: ${report.verdict}`);
  }
}

async function measure(
  guest: QemuGuest,
  prerequisites: Prerequisites,
  options: DemoOptions,
): Promise<void> {
  const workspace = new Workspace();
  try {
    const poker = new Poker(guest);
    await poker.start();
    const interrupt = await poker.learnInterrupt();
    const { address, data } = interrupt.message;
    say(
      `interrupt to watch: ${interrupt.line.name}, irq ${interrupt.line.irq} in the guest, ` +
        `MSI address 0x${address.toString(16)} data 0x${data.toString(16)} on the host`,
    );
    const command = guestTraceCommand(interrupt);
    say(`guest# ${command}`);
    const guestAgentPid = await guest.startInGuest(command);
    await waitForGuestPerfEvents(guest, guestAgentPid);

    const events = multiTraceEvents(guest, interrupt, prerequisites.qemuPath);
    const args = ["multi-trace", ...events.flatMap((event) => ["-e", event]), "--order"];
    say(
      `host#  agent-host multi-trace ${events.map((event) => `-e '${event}'`).join(" ")} --order`,
    );
    const host = new HostAgent(workspace, args, console.log);
    await host.waitReady();
    say(`provoking ${options.count} interrupts, one at a time`);
    await provoke(poker, options.count);
    say("done, asking agent-host for its report");
    const status = await host.end("SIGINT");
    if (status !== 0) {
      throw new Error(`agent-host failed: exit status ${status}`);
    }
    await guest.shell.output(`kill -INT ${guestAgentPid}`);
    await waitUntil(
      async () => !(await guest.isRunningInGuest(guestAgentPid)),
      GUEST_AGENT_END_DEADLINE_MS,
      "agent-guest to end after SIGINT",
    );
    checkReport(parseHostReport(host.log.lines), options.count);
  } finally {
    await workspace.dispose();
  }
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv.slice(2));
  const prerequisites = setUp();
  const { release } = prerequisites.kernel;
  say(`booting a guest: Debian's kernel ${release}, emulated by QEMU (no KVM needed)`);
  const initramfsPath = buildInitramfs(prerequisites, { programs: [agentBinary("agent-guest")] });
  const guest = await QemuGuest.boot({
    prerequisites,
    initramfsPath,
    config: { transport: options.transport, tsc: options.tsc },
  });
  say(`guest is up: ${guest.config.cpus} CPUs, channel org.qemu.perf0 on ${guest.channel}`);
  try {
    await measure(guest, prerequisites, options);
  } catch (error) {
    throw guest.explain(error);
  } finally {
    await guest.shutdown();
  }
  say("guest ended, nothing left behind");
}

if (import.meta.main) {
  try {
    await main();
  } catch (error) {
    console.error(`demo  failed: ${error instanceof Error ? error.message : String(error)}`);
    process.exitCode = 1;
  }
}
