/**
 * What is said below a latency table of the clocks of its machines:
 *
 *   clock bound: 28.412 us (host => guest 1: ping, fitted perf clock)
 *   clock bound: 0.071 us (guest 1: ping, fitted perf clock)
 *
 * A line for each two machines that the table's rows go between, then one for each machine that
 * rows stay within: of many guests most have none. What is known now, or was known of the pairs in
 * the table, whichever is wider. A table without pairs names each guest beside the first machine.
 */

import type { TimeSegment } from "../shared/tsc/time_segment.ts";
import { type AlignmentMethod, METHOD_NAMES } from "./align/alignment_description.ts";
import type { ClockBounds } from "./analyze/clock_bounds.ts";
import type { LatencyRow } from "./analyze/latency_row.ts";
import type { ClockNote } from "./report/latency_table.ts";
import { machineName } from "./session/machine_name.ts";

/** What is told of a machine: the host, which has no `time`, or a guest. */
export interface NotedMachine {
  readonly machine: number;
  /** Undefined before anything is known; the bound is in cycles of its own TSC. */
  readonly clock: { readonly isExact: boolean; readonly boundCycles: number } | undefined;
  readonly time:
    | {
        readonly alignment: { readonly method: AlignmentMethod };
        segmentFor(cpu: number): Pick<TimeSegment, "slope"> | undefined;
      }
    | undefined;
}

/** What is needed of a table's row. */
export type NotedRow = Pick<LatencyRow, "start" | "end" | "boundCyclesMax">;

/** Two machines, the lesser one first, or one; and the widest bound of the rows between them. */
interface Span {
  readonly from: number;
  readonly to: number;
  boundCycles: number;
}

/** How a machine's times are known: "ping, fitted perf clock". */
export function methodOf({ clock, time }: NotedMachine): string {
  const perf = clock?.isExact === true ? "exact perf clock" : "fitted perf clock";
  return time === undefined ? perf : `${METHOD_NAMES[time.alignment.method]}, ${perf}`;
}

/** |error| of its perf clock alone, in canonical cycles. */
function ownBoundCycles({ clock, time }: NotedMachine): number {
  return (clock?.boundCycles ?? 0) * (time?.segmentFor(0)?.slope ?? 1);
}

/** What rows span, each once: two machines before one. */
function spansOf(rows: readonly NotedRow[], machineOf: (event: number) => number): readonly Span[] {
  const spans = new Map<string, Span>();
  for (const { start, end, boundCyclesMax } of rows) {
    const [a, b] = [machineOf(start), machineOf(end)];
    const [from, to] = [Math.min(a, b), Math.max(a, b)];
    const known = spans.get(`${from} ${to}`);
    if (known === undefined) spans.set(`${from} ${to}`, { from, to, boundCycles: boundCyclesMax });
    else known.boundCycles = Math.max(known.boundCycles, boundCyclesMax);
  }
  const isOne = ({ from, to }: Span): number => (from === to ? 1 : 0);
  return [...spans.values()].sort((a, b) => isOne(a) - isOne(b) || a.from - b.from || a.to - b.to);
}

/** `machines`: the host first, if it takes part. `machineOf`: of an event, by its index. */
export function clockNotes(
  machines: readonly NotedMachine[],
  bounds: ClockBounds,
  rows: readonly NotedRow[],
  machineOf: (event: number) => number,
): ClockNote[] {
  // One that was given up before its clock was known has had part in nothing.
  const known = new Map(
    machines.filter(({ clock }) => clock !== undefined).map((noted) => [noted.machine, noted]),
  );
  const [first, ...others] = known.keys();
  if (first === undefined) return [];
  const beside = others.map((to) => ({ from: first, to, boundCycles: 0 }));
  const spans = rows.length > 0 ? spansOf(rows, machineOf) : beside;
  return spans.flatMap(({ from, to, boundCycles }) => {
    const noted = known.get(to);
    if (noted === undefined) return [];
    const isOne = from === to;
    const now = isOne ? ownBoundCycles(noted) : bounds.between(from, to);
    return {
      what: isOne ? machineName(from) : `${machineName(from)} => ${machineName(to)}`,
      method: methodOf(noted),
      boundCycles: Math.max(now, boundCycles),
    };
  });
}
