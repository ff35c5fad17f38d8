/**
 * One affine piece of a conversion between two clocks, with a guaranteed error bound.
 *
 *   target                            _ - '  boundGrowth: what is not measured yet
 *     |                       __..--''..--
 *     |               __..--'' __..--''      target = originCycles + slope * delta
 *     |  boundCycles (__..--''               delta  = source - base       (exact double)
 *     | _ - '  __..--''
 *     |  - ''          boundFrom .. boundTo: deltas for which boundCycles holds
 *     +-----------|----------|--------------> source
 *
 * The bound is constant between boundFrom and boundTo and grows linearly outside, so it is convex:
 * over any interval it is greatest at an end, and two evaluations bound a whole run of events.
 *
 * Two times of one line are off by the same amount, but for its slope (boundGrowth) and for what
 * each has of its own: the granule of the clock that stamped it, and how far that wandered off its
 * line. For the distance of the two that is wanderCycles in all.
 *
 * The decoder inlines the conversion:
 *   delta  = ((hi - baseHi) | 0) * 2^32 + (lo - baseLo)
 *   cycles = originCycles + slope * delta
 */
import {
  deltaFromBase,
  EXACT_DELTA_MAX,
  exactDelta,
  highHalf,
  joinHalves,
  lowHalf,
  wrappedDelta,
} from "./tsc.ts";

/**
 * Relative error allowed for one affine evaluation in doubles: the slope, the product and the sum
 * are each rounded once (2^-53 each); 2^-50 leaves room for the products of composed slopes.
 * Every segment's bound includes it, so that a bound of 0 never claims more than doubles can do.
 */
export const AFFINE_ROUNDING = 2 ** -50;

/**
 * Span of deltas for which the bound is flat unless the maker says otherwise: 1.6 hours of cycles
 * at 3 GHz, where AFFINE_ROUNDING is 1/64 cycle. Beyond, the bound grows by the rounding alone.
 */
export const FLAT_DELTA_MAX = 2 ** 44;

/** target = originCycles + slope * (source - base), see the picture above. Immutable. */
export interface TimeSegment {
  /** Source clock value of the anchor, as u32 halves. */
  readonly baseLo: number;
  readonly baseHi: number;
  /** Target units per source unit, > 0. */
  readonly slope: number;
  /** Target at the anchor, as the distance from targetAnchor. */
  readonly originCycles: number;
  /** Absolute target clock value from which results count. */
  readonly targetAnchor: bigint;
  /** |error| of the result, in target units, for deltas from boundFrom to boundTo. */
  readonly boundCycles: number;
  readonly boundFrom: number;
  readonly boundTo: number;
  /** Target units of bound added per source unit outside that span. */
  readonly boundGrowth: number;
  /** |error| of the distance of two results, in target units, beside what the slope makes of it. */
  readonly wanderCycles: number;
  /** The segment is in force for deltas from here (inclusive); -Infinity for the first. */
  readonly deltaFrom: number;
  /** ... to here (exclusive); Infinity for the last. */
  readonly deltaTo: number;
  /** Grows at each step of the relation; segments of one epoch refine one line. */
  readonly epoch: number;
}

/** What a maker of segments knows; timeSegment() adds defaults and the rounding of doubles. */
export interface SegmentParts {
  readonly base: bigint;
  readonly slope: number;
  readonly originCycles: number;
  readonly targetAnchor: bigint;
  readonly boundCycles: number;
  /** Finite; -FLAT_DELTA_MAX by default. */
  readonly boundFrom?: number;
  /** Finite; FLAT_DELTA_MAX by default. */
  readonly boundTo?: number;
  readonly boundGrowth?: number;
  /** Twice the bound by default: nothing of it is known to be shared. May be Infinity. */
  readonly wanderCycles?: number;
  readonly deltaFrom?: number;
  readonly deltaTo?: number;
  readonly epoch?: number;
}

