// BoundRuns: how far off the canonical times of a chunk's records may be.
//
//   record   0 1 2 3 4 5 | 6 7 8 | 9 10 11 ...     a run: records that one segment converted
//   bound    312 cycles  | 290   | 31              what it guarantees over the times it met
//   segment  A           | none  | B               none: times of several, or raised ones
//
// An event keeps the error that it was converted with, whatever is learned of the clocks later. So
// the bound travels with the records: nothing that is asked for afterwards can be too small.

import type { TimeSegment } from "../../shared/tsc/time_segment.ts";

/** Runs kept apart in one chunk; further records join the last one, with the greater bound. */
export const BOUND_RUNS_MAX = 128;
/** A run whose bound is this close to that of the one before joins it: there is one per wake-up. */
const JOIN_RATIO = 1.05;

/** The runs of one chunk, in the order of its records. */
export class BoundRuns {
  count = 0;
  /** By run: |error| of its times in cycles, and the segment that converted them all. */
  readonly cycles = new Float64Array(BOUND_RUNS_MAX);
  readonly segments: (TimeSegment | undefined)[] = new Array(BOUND_RUNS_MAX).fill(undefined);
  /** What is not known of that segment's slope, as a share of a latency on it ... */
  readonly drift = new Float64Array(BOUND_RUNS_MAX);
  /** ... and what comes to it, however short the latency: granules, and the clock's own wander. */
  readonly wander = new Float64Array(BOUND_RUNS_MAX);
  readonly #from = new Uint32Array(BOUND_RUNS_MAX);
  /** What widen() has added so far. */
  readonly #extra = new Float64Array(BOUND_RUNS_MAX);
  /** The run that was asked for last: questions come in the order of the records. */
  #at = 0;

  clear(): void {
    this.count = 0;
    this.#at = 0;
    this.cycles[0] = 0;
    this.segments[0] = undefined;
    this.#extra[0] = 0;
  }

  /** Records from index `from` on are off by at most `cycles`. */
  add(from: number, cycles: number, segment: TimeSegment | undefined): void {
    const last = this.count - 1;
    if (last >= 0) {
      const known = this.segments[last];
      const isAlike = known !== undefined && segment !== undefined && isSameLine(known, segment);
      const least = Math.min(this.cycles[last]!, cycles);
      const greatest = Math.max(this.cycles[last]!, cycles);
      if (this.count === BOUND_RUNS_MAX || (isAlike && greatest <= least * JOIN_RATIO)) {
        this.cycles[last] = greatest;
        if (!isAlike) this.segments[last] = undefined;
        else this.wander[last] = Math.max(this.wander[last]!, segment.wanderCycles);
        return;
      }
    }
    this.#from[this.count] = from;
    this.cycles[this.count] = cycles;
    this.#extra[this.count] = 0;
    this.segments[this.count] = segment;
    this.drift[this.count] = segment === undefined ? 0 : driftOf(segment);
    this.wander[this.count] = segment?.wanderCycles ?? 0;
    this.count++;
  }

  /**
   * A run turns out to be off by up to `extraCycles` more; said again, the greater holds.
   * `isWithin`: its times from each other, too.
   */
  widen(run: number, extraCycles: number, isWithin: boolean): void {
    const more = extraCycles - this.#extra[run]!;
    if (isWithin) this.segments[run] = undefined;
    if (more <= 0) return;
    this.#extra[run] = extraCycles;
    this.cycles[run]! += more;
  }

  /** The run of a record; 0, with a bound of 0, where nobody said anything. */
  runOf(index: number): number {
    if (this.count <= 1) return 0;
    const from = this.#from;
    let at = this.#at;
    while (at > 0 && from[at]! > index) at--;
    while (at + 1 < this.count && from[at + 1]! <= index) at++;
    this.#at = at;
    return at;
  }
}

/** The first trips leave a slope that may be anything, 0 too: then the two ends' bounds hold. */
function driftOf({ slope, boundGrowth }: TimeSegment): number {
  return boundGrowth < slope ? boundGrowth / (slope - boundGrowth) : Number.MAX_VALUE;
}

/** Whether two segments are pieces of one line: what they convert is off by the same amount. */
export function isSameLine(a: TimeSegment, b: TimeSegment): boolean {
  return (
    a === b ||
    (a.slope === b.slope &&
      a.originCycles === b.originCycles &&
      a.baseLo === b.baseLo &&
      a.baseHi === b.baseHi)
  );
}
