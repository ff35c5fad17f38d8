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
import { baseOf, boundAt, type TimeSegment } from "./time_segment.ts";
import { wrappedDelta } from "./tsc.ts";

/** A segment in force is replaced when its bound is more than this many times the best one. */
const BETTER_RATIO = 1.25;
/** Readings may come in bursts: the longest of so many pauses is the one to look across. */
const PAUSES_KEPT = 16;

export interface TrackedMapOptions extends LineTrackerOptions {
  /**
   * Absolute target clock value from which results count; undefined for one near each segment, for
   * a clock that is not the last of a chain (its steps may be too far for one anchor).
   */
  readonly targetAnchor: bigint | undefined;
  /**
   * Longest span of the source ahead that a segment is made for. It is made for twice the longest
   * pause between recent readings: until after the next, should that come late.
   */
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
  #isRestarting = false;
  #revision = 0;
  #lastX: bigint | undefined;
  #horizonX: number;
  readonly #pauses: number[] = [];

  constructor(options: TrackedMapOptions) {
    this.#options = options;
    this.map = new TimeMap();
    this.tracker = new LineTracker(options);
    this.#horizonX = options.horizonX;
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
    if (outcome === "step" || this.#isRestarting) this.#stepped = x;
    this.#isRestarting = false;
    return outcome;
  }

  /** What is added from now on is another line, as far as is known; what is in force stays so. */
  restart(): void {
    this.tracker.beginEpoch();
    this.#isRestarting = true;
  }

  /** Puts a new segment in force if that is worth it; x is the source time of the last reading. */
  refresh(x: bigint): boolean {
    this.#lookAhead(x);
    const stepped = this.#stepped;
    const confirmed = this.#confirmed ?? x;
    const segment = this.#bestSegment(x, stepped ?? confirmed);
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

  /**
   * Nothing has been converted so far: what is known now, and not what was known at first, is in
   * force for all of the past, unless that was another epoch. x as for refresh().
   */
  renewPast(x: bigint): void {
    const segment = this.#bestSegment(x, this.#confirmed ?? x);
    if (segment === undefined || segment.epoch > 0) return;
    this.map.clear();
    this.map.push(segment, x);
    this.#revision = this.tracker.revision;
  }

  /** Largest |error| of conversions from source time x until after the expected next reading. */
  boundFrom(x: bigint): number {
    return this.map.boundOver(x, x + BigInt(this.#horizonX));
  }

  #lookAhead(x: bigint): void {
    const { horizonX } = this.#options;
    const passed = this.#lastX === undefined ? 0 : Number(wrappedDelta(x, this.#lastX));
    this.#lastX = x;
    // A clock that stepped back says nothing about the pace of readings.
    if (passed <= 0) return;
    this.#pauses.push(passed);
    if (this.#pauses.length > PAUSES_KEPT) this.#pauses.shift();
    this.#horizonX = Math.min(2 * Math.max(...this.#pauses), horizonX);
  }

  #bestSegment(x: bigint, past: bigint): TimeSegment | undefined {
    const anchor = this.#options.targetAnchor ?? this.tracker.anchorY;
    if (anchor === undefined) return undefined;
    const segment = this.tracker.segment(x, x + BigInt(this.#horizonX), anchor, past);
    return segment === undefined ? undefined : this.#centred(segment);
  }

  /** Whether the bound now, or at the horizon, is clearly better than that of what is in force. */
  #isWorth(best: TimeSegment, x: bigint): boolean {
    const inForce = this.map.newest;
    if (inForce === undefined || this.#revision !== this.tracker.revision) return true;
    const from = Number(wrappedDelta(x, baseOf(inForce)));
    const ahead = this.#horizonX;
    return (
      boundAt(inForce, from) > BETTER_RATIO * boundAt(best, 0) ||
      boundAt(inForce, from + ahead) > BETTER_RATIO * boundAt(best, ahead)
    );
  }

  /**
   * Moves the line from the start of a granule to its middle, and adds half a granule of bound: the
   * distance of two times may be off by a whole one.
   */
  #centred(segment: TimeSegment): TimeSegment {
    const granule = this.#options.granularityX;
    const half = (segment.slope * granule) / 2;
    const growth = segment.boundGrowth * granule;
    return {
      ...segment,
      originCycles: segment.originCycles + half,
      // The true slope may exceed the line's: the granule is then that much wider at its end.
      boundCycles: segment.boundCycles + half + growth,
      wanderCycles: segment.wanderCycles + 2 * half + growth,
    };
  }
}
