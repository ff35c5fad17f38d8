/**
 * What is said below a latency table of the clocks of its machines, pair by pair:
 *
 *   clock bound: 0.412 us (host => guest 1: KVM debugfs offset, fitted perf clock)
 *
 * What is known now, or was known of the pairs in the table, whichever is wider. Of the machines
 * that the table's lines go between: of many guests most have none. Where no line goes from one
 * machine to another, of each machine beside the first.
 */
import { type AlignmentMethod, METHOD_NAMES } from "./align/alignment_description.ts";
import type { ClockBounds } from "./analyze/clock_bounds.ts";
import type { LatencyRow } from "./analyze/latency_row.ts";
import type { ClockNote } from "./report/latency_table.ts";
import { machineName } from "./session/machine_name.ts";

/** What is told of a guest. */
export interface NotedGuest {
  readonly machine: number;
  /** Undefined before anything is known. */
  readonly clock: { readonly isExact: boolean; readonly boundCycles: number } | undefined;
  readonly time: { readonly alignment: { readonly method: AlignmentMethod } } | undefined;
}

function methodOf(guest: NotedGuest | undefined): string {
  if (guest === undefined) return "host";
  const perf = guest.clock?.isExact === true ? "exact perf clock" : "fitted perf clock";
  const method = guest.time?.alignment.method;
  return method === undefined ? perf : `${METHOD_NAMES[method]}, ${perf}`;
}

/** What is needed of a table's row. */
export type NotedRow = Pick<LatencyRow, "start" | "end" | "boundCyclesMax">;

/** Two machines, the lesser one first, and the widest bound of the rows that cross them. */
interface Crossing {
  readonly from: number;
  readonly to: number;
  boundCycles: number;
}

/** The pairs of different machines that rows are of, each once, in order. */
function crossings(
  rows: readonly NotedRow[],
  machineOf: (event: number) => number,
): readonly Crossing[] {
  const pairs = new Map<string, Crossing>();
  for (const { start, end, boundCyclesMax } of rows) {
    const [a, b] = [machineOf(start), machineOf(end)];
    if (a === b) continue;
    const [from, to] = [Math.min(a, b), Math.max(a, b)];
    const known = pairs.get(`${from} ${to}`);
    if (known === undefined) pairs.set(`${from} ${to}`, { from, to, boundCycles: boundCyclesMax });
    else known.boundCycles = Math.max(known.boundCycles, boundCyclesMax);
  }
  return [...pairs.values()].sort((a, b) => a.from - b.from || a.to - b.to);
}

/** `machineOf` gives the machine of an event by its index. */
export function clockNotes(
  hasHost: boolean,
  guests: readonly NotedGuest[],
  bounds: ClockBounds,
  rows: readonly NotedRow[],
  machineOf: (event: number) => number,
): ClockNote[] {
  // One that was given up before its clock was known has had part in nothing.
  const known = guests.filter(({ clock }) => clock !== undefined);
  const guestOf = (machine: number): NotedGuest | undefined =>
    known.find((guest) => guest.machine === machine);
  const machines = [...(hasHost ? [0] : []), ...known.map(({ machine }) => machine)];
  const [first, ...others] = machines;
  if (first === undefined) return [];
  if (others.length === 0) {
    const boundCycles = guestOf(first)?.clock?.boundCycles;
    if (boundCycles === undefined) return [];
    return [{ what: machineName(first), method: methodOf(guestOf(first)), boundCycles }];
  }
  const crossed = crossings(rows, machineOf);
  const beside = others.map((to) => ({ from: first, to, boundCycles: 0 }));
  return (crossed.length > 0 ? crossed : beside).map(({ from, to, boundCycles }) => ({
    what: `${machineName(from)} => ${machineName(to)}`,
    method: methodOf(guestOf(to)),
    boundCycles: Math.max(bounds.between(from, to), boundCycles),
  }));
}