/** Makes a segment. Throws RangeError for values that make no conversion. */
export function timeSegment(parts: SegmentParts): TimeSegment {
  const { slope, originCycles, boundCycles, boundGrowth = 0 } = parts;
  const { boundFrom = -FLAT_DELTA_MAX, boundTo = FLAT_DELTA_MAX } = parts;
  const { wanderCycles = 2 * boundCycles } = parts;
  if (!(slope > 0 && slope < Infinity)) {
    throw new RangeError(`Cannot make a time segment: slope is ${slope}, wants > 0`);
  }
  if (!(boundCycles >= 0 && boundGrowth >= 0 && wanderCycles >= 0)) {
    throw new RangeError(
      `Cannot make a time segment: bound is ${boundCycles} + ${boundGrowth} per unit, ` +
        `wander ${wanderCycles}, wants >= 0`,
    );
  }
  if (!(Number.isFinite(boundFrom) && Number.isFinite(boundTo))) {
    throw new RangeError(
      `Cannot make a time segment: bound holds from ${boundFrom} to ${boundTo}, wants finite ends`,
    );
  }
  if (!(Math.abs(originCycles) <= EXACT_DELTA_MAX)) {
    throw new RangeError(
      `Cannot make a time segment: origin is ${originCycles}, wants within 2^53 of the anchor`,
    );
  }
  const reach = slope * Math.max(Math.abs(boundFrom), Math.abs(boundTo));
  const rounding = AFFINE_ROUNDING * (Math.abs(originCycles) + reach);
  return {
    baseLo: lowHalf(parts.base),
    baseHi: highHalf(parts.base),
    slope,
    originCycles,
    targetAnchor: parts.targetAnchor,
    boundCycles: boundCycles + rounding,
    boundFrom,
    boundTo,
    boundGrowth: boundGrowth + AFFINE_ROUNDING * slope,
    wanderCycles: wanderCycles + 2 * rounding,
    deltaFrom: parts.deltaFrom ?? -Infinity,
    deltaTo: parts.deltaTo ?? Infinity,
    epoch: parts.epoch ?? 0,
  };
}

/** Source clock value of the segment's anchor. */
export function baseOf(segment: TimeSegment): bigint {
  return joinHalves(segment.baseLo, segment.baseHi);
}

/** Distance of a source clock value from the segment's anchor. */
export function segmentDelta(segment: TimeSegment, lo: number, hi: number): number {
  return deltaFromBase(lo, hi, segment.baseLo, segment.baseHi);
}

/** Converts one source clock value; the reference for decoders that inline it. */
export function convert(segment: TimeSegment, lo: number, hi: number): number {
  return segment.originCycles + segment.slope * segmentDelta(segment, lo, hi);
}

/** |error| of the conversion at `delta`, in target units. */
export function boundAt(segment: TimeSegment, delta: number): number {
  if (delta < segment.boundFrom) {
    return segment.boundCycles + segment.boundGrowth * (segment.boundFrom - delta);
  }
  if (delta > segment.boundTo) {
    return segment.boundCycles + segment.boundGrowth * (delta - segment.boundTo);
  }
  return segment.boundCycles;
}

/** Largest |error| for any delta from `from` to `to`: the bound is convex, so an end has it. */
export function boundOver(segment: TimeSegment, from: number, to: number): number {
  return Math.max(boundAt(segment, from), boundAt(segment, to));
}

/**
 * outer after inner, as one segment from inner's source to outer's target. Throws RangeError when
 * the two are further apart on the middle clock, or from the target's anchor, than a double counts.
 *
 * With y the middle clock: |outer(inner(x)) - truth| <= slopeOuter * boundInner(x) + boundOuter(y),
 * and since the true y is only known to boundInner, boundOuter may be off by its growth times that.
 * Both bounds are flat somewhere and grow elsewhere; their sum is made one such bound again.
 */
