/**
 * The host's half of the bench, from recorded files: two million sys_enter and as many sys_exit of
 * one thread, recorded by agent-guest, then paired and printed by agent-host on one core.
 *
 * Rates count from the start of the process to its end: what a user waits for.
 */
import { readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { AGENT_GUEST, readLedger } from "./agent.ts";
import type { Load } from "./program.ts";
import { SamplerError, SamplerProcess } from "./sampler.ts";

const AGENT_HOST = "dist/agent-host";
const EXIT_DEADLINE_MS = 120_000;

export interface Recording {
  readonly enterPath: string;
  readonly exitPath: string;
  readonly events: number;
}

export interface HostRun {
  readonly perSecond: number;
  readonly cpuNsPerEvent: number;
}

/** The recording is a means, not what is measured: rings that nothing can fill. */
const RECORDING_PAGES = 32768;

/** Records `calls` system calls into two files. Throws SamplerError when some were lost. */
export async function recordCalls(load: Load, folder: string, calls: number): Promise<Recording> {
  const enterPath = join(folder, "enter.vms");
  const exitPath = join(folder, "exit.vms");
  const event = (name: string, path: string): string[] => {
    const filter = `common_pid==${load.tid}`;
    return ["-e", `raw_syscalls:${name}/${filter}/push="${path}"/`];
  };
  const events = [...event("sys_enter", enterPath), ...event("sys_exit", exitPath)];
  const command = [AGENT_GUEST, "trace", ...events, "-m", String(RECORDING_PAGES)];
  const agent = new SamplerProcess("agent-guest", command, join(folder, "record.log"));
  try {
    await agent.ready(() => agent.holdsPerfEvents);
    await load.run(calls, 0);
    agent.stop();
    const lost = readLedger(agent.log)?.lost;
    if (lost !== 0)
      throw new SamplerError(`"agent-guest" lost ${lost} events: ${agent.log.trim()}`);
    return { enterPath, exitPath, events: 2 * calls };
  } finally {
    agent.kill();
  }
}

export function deleteRecording({ enterPath, exitPath }: Recording): void {
  rmSync(enterPath, { force: true });
  rmSync(exitPath, { force: true });
}

/** Runs agent-host to its own end. Throws SamplerError when it fails. */
function runToEnd(args: readonly string[], events: number, logPath: string, out: string): HostRun {
  const startMs = performance.now();
  const command = ["sh", "-c", `exec "$@" >"${out}"`, "sh", AGENT_HOST, ...args];
  const agent = new SamplerProcess("agent-host", command, logPath);
  const usage = agent.waitForEnd(EXIT_DEADLINE_MS);
  const seconds = (performance.now() - startMs) / 1000;
  if (usage.exitCode !== 0) {
    throw new SamplerError(`"agent-host" ended with ${usage.exitCode}: ${agent.log.trim()}`);
  }
  return { perSecond: events / seconds, cpuNsPerEvent: usage.cpuNs / events };
}

/** Decodes, merges, pairs by common_pid and fills a histogram, on one core. */
export function measurePairing(recording: Recording, folder: string): HostRun {
  const { enterPath, exitPath, events } = recording;
  const args = [
    "multi-trace",
    "-e",
    `raw_syscalls:sys_enter//pull="${enterPath}"/key=common_pid/`,
    "-e",
    `raw_syscalls:sys_exit//pull="${exitPath}"/key=common_pid/`,
  ];
  const out = join(folder, "multi-trace.txt");
  const run = runToEnd(args, events, join(folder, "multi-trace.log"), out);
  const table = readFileSync(out, "utf8");
  const pairs = Number(/sys_enter => sys_exit +(\d+)/.exec(table)?.[1] ?? 0);
  if (pairs < (events / 2) * 0.999) {
    throw new SamplerError(`"agent-host" made ${pairs} pairs of ${events} events: ${table.trim()}`);
  }
  return run;
}

/** Prints every sys_enter to /dev/null, on one core. */
export function measurePrinting(recording: Recording, folder: string): HostRun {
  const args = ["trace", "-e", `raw_syscalls:sys_enter//pull="${recording.enterPath}"/`];
  return runToEnd(args, recording.events / 2, join(folder, "trace.log"), "/dev/null");
}
