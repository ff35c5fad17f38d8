/**
 * A conversion between two clocks over a whole session: affine segments, each in force from some
 * source time on. A new segment is a better fit of the same line (same epoch) or, after a step of
 * the relation (suspend, migration, written TSC), the beginning of a new epoch.
 *
 *   target |                       ___--   epoch 1
 *          |                  ___--
 *          |   __..--''|
 *          |_--        |  epoch 0, two fits of one line
 *          +----|------|------------------> source
 *             push()  push(): in force from here on
 *
 * Decoders take the segment once per run of events (`at`), and inline its conversion while the
 * event's delta is inside [deltaFrom, deltaTo). At a seam of two fits a later event may convert to
 * an earlier cycle. Raising it to its predecessor's cycle is sound where the source order is the
 * true order: the result stays within the larger of the two bounds.
 */
import {
  baseOf,
  boundOver,
  invertSegment,
  segmentDelta,
  type TimeSegment,
  tryCompose,
} from "./time_segment.ts";
import { exactDelta, highHalf, lowHalf, wrappedDelta } from "./tsc.ts";

/** Segments kept; the oldest goes first, long after its events have been decoded. */
export const TIME_SEGMENTS_MAX = 256;

/** A conversion found: `cycles` since targetAnchor, within boundCycles of the truth. */
export interface Converted {
  readonly cycles: number;
  readonly targetAnchor: bigint;
  readonly boundCycles: number;
}

/** An ordered list of segments of one source clock. */
export class TimeMap {
  /** Oldest first; their [deltaFrom, deltaTo) cover the source clock without gaps. */
  readonly #segments: TimeSegment[] = [];

  get segments(): readonly TimeSegment[] {
    return this.#segments;
  }

  /** The newest segment, undefined before the first push(). */
  get newest(): TimeSegment | undefined {
    return this.#segments[this.#segments.length - 1];
  }

  /**
   * Puts `segment` in force from source time `from` on; segments that began later are replaced.
   * The first segment is in force everywhere.
   */
  push(segment: TimeSegment, from: bigint): void {
    const segments = this.#segments;
    let last = this.newest;
    while (last !== undefined && startOf(last, from) >= 0) {
      segments.pop();
      last = this.newest;
    }
    if (last !== undefined) {
      segments[segments.length - 1] = { ...last, deltaTo: distance(from, baseOf(last)) };
    }
    const deltaFrom = last === undefined ? -Infinity : distance(from, baseOf(segment));
    segments.push({ ...segment, deltaFrom, deltaTo: Infinity });
    if (segments.length > TIME_SEGMENTS_MAX) {
      segments.shift();
      // What it covered converts with the oldest kept one.
      segments[0] = { ...segments[0]!, deltaFrom: -Infinity };
    }
  }

  /** Forgets all segments: nothing has been converted by them. */
  clear(): void {
    this.#segments.length = 0;
  }

  /**
   * As push(), for a step of the relation: the old segment was last confirmed at source time
   * `confirmed`, the new one first at `from`. In between either may be the truth, so the new one is
   * in force there with a bound that covers both:
   *
   *    old ----x - - - .            x: confirmed    o: from
   *                     |  seam bound covers the distance of the two lines
   *            . - - - o------ new
   */
  pushStep(segment: TimeSegment, confirmed: bigint, from: bigint): void {
    const old = this.newest;
    const width = distance(from, confirmed);
    if (old !== undefined && width > 0)
      this.push(seamSegment(old, segment, from, width), confirmed);
    this.push(segment, from);
  }

  /** The segment in force at a source time (u32 halves), undefined before the first push(). */
  at(lo: number, hi: number): TimeSegment | undefined {
    const segments = this.#segments;
    // From the newest: events are decoded soon after they happened.
    for (let i = segments.length - 1; i >= 0; i--) {
      const segment = segments[i]!;
      if (segmentDelta(segment, lo, hi) >= segment.deltaFrom) return segment;
    }
    return undefined;
  }

