/**
 * A sampler under test, whatever it is: a command that samples raw_syscalls:sys_enter of one
 * thread, what tells that it is ready, and what it lost.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, openSync, readFileSync } from "node:fs";
import {
  type ExitUsage,
  openPerfEvents,
  processTree,
  treeCpuNs,
  waitForExit,
  writtenBy,
} from "./kernel.ts";

const READY_DEADLINE_MS = 20_000;
const EXIT_DEADLINE_MS = 60_000;
/** It is ready when it holds its events and has done next to nothing for a while. */
const QUIET_MS = 100;
const QUIET_CPU_NS_MAX = 5_000_000;
const CHECK_MS = 10;

/** The sampler's CPU; the load and the readers have the other one. */
export const SAMPLER_CPU = 1;
export const LOAD_CPU = 0;

/** Ring size that all samplers get. */
export const RING_PAGES = 1024;

/** A sampler did not come up, or did not end. */
export class SamplerError extends Error {
  override readonly name = "SamplerError";
}

/** One process, pinned to the sampler's CPU, output in a file. */
export class SamplerProcess {
  readonly #child: ChildProcess;
  readonly #name: string;
  readonly #logPath: string;

  constructor(name: string, command: readonly string[], logPath: string) {
    this.#name = name;
    this.#logPath = logPath;
    const log = openSync(logPath, "w");
    this.#child = spawn("taskset", ["-c", String(SAMPLER_CPU), ...command], {
      stdio: ["ignore", log, log],
    });
    closeSync(log);
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** What it printed so far. */
  get log(): string {
    return readFileSync(this.#logPath, "utf8");
  }

  /** Resolves when `hasEvents` is true and the process has become quiet. Throws SamplerError. */
  async ready(hasEvents: () => boolean): Promise<void> {
    const endMs = performance.now() + READY_DEADLINE_MS;
    let quietSinceMs = performance.now();
    let cpuNs = treeCpuNs(this.pid);
    while (!hasEvents() || performance.now() - quietSinceMs < QUIET_MS) {
      if (this.#child.exitCode !== null || performance.now() > endMs) {
        throw new SamplerError(`"${this.#name}" did not come up: ${this.log.trim()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, CHECK_MS));
      const nowNs = treeCpuNs(this.pid);
      if (nowNs - cpuNs < QUIET_CPU_NS_MAX && hasEvents()) continue;
      quietSinceMs = performance.now();
      cpuNs = nowNs;
    }
  }

  get holdsPerfEvents(): boolean {
    return openPerfEvents(this.pid) > 0;
  }

  get cpuNs(): number {
    return treeCpuNs(this.pid);
  }

  get written(): { readonly bytes: number; readonly calls: number } {
    return writtenBy(this.pid);
  }

  /** Asks it to end, and waits. Throws SamplerError. */
  stop(): ExitUsage {
    process.kill(this.pid, "SIGINT");
    return this.waitForEnd(EXIT_DEADLINE_MS);
  }

  /** Waits until it ends by itself, or is told to by others. Throws SamplerError. */
  waitForEnd(deadlineMs: number): ExitUsage {
    const usage = waitForExit(this.pid, deadlineMs);
    if (usage !== undefined) return usage;
    throw new SamplerError(`"${this.#name}" did not end in ${deadlineMs} ms: ${this.log.trim()}`);
  }

  kill(): void {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return;
    for (const pid of processTree(this.pid)) process.kill(pid, "SIGKILL");
  }
}

/** What one run of a sampler gave. */
export interface Outcome {
  /** Bytes that reached the sink, 0 when that is not known. */
  readonly sinkBytes: number;
  /** Events that it lost, by its own account; undefined when it does not say. */
  readonly lost: number | undefined;
  /** Events that it delivered, by its own account or by ours; undefined when not known. */
  readonly delivered: number | undefined;
}

/** A sampler that is running. */
export interface Running {
  readonly process: SamplerProcess;
  readonly hasEvents: () => boolean;
  /** Called before the sampler is told to end. */
  readonly beforeStop?: () => void;
  /** Called after its end; frees everything. */
  outcome(): Promise<Outcome>;
  /** Frees everything after a failure. */
  abort(): void;
}

/** A way to sample. */
export interface Sampler {
  /** "agent-guest to a file" */
  readonly name: string;
  start(tid: number): Promise<Running>;
}
