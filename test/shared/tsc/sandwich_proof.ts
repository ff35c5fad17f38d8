/** Holds a perf clock against sandwiches (sandwich_maker.ts), in both directions. */
import type { TimeMap } from "../../../shared/tsc/time_map.ts";
import { ClockProof } from "../../clock_proof.ts";
import type { Sandwich } from "./sandwich_maker.ts";

/**
 * The event's perf time as TSC has to lie between the two readings, and their perf times around the
 * event's, less and plus the bound. `anchor` is what the map's cycles count from.
 */
export function proveSandwiches(
  name: string,
  map: TimeMap,
  sandwiches: readonly Sandwich[],
  anchor: bigint,
  readingsMin: number,
): void {
  const { slope } = map.newest!;
  const nsPerCycle = 1 / slope;
  const forward = new ClockProof(`${name}, perf time to TSC`);
  const origin = sandwiches[0]!.ns;
  const back = new ClockProof(`${name}, TSC to perf time`);
  const inverse = map.invert(origin);
  for (const { before, ns, after } of sandwiches) {
    const { cycles, boundCycles } = map.convert(ns);
    forward.count(cycles, boundCycles, Number(before - anchor), Number(after - anchor), nsPerCycle);
    const [early, late] = [inverse.convert(before), inverse.convert(after)];
    const at = Number(ns - origin);
    const bound = Math.max(early.boundCycles, late.boundCycles);
    back.count(at, bound, early.cycles, late.cycles, 1);
  }
  forward.report(readingsMin);
  back.report(readingsMin, "ns");
}