  /** One conversion at set-up rates. Throws RangeError before the first push(). */
  convert(source: bigint): Converted {
    const segment = this.at(lowHalf(source), highHalf(source));
    if (segment === undefined) throw new RangeError("Cannot convert a time: map has no segment");
    const delta = exactDelta(source, baseOf(segment));
    return {
      cycles: segment.originCycles + segment.slope * delta,
      targetAnchor: segment.targetAnchor,
      boundCycles: boundOver(segment, delta, delta),
    };
  }

  /** Largest |error| of any conversion from source time `from` to `to`. */
  boundOver(from: bigint, to: bigint): number {
    let worst = this.#segments.length === 0 ? Infinity : 0;
    for (const segment of this.#segments) {
      const base = baseOf(segment);
      const first = Math.max(distance(from, base), segment.deltaFrom);
      const last = Math.min(distance(to, base), segment.deltaTo);
      if (first <= last) worst = Math.max(worst, boundOver(segment, first, last));
    }
    return worst;
  }

  /**
   * `outer` after this map: each segment is cut where outer's segments change; what is too far
   * apart for a double is left out. Where outer has two epochs for one middle time (its relation
   * stepped back), its own order decides, see invert().
   */
  compose(outer: TimeMap): TimeMap {
    const composed = new TimeMap();
    for (const inner of this.#segments) {
      for (const piece of outer.#segments) {
        const both = tryCompose(inner, piece);
        if (both !== undefined && both.deltaFrom < both.deltaTo)
          composed.push(both, startTime(both));
      }
    }
    return composed;
  }

  /**
   * The map back, from target clock values to units since `sourceAnchor`. A relation that stepped
   * back gives some target times twice; they then belong to the later epoch.
   */
  invert(sourceAnchor: bigint): TimeMap {
    const inverted = new TimeMap();
    for (const segment of this.#segments) {
      const back = invertSegment(segment, sourceAnchor);
      inverted.push(back, startTime(back));
    }
    return inverted;
  }
}

/** Distance on a wrapping clock; rounded beyond 2^53, where only its sign and size matter. */
function distance(value: bigint, anchor: bigint): number {
  return Number(wrappedDelta(value, anchor));
}

/**
 * The first source time at which a segment is in force; its base for one without a beginning.
 * Rounded down: clocks show the last whole unit passed, so what happens at the very beginning is
 * stamped with the unit before.
 */
export function startTime(segment: TimeSegment): bigint {
  const start = Number.isFinite(segment.deltaFrom) ? Math.floor(segment.deltaFrom) : 0;
  return BigInt.asUintN(64, baseOf(segment) + BigInt(start));
}

/** `segment` over the `width` source units before `from`, where `old` may still have been true. */
function seamSegment(
  old: TimeSegment,
  segment: TimeSegment,
  from: bigint,
  width: number,
): TimeSegment {
  const end = distance(from, baseOf(segment));
  const endOld = distance(from, baseOf(old));
  const between = distance(segment.targetAnchor, old.targetAnchor);
  const apartAt = (back: number): number => {
    const now = segment.originCycles + segment.slope * (end - back);
    const then = old.originCycles + old.slope * (endOld - back);
    return Math.abs(between + now - then);
  };
  const apart = Math.max(apartAt(0), apartAt(width));
  const bound = Math.max(
    boundOver(segment, end - width, end),
    boundOver(old, endOld - width, endOld),
  );
  return {
    ...segment,
    boundCycles: apart + bound,
    boundFrom: Math.min(segment.boundFrom, end - width),
    boundTo: Math.max(segment.boundTo, end),
    // Of two times of the seam one may be of the old line and the other of the new one.
    wanderCycles: Infinity,
  };
}

/** Where `segment` begins, relative to `from`: positive when it begins later. */
function startOf(segment: TimeSegment, from: bigint): number {
  return segment.deltaFrom + distance(baseOf(segment), from);
}
