/**
 * A TimeMap that measures itself: constraints go into a LineTracker, and when what it knows has
 * become clearly better, or has changed, a new segment is put in force.
 *
 *   bound |\
 *         | \_____            a new segment only when the fit is better by BETTER_RATIO, so that
 *         |       \________   a settled clock keeps one segment and has no seams
 *         +-----------------> readings
 */
import { type ConstraintOutcome, LineTracker, type LineTrackerOptions } from "./line_tracker.ts";
import { TimeMap } from "./time_map.ts";
import { baseOf, boundOver, type TimeSegment } from "./time_segment.ts";
import { wrappedDelta } from "./tsc.ts";

/** A segment in force is replaced when its bound is more than this many times the best one. */
const BETTER_RATIO = 1.25;

export interface TrackedMapOptions extends LineTrackerOptions {
  /**
   * Absolute target clock value from which results count; undefined for an anchor per epoch, for a
   * clock that is not the last of a chain (its steps may be too far for one anchor).
   */
  readonly targetAnchor: bigint | undefined;
  /** Source units until the next reading is expected: the span a segment is made for. */
  readonly horizonX: number;
  /**
   * The source clock shows whole multiples of this (rounded down), 0 for a counter read exactly:
   * an event stamped x happened anywhere from x to x + granularityX.
   */
  readonly granularityX: number;
}

/** A self-calibrating conversion with a guaranteed bound. */
export class TrackedMap {
  readonly map: TimeMap;
  readonly tracker: LineTracker;
  readonly #options: TrackedMapOptions;
  /** Source time of the last reading that agreed with the epoch in force. */
  #confirmed: bigint | undefined;
  /** Source time of the first reading of an epoch that has no segment yet. */
  #stepped: bigint | undefined;
  #revision = 0;

  constructor(options: TrackedMapOptions) {
    this.#options = options;
    this.map = new TimeMap();
    this.tracker = new LineTracker(options);
  }

  /**
   * The target clock was in [yLo, yHi] when the source clock showed x (undefined: side unknown).
   * Call refresh() after the constraints of one reading.
   */
  add(x: bigint, yLo: bigint | undefined, yHi: bigint | undefined): ConstraintOutcome {
    // The line is that of the exact source time; x was shown up to one granule later.
    const granule = Math.ceil(this.tracker.slopeMax * this.#options.granularityX);
    const floor = yLo === undefined ? undefined : yLo - BigInt(granule);
    const outcome = this.tracker.add(x, floor, yHi);
    if (outcome === "step") this.#stepped = x;
    return outcome;
  }

  /** The relation is known to step at source time x: what is added from now on is another line. */
  beginEpoch(x: bigint): void {
    this.tracker.beginEpoch();
    this.#stepped = x;
  }

  /** Puts a new segment in force if that is worth it; x is the source time of the last reading. */
  refresh(x: bigint): boolean {
    const segment = this.#bestSegment(x);
    const stepped = this.#stepped;
    const confirmed = this.#confirmed ?? x;
    if (stepped === undefined) this.#confirmed = x;
    if (segment === undefined) return false;
    if (stepped !== undefined) {
      this.#stepped = undefined;
      this.#confirmed = x;
      this.map.pushStep(segment, confirmed, stepped);
    } else {
      if (!this.#isWorth(segment, x)) return false;
      this.map.push(segment, confirmed);
    }
    this.#revision = this.tracker.revision;
    return true;
  }

  /** Largest |error| of conversions from source time x to the expected next reading. */
  boundFrom(x: bigint): number {
    return this.map.boundOver(x, x + BigInt(this.#options.horizonX));
  }

  #bestSegment(x: bigint): TimeSegment | undefined {
    const anchor = this.#options.targetAnchor ?? this.tracker.epochAnchor;
    if (anchor === undefined) return undefined;
    const segment = this.tracker.segment(x, x + BigInt(this.#options.horizonX), anchor);
    return segment === undefined ? undefined : this.#centred(segment);
  }

  #isWorth(best: TimeSegment, x: bigint): boolean {
    const inForce = this.map.newest;
    if (inForce === undefined || this.#revision !== this.tracker.revision) return true;
    const from = Number(wrappedDelta(x, baseOf(inForce)));
    const bound = boundOver(inForce, from, from + this.#options.horizonX);
    return bound > BETTER_RATIO * best.boundCycles;
  }

  /** Moves the line from the start of a granule to its middle, and adds half a granule of bound. */
  #centred(segment: TimeSegment): TimeSegment {
    const granule = this.#options.granularityX;
    const half = (segment.slope * granule) / 2;
    return {
      ...segment,
      originCycles: segment.originCycles + half,
      // The true slope may exceed the line's: the granule is then that much wider at its end.
      boundCycles: segment.boundCycles + half + segment.boundGrowth * granule,
    };
  }
}
