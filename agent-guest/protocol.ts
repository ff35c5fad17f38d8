/**
 * What the main thread and the sampler worker say to each other. No event data: only the order to
 * begin, and what the user is to be told.
 */
import type { Failure } from "../shared/cli/failure.ts";
import type { Limits, RateLimits } from "./serve/limits.ts";
import type { PushTarget } from "./sink/push_target.ts";

/** The order to begin, the worker's only message; to stop it, set stopFlag and wake eventFd. */
export interface SamplerOrder {
  /** The -e arguments as typed. */
  readonly events: readonly string[];
  readonly cpus: string | undefined;
  /** A thread, or with `wholeProcess` a process, to sample; -1 for all. */
  readonly pid: number;
  readonly wholeProcess: boolean;
  readonly ringBytes: number;
  /** -g: sample the call chain of every event. */
  readonly callChains: boolean;
  readonly isTscDisplay: boolean;
  /** Descriptors of files that were opened before privileges were given up, by path. */
  readonly recordings: ReadonlyMap<string, number>;
  readonly agentVersion: string;
  readonly rates: RateLimits;
  /** Where to wait for hosts, and what they may ask; undefined for fixed events. */
  readonly serve: { readonly sinks: readonly PushTarget[]; readonly limits: Limits } | undefined;
  /** Rings are overwritten, and sent when something triggers that. */
  readonly isOverwrite: boolean;
  /** Int32Array of two: not zero means stop; how often a dump was asked for by signal. */
  readonly stopFlag: SharedArrayBuffer;
  readonly eventFdNumber: number;
}

/** One CPU's row of a ledger, in numbers that print. */
export interface LedgerRow {
  readonly cpu: number;
  readonly produced: number;
  readonly lostKernel: number;
  readonly dropped: number;
  readonly places: string;
}

export interface LedgerReport {
  readonly name: string;
  /** Empty when the stream began while events ran for others: its counts cannot be compared. */
  readonly rows: readonly LedgerRow[];
}

/** How a run ended: with its ledgers in any case, and why when a sink gave up. */
export interface SamplerResult {
  readonly ledgers: readonly LedgerReport[];
  readonly failure: Failure | undefined;
}

export type SamplerNews =
  | { readonly kind: "status"; readonly text: string }
  | ({ readonly kind: "done" } & SamplerResult)
  | { readonly kind: "failed"; readonly failure: Failure };
