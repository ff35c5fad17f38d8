// Histogram: log-linear counts of non-negative integers, for latency percentiles.
//
//   value  0 .. 255      one bucket each: exact
//          256 .. 511    buckets of 2, and so on: each octave has 128 buckets
//
// A percentile is answered with the middle of its bucket, so it is off by at most 1/256 of itself
// (below 0.4 %); the smallest and the largest value and the sum are exact. Histograms of the same
// quantity can be merged without any loss, in any order. Counts are kept in segments of one octave
// that are allocated when first needed: latencies that span eight octaves cost 4 KiB.

/** Buckets of one octave. */
export const OCTAVE_BUCKETS = 128;
/** Larger values are counted in the last bucket; max and sum stay right. */
export const VALUE_MAX = Number.MAX_SAFE_INTEGER;

/** What a u32 count holds. */
const COUNT_MAX = 2 ** 32 - 1;
const SUB_BITS = 8;
/** Below this, adding a half and cutting to 32 bits rounds. */
const INT32_SAFE = 2 ** 31 - 1;
const TWO_32 = 2 ** 32;
/** Sums of integers are exact below 2^53; one step below, an addition cannot pass it. */
const SUM_STEP = 2 ** 52;
/** Buckets 0 to 255 take two segments, each further octave up to 2^53 one. */
const SEGMENTS = 2 + 53 - SUB_BITS;

/** Receives a bucket that is not empty: values from `lower` to `upper`, both inclusive. */
export type BucketVisitor = (lower: number, upper: number, count: number) => void;

/** A segment's counts: doubles as soon as one passes 2^32. */
type Counts = Uint32Array | Float64Array;

/** Counts of values. Grows to 25 KiB, and to 49 KiB when buckets hold more than 2^32 values. */
export class Histogram {
  /** Values recorded. */
  count = 0;
  /** The smallest and the largest value; Infinity and -Infinity when there is none. */
  min = Number.POSITIVE_INFINITY;
  max = Number.NEGATIVE_INFINITY;
  /** The sum is sumSteps * 2^52 + sumRest, exactly. */
  #sumRest = 0;
  #sumSteps = 0;
  readonly #segments: (Counts | undefined)[] = new Array(SEGMENTS).fill(undefined);

  /** Records a value, rounded to an integer. Throws RangeError unless it is from 0 to VALUE_MAX. */
  record(value: number): void {
    let rounded: number;
    let index: number;
    // Almost all latencies: 32-bit arithmetic throughout.
    if (value >= 0 && value < INT32_SAFE) {
      rounded = (value + 0.5) | 0;
      const shift = Math.max(0, 32 - SUB_BITS - Math.clz32(rounded));
      index = shift * OCTAVE_BUCKETS + (rounded >>> shift);
    } else {
      if (!(value >= 0 && value <= VALUE_MAX)) {
        throw new RangeError(`Cannot record ${value}: wanted a value from 0 to ${VALUE_MAX}`);
      }
      rounded = Math.round(value);
      index = bucketOfLarge(rounded);
    }
    this.count++;
    if (rounded < this.min) this.min = rounded;
    if (rounded > this.max) this.max = rounded;
    this.#addToSum(rounded);
    const segment = this.#segments[index >>> 7] ?? this.#makeSegment(index >>> 7);
    const slot = index & (OCTAVE_BUCKETS - 1);
    const count = segment[slot]! + 1;
    if (count > COUNT_MAX) this.#widen(index >>> 7)[slot] = count;
    else segment[slot] = count;
  }

  /** The sum of all values, rounded to a double only when it is above 2^53. */
  get sum(): number {
    return this.#sumSteps * SUM_STEP + this.#sumRest;
  }

