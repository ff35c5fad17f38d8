/**
 * A flight recorder in a real guest, behind a real virtio-serial port: dumped by the host, which
 * comes and goes, and by an event in the guest while no host is there.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { JsonOutput } from "../agent-host/support/live.ts";
import { agentBinary } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";

setDefaultTimeout(120_000);
const READY_DEADLINE_MS = 30_000;
const OUTPUT_BYTES_MAX = 64 * 1024 * 1024;
const LOG = "/run/recorder.log";

let guest: QemuGuest;

async function untilSaid(text: string): Promise<void> {
  const said = async (): Promise<boolean> =>
    (await guest.shell.run(`cat ${LOG} 2>/dev/null`)).output.includes(text);
  await waitUntil(said, READY_DEADLINE_MS, `"${text}" of the guest's agent`);
}

/** Runs agent-host dump; gives what it printed. */
async function dump(): Promise<JsonOutput> {
  const args = ["dump", "--pull", guest.channel, "--json", "--quiet"];
  const { stdout } = await promisify(execFile)(agentBinary("agent-host"), args, {
    maxBuffer: OUTPUT_BYTES_MAX,
    timeout: READY_DEADLINE_MS,
  });
  return new JsonOutput(stdout);
}

beforeAll(async () => {
  ensureTracingMounts();
  const prerequisites = ensurePrerequisites({ progress: console.log });
  const initramfsPath = buildInitramfs(prerequisites, { programs: [agentBinary("agent-guest")] });
  guest = await QemuGuest.boot({ prerequisites, initramfsPath, config: {} });
  const push = `push="/dev/virtio-ports/${PERF_PORT_NAME}"`;
  const events = [
    `-e 'sched:sched_switch//${push}/'`,
    `-e 'sched:sched_process_exec/comm=="nproc"/trigger/'`,
  ];
  const command = `agent-guest trace --overwrite -m 16 ${events.join(" ")}`;
  await guest.shell.output(`${command} >${LOG} 2>&1 </dev/null & echo $!`);
  await untilSaid("Recording ");
});

afterAll(async () => {
  await guest?.shutdown();
});

test("the host dumps it, twice, and every event is accounted for", async () => {
  for (let i = 0; i < 2; i++) {
    await guest.shell.run("for i in 1 2 3 4 5 6 7 8 9; do usleep 1000; done");
    const { objects, verdict, faults } = await dump();
    const events = objects.filter(({ type }) => type === "event");
    expect(events.length).toBeGreaterThan(20);
    expect(events.every(({ event }) => event === "sched:sched_switch")).toBe(true);
    const clocks = events.map(({ clock_ns }) => BigInt(clock_ns as string));
    expect(clocks.every((clock, at) => at === 0 || clock >= clocks[at - 1]!)).toBe(true);
    expect(verdict).toMatchObject({ state: "balances", delivered: events.length });
    expect(faults).toEqual([]);
  }
});

test("an event in the guest triggers a dump, which waits for the host", async () => {
  // By its path: the shell runs what it knows by name without exec().
  await guest.shell.run("$(which nproc)");
  await untilSaid("events, which wait for a receiver");
  const { objects, verdict } = await dump();
  const execs = objects.filter(({ event }) => event === "sched:sched_process_exec");
  expect(execs).toHaveLength(1);
  expect(verdict).toMatchObject({ state: "balances" });
});
