/**
 * agent-guest and agent-host on this machine, as guest and host of each other: both see the same
 * calls of the test's own thread, numbered in their first argument, so that everything can be
 * counted and the true latency between the two sides is known to be zero.
 */
import { OWN_GETPPID } from "../../shared/event/kernel.ts";
import type { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "./agent_process.ts";

/** The number of a call: the first argument of the system call. */
export const CALL_NUMBER = "args[0]";

/** agent-guest pushing this thread's calls to `push`; ready to be pulled from. */
export async function startGuest(
  workspace: Workspace,
  push: string,
  args: readonly string[] = [],
): Promise<AgentProcess> {
  const event = `${OWN_GETPPID()}push="${push}"/`;
  const guest = startAgent(workspace, "agent-guest", ["trace", "-e", event, ...args]);
  await guest.said(/^Pushing /m);
  return guest;
}

/** This thread's calls, as pulled from `pull`. */
export function pulled(pull: string, attributes = ""): string {
  return `raw_syscalls:sys_enter//pull="${pull}"/${attributes}`;
}

/** agent-host with live sources, once it traces: calls made from now on are seen. */
export async function startHost(
  workspace: Workspace,
  args: readonly string[],
): Promise<AgentProcess> {
  const host = startAgent(workspace, "agent-host", args);
  await host.said(/^Tracing$/m);
  return host;
}

export interface LedgerObject {
  readonly machine: string;
  readonly stream?: string;
  readonly cpu: number;
  readonly produced: number | null;
  readonly delivered: number;
  readonly lost_kernel: number;
  readonly dropped: number;
  readonly drops: readonly { readonly place: string; readonly events: number }[];
  readonly gap_bytes: number;
  readonly end_position?: number;
}

export interface StreamEndObject {
  readonly machine: string;
  readonly stream?: string;
  readonly goodbye: boolean;
  readonly complete_ns: string | null;
}

export interface LatencyObject {
  readonly start: string;
  readonly end: string;
  readonly key?: string;
  readonly calls: number;
  readonly total_ns: number;
  readonly min_ns: number;
  readonly p50_ns: number;
  readonly max_ns: number;
  readonly bound_ns: number;
  readonly over: number;
  readonly reversed: number;
  readonly violations: number;
  readonly violation_max_ns: number;
  readonly left_out: number;
  readonly lost_events: number;
}

interface EventObject {
  readonly machine: string;
  readonly cpu: number;
  readonly fields: { readonly args: readonly number[] };
}

/** What --json printed, sorted out. */
export class JsonOutput {
  readonly objects: readonly Record<string, unknown>[];

  constructor(text: string, objects?: readonly Record<string, unknown>[]) {
    this.objects =
      objects ??
      text
        .split("\n")
        .slice(0, -1)
        .map((line) => JSON.parse(line) as Record<string, unknown>);
  }

  static of(objects: readonly Record<string, unknown>[]): JsonOutput {
    return new JsonOutput("", objects);
  }

  #ofType<T>(type: string): T[] {
    return this.objects.filter((object) => object.type === type) as T[];
  }

  get latencies(): LatencyObject[] {
    return this.#ofType("latency");
  }

  get intervals(): Record<string, number>[] {
    return this.#ofType("interval");
  }

  get ledger(): LedgerObject[] {
    return this.#ofType("ledger");
  }

  /** The streams that ended without a goodbye, as the last run tells of them. */
  get streamEnds(): StreamEndObject[] {
    return this.lastRun.#ofType("stream_end");
  }

  /** What was printed after the ledger of the run before the last one that came to its end. */
  get lastRun(): JsonOutput {
    const isVerdict = ({ type }: Record<string, unknown>): boolean => type === "ledger_verdict";
    const last = this.objects.findLastIndex(isVerdict);
    const before = this.objects.slice(0, Math.max(0, last)).findLastIndex(isVerdict);
    return JsonOutput.of(this.objects.slice(before + 1));
  }

  get verdict(): { readonly state: string; readonly delivered: number } | undefined {
    return this.verdicts[0];
  }

  /** Of each run that came to its end. */
  get verdicts(): { readonly state: string; readonly delivered: number }[] {
    return this.#ofType("ledger_verdict");
  }

  get alignments(): Record<string, unknown>[] {
    return this.#ofType("alignment");
  }

  get faults(): Record<string, unknown>[] {
    return this.#ofType("faults");
  }

  /** The calls that were printed, in their order. */
  get calls(): { readonly cpu: number; readonly number: number }[] {
    return this.#ofType<EventObject>("event").map(({ cpu, fields }) => {
      return { cpu, number: Number(fields.args[0]) };
    });
  }

  /** The numbers of the calls that were printed, in their order. */
  get numbers(): number[] {
    return this.#ofType<EventObject>("event").map(({ fields }) => Number(fields.args[0]));
  }

  /** Of one machine, over its CPUs. */
  sum(machine: string, of: "produced" | "delivered" | "lost_kernel" | "dropped"): number {
    return this.ledger
      .filter((row) => row.machine === machine)
      .reduce((sum, row) => sum + Number(row[of] ?? Number.NaN), 0);
  }
}
