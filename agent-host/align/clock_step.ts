/**
 * What a step of a clock makes of times that were converted before it was known.
 *
 *   readings    |agrees        |agrees     x       |does not: the line `after` begins
 *   events        .   .   .   .   .   .   *  *  *         *: converted by `before`, off by the
 *   in doubt                   [confirmed ....... last]      distance of the two lines
 */
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { boundAt, convert, segmentDelta, type TimeSegment } from "../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";

export interface ClockStep {
  /**
   * Where the time was as what held was confirmed last, by what held; -Infinity if nothing did: all
   * that was converted so far.
   */
  readonly fromCycles: number;
  /** How far that is off since. */
  readonly apartCycles: number;
  /** The machine's own clock has stepped, so that its times are off from each other. */
  readonly isWithin: boolean;
}

/** Two steps as one: what either of them says. */
export function joinSteps(a: ClockStep, b: ClockStep): ClockStep {
  return {
    fromCycles: Math.min(a.fromCycles, b.fromCycles),
    apartCycles: Math.max(a.apartCycles, b.apartCycles),
    isWithin: a.isWithin || b.isWithin,
  };
}

/**
 * The step from one line to the other, which have one target anchor: `before` was confirmed at
 * source time `confirmedNs`, `after` was read at `lastNs` and is in use `lateNs` later.
 */
export function stepBetween(
  before: TimeSegment,
  after: TimeSegment,
  { confirmedNs, lastNs, lateNs }: Record<"confirmedNs" | "lastNs" | "lateNs", bigint>,
  isWithin: boolean,
): ClockStep {
  const at = (segment: TimeSegment, ns: bigint): number =>
    convert(segment, lowHalf(ns), highHalf(ns));
  const apart = [confirmedNs, lastNs, lastNs + lateNs].map((ns) => {
    const bound = boundAt(after, segmentDelta(after, lowHalf(ns), highHalf(ns)));
    return Math.abs(at(before, ns) - at(after, ns)) + bound;
  });
  return {
    // A clock that runs on a TSC that was set back shows earlier times.
    fromCycles: Math.min(at(before, confirmedNs), at(before, lastNs)),
    apartCycles: Math.max(...apart),
    isWithin,
  };
}

/** A clock that is a machine's whole conversion. */
export interface SteppingClock {
  readonly map: TimeMap | undefined;
  /** Steps so far; the map's newest segment may not know of the last one yet. */
  readonly epoch: number;
  /** Source time of the last reading. */
  readonly lastNs: bigint;
}

/** Readings come with the events, or just before them: what is stamped later is converted anew. */
const LATE_NS = 100_000_000n;

/** The steps of such a clock, as its readings show them. */
export class ClockSteps {
  #inForce: TimeSegment | undefined;
  #confirmedNs = 0n;

  /** Call after each reading; gives the step that it has shown. */
  note({ map, epoch, lastNs }: SteppingClock): ClockStep | undefined {
    const newest = map?.newest;
    // A step whose new line is not known yet is told when it is.
    if (newest === undefined || newest.epoch !== epoch) return undefined;
    const old = this.#inForce;
    const confirmedNs = this.#confirmedNs;
    this.#inForce = newest;
    this.#confirmedNs = lastNs;
    if (old === undefined || old.epoch === epoch) return undefined;
    return stepBetween(old, newest, { confirmedNs, lastNs, lateNs: LATE_NS }, true);
  }
}