  /** The exact sum. */
  get exactSum(): bigint {
    return BigInt(this.#sumSteps) * BigInt(SUM_STEP) + BigInt(this.#sumRest);
  }

  /**
   * The value that `share` (0 to 1) of the values do not exceed: within 0.4 %, and exact where it
   * is the smallest or the largest. NaN when nothing was recorded.
   */
  quantile(share: number): number {
    if (!(share >= 0 && share <= 1)) {
      throw new RangeError(`Cannot take quantile ${share}: wanted a share from 0 to 1`);
    }
    if (this.count === 0) return Number.NaN;
    // 0.9999 * 20000 comes out a little above 19998: that must not become the next rank.
    const rank = Math.max(1, Math.ceil(share * this.count * (1 - 4 * Number.EPSILON)));
    if (rank === 1) return this.min;
    if (rank === this.count) return this.max;
    let seen = 0;
    for (const [number, segment] of this.#segments.entries()) {
      if (segment === undefined) continue;
      for (let slot = 0; slot < OCTAVE_BUCKETS; slot++) {
        seen += segment[slot]!;
        if (seen >= rank) return this.#middle(number * OCTAVE_BUCKETS + slot);
      }
    }
    return this.max;
  }

  /** Adds all values of the other one. */
  merge(other: Histogram): void {
    this.count += other.count;
    this.min = Math.min(this.min, other.min);
    this.max = Math.max(this.max, other.max);
    this.#sumSteps += other.#sumSteps;
    this.#addToSum(other.#sumRest);
    for (const [number, theirs] of other.#segments.entries()) {
      if (theirs === undefined) continue;
      let ours = this.#segments[number] ?? this.#makeSegment(number);
      for (let slot = 0; slot < OCTAVE_BUCKETS; slot++) {
        const count = ours[slot]! + theirs[slot]!;
        if (count > COUNT_MAX) ours = this.#widen(number);
        ours[slot] = count;
      }
    }
  }

  /** Empties the histogram; its memory is kept for the next interval. */
  reset(): void {
    this.count = 0;
    this.min = Number.POSITIVE_INFINITY;
    this.max = Number.NEGATIVE_INFINITY;
    this.#sumRest = 0;
    this.#sumSteps = 0;
    for (const segment of this.#segments) segment?.fill(0);
  }

  /** Visits the buckets that are not empty, from small to large values. */
  visitBuckets(visit: BucketVisitor): void {
    for (const [number, segment] of this.#segments.entries()) {
      if (segment === undefined) continue;
      for (let slot = 0; slot < OCTAVE_BUCKETS; slot++) {
        const count = segment[slot]!;
        if (count === 0) continue;
        const lower = bucketLower(number * OCTAVE_BUCKETS + slot);
        visit(lower, lower + bucketWidth(number) - 1, count);
      }
    }
  }

  #middle(index: number): number {
    const middle = bucketLower(index) + (bucketWidth(index >>> 7) - 1) / 2;
    return Math.min(this.max, Math.max(this.min, middle));
  }

  #addToSum(value: number): void {
    let rest = this.#sumRest + value;
    // Both terms are below 2^53 and the rest below 2^52: split before they can round.
    if (value >= SUM_STEP) {
      this.#sumSteps++;
      rest = this.#sumRest + (value - SUM_STEP);
    }
    if (rest >= SUM_STEP) {
      this.#sumSteps++;
      rest -= SUM_STEP;
    }
    this.#sumRest = rest;
  }

  #makeSegment(number: number): Counts {
    const segment = new Uint32Array(OCTAVE_BUCKETS);
    this.#segments[number] = segment;
    return segment;
  }

  /** The segment with counts that go beyond 2^32: an hour at a million a second in one bucket. */
  #widen(number: number): Float64Array {
    const segment = Float64Array.from(this.#segments[number]!);
    this.#segments[number] = segment;
    return segment;
  }
}

/** As in record(), for values from INT32_SAFE on: 32-bit shifts would cut their upper half off. */
function bucketOfLarge(value: number): number {
  const upper = Math.floor(value / TWO_32);
  const bits = upper === 0 ? 32 : 64 - Math.clz32(upper);
  const shift = bits - SUB_BITS;
  return shift * OCTAVE_BUCKETS + Math.floor(value / 2 ** shift);
}

function bucketLower(index: number): number {
  const number = index >>> 7;
  if (number < 2) return index;
  return (OCTAVE_BUCKETS + (index & (OCTAVE_BUCKETS - 1))) * 2 ** (number - 1);
}

function bucketWidth(number: number): number {
  return number < 2 ? 1 : 2 ** (number - 1);
}