export function composeSegments(inner: TimeSegment, outer: TimeSegment): TimeSegment {
  // Middle clock at inner's anchor, as outer's delta.
  const offset = exactDelta(inner.targetAnchor, baseOf(outer)) + inner.originCycles;
  const toInner = (outerDelta: number): number => (outerDelta - offset) / inner.slope;
  const span = sumOfBounds(
    { from: inner.boundFrom, to: inner.boundTo, growth: outer.slope * inner.boundGrowth },
    {
      from: toInner(outer.boundFrom),
      to: toInner(outer.boundTo),
      growth: outer.boundGrowth * (inner.slope + inner.boundGrowth),
    },
  );
  const moved = outer.slope * offset;
  return timeSegment({
    base: baseOf(inner),
    slope: inner.slope * outer.slope,
    originCycles: outer.originCycles + moved,
    targetAnchor: outer.targetAnchor,
    boundCycles:
      (outer.slope + outer.boundGrowth) * inner.boundCycles +
      outer.boundCycles +
      span.extra +
      AFFINE_ROUNDING * Math.abs(moved),
    boundFrom: span.from,
    boundTo: span.to,
    boundGrowth: span.growth,
    wanderCycles: (outer.slope + outer.boundGrowth) * inner.wanderCycles + outer.wanderCycles,
    deltaFrom: Math.max(inner.deltaFrom, toInner(outer.deltaFrom)),
    deltaTo: Math.min(inner.deltaTo, toInner(outer.deltaTo)),
    epoch: inner.epoch + outer.epoch,
  });
}

/** The same; undefined where composeSegments() would throw. */
export function tryCompose(inner: TimeSegment, outer: TimeSegment): TimeSegment | undefined {
  const apart = Number(wrappedDelta(inner.targetAnchor, baseOf(outer)));
  const origin = outer.originCycles + outer.slope * (apart + inner.originCycles);
  const isFar = Math.max(Math.abs(apart), Math.abs(origin)) > EXACT_DELTA_MAX;
  return isFar ? undefined : composeSegments(inner, outer);
}

interface GrowingBound {
  readonly from: number;
  readonly to: number;
  readonly growth: number;
}

/**
 * The sum of two bounds that are flat on [from, to] and grow outside, as one such bound. Where the
 * flat parts overlap, the overlap stays flat. Where they are apart, the gap between them becomes
 * the flat part, raised by what either side has grown across it (the sum is convex: its greatest
 * value over the gap is at an end).
 *
 *    a  \___/        .        b         \____/
 *            sum:    \.______./           raised by max(growth a, growth b) * gap
 */
function sumOfBounds(a: GrowingBound, b: GrowingBound): GrowingBound & { readonly extra: number } {
  const growth = a.growth + b.growth;
  const from = Math.max(a.from, b.from);
  const to = Math.min(a.to, b.to);
  if (from <= to) return { from, to, growth, extra: 0 };
  return { from: to, to: from, growth, extra: Math.max(a.growth, b.growth) * (from - to) };
}

/**
 * The segment from target back to source; results count from `sourceAnchor`.
 *
 * If |line(x) - y| <= B + g*|x - x'| for the true x of y, and line(x') = y, then
 * slope*|x - x'| <= B + g*|x - x'|, so |x - x'| <= B / (slope - g).
 */
export function invertSegment(segment: TimeSegment, sourceAnchor: bigint): TimeSegment {
  const { slope, boundGrowth } = segment;
  if (boundGrowth >= slope) {
    throw new RangeError(
      `Cannot invert a time segment: bound grows ${boundGrowth} per unit, ` +
        `wants below its slope ${slope}`,
    );
  }
  const whole = Math.round(segment.originCycles);
  const fraction = segment.originCycles - whole;
  const toTarget = (delta: number): number => fraction + slope * delta;
  const base = BigInt.asUintN(64, segment.targetAnchor + BigInt(whole));
  const originCycles = exactDelta(baseOf(segment), sourceAnchor) - fraction / slope;
  const certain = slope - boundGrowth;
  return timeSegment({
    base,
    slope: 1 / slope,
    originCycles,
    targetAnchor: sourceAnchor,
    boundCycles: segment.boundCycles / certain,
    boundFrom: toTarget(segment.boundFrom),
    boundTo: toTarget(segment.boundTo),
    boundGrowth: boundGrowth / (certain * slope),
    wanderCycles: segment.wanderCycles / certain,
    deltaFrom: toTarget(segment.deltaFrom),
    deltaTo: toTarget(segment.deltaTo),
    epoch: segment.epoch,
  });
}

/** The same segment, counting its results from another value of the target clock. */
export function reanchorSegment(segment: TimeSegment, targetAnchor: bigint): TimeSegment {
  return timeSegment({
    ...segment,
    base: baseOf(segment),
    originCycles: segment.originCycles + exactDelta(segment.targetAnchor, targetAnchor),
    targetAnchor,
  });
}
