/**
 * What the main thread and the engine's Worker say to each other. Results do not pass here: the
 * engine writes them to stdout itself.
 */
import type { ExitCode, Failure } from "../shared/cli/failure.ts";

export type EngineCommand = "trace" | "multi-trace" | "dump";

/** The order to begin; to stop the engine, set stopFlag and wake eventFd. */
export interface EngineOrder {
  readonly command: EngineCommand;
  /** The -e arguments as typed, in their order: each is a stage of multi-trace. */
  readonly events: readonly string[];
  /** -k: the key of every event that has none of its own. */
  readonly key: string | undefined;
  readonly cpus: string | undefined;
  /** A thread, or with `wholeProcess` a process, to sample; -1 for all. */
  readonly pid: number;
  readonly wholeProcess: boolean;
  readonly ringBytes: number;
  /** -g: sample the call chain of every event of the host. */
  readonly callChains: boolean;
  /** Show guest TSC cycles instead of host time. */
  readonly isTscDisplay: boolean;
  /** --tsc-offset as typed. */
  readonly tscOffset: string | undefined;
  /** --vm: process id, name or UUID. */
  readonly vm: string | undefined;
  /** --trust-pairs: pairs of events tighten the clocks' relation. */
  readonly trustPairs: boolean;
  /** -i: milliseconds, 0 for none. */
  readonly intervalMs: number;
  /** -N: stop after so many events, 0 for no limit. */
  readonly eventsMax: number;
  /** --than: nanoseconds, 0 for none. */
  readonly thanNs: number;
  readonly onlyThan: boolean;
  /** A pair over --than has the flight recorders dump, whose events are printed. */
  readonly dumpsOnThan?: boolean;
  readonly detail: string | undefined;
  readonly isPerInstance: boolean;
  readonly isCycle: boolean;
  readonly isJson: boolean;
  /** --resume: where to go on, and to say how far this run has got. */
  readonly resumePath: string | undefined;
  readonly agentVersion: string;
  readonly stopFlag: SharedArrayBuffer;
  readonly eventFdNumber: number;
}

/**
 * The key of events that have none: -k, or as in perf-prof the thread where one task is sampled,
 * else the CPU. Undefined where no key is needed.
 */
export function defaultKeyOf({ command, key, pid }: EngineOrder): string | undefined {
  if (key !== undefined || command !== "multi-trace") return key;
  return pid > 0 ? "_tid" : "_cpu";
}

/** The order of `agent-host clock`; it is stopped as the engine is. */
export interface ClockOrder {
  readonly command: "clock";
  /** What pull= names, in the order given. */
  readonly sources: readonly string[];
  /** --tsc-offset as typed. */
  readonly tscOffset: string | undefined;
  /** --vm: process id, name or UUID. */
  readonly vm: string | undefined;
  /** --watch: milliseconds from picture to picture, 0 for one at the end. */
  readonly watchMs: number;
  /** --for: milliseconds, 0 until everything has settled. */
  readonly forMs: number;
  readonly isJson: boolean;
  /** stdout is a terminal. */
  readonly isTerminal: boolean;
  readonly agentVersion: string;
  readonly stopFlag: SharedArrayBuffer;
  readonly eventFdNumber: number;
}

export type EngineNews =
  | { readonly kind: "status"; readonly text: string }
  | { readonly kind: "done"; readonly exitCode: ExitCode }
  | { readonly kind: "failed"; readonly failure: Failure };
