// Histogram against sorted values, exact sums and hdr-histogram-js.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import * as hdr from "hdr-histogram-js";
import { Histogram } from "../../../shared/hist/histogram.ts";

const SHARES = [0, 0.01, 0.5, 0.95, 0.99, 0.999, 1];

function histogramOf(values: readonly number[]): Histogram {
  const histogram = new Histogram();
  for (const value of values) histogram.record(value);
  return histogram;
}

function exactQuantile(sorted: readonly number[], share: number): number {
  return sorted[Math.max(1, Math.ceil(share * sorted.length * (1 - 4 * Number.EPSILON))) - 1]!;
}

/** Values of all sizes up to 2^53. */
const value = fc
  .tuple(fc.nat(52), fc.double({ min: 1, max: 2, noNaN: true }))
  .map(([exponent, mantissa]) => Math.floor(2 ** exponent * mantissa) - 1);

describe("Histogram", () => {
  test("is empty at first", () => {
    const histogram = new Histogram();
    expect(histogram.count).toBe(0);
    expect(histogram.sum).toBe(0);
    expect(histogram.quantile(0.5)).toBeNaN();
  });

  test("quantile() is exact for values below 256", () => {
    const values = Array.from({ length: 256 }, (_, i) => i);
    const histogram = histogramOf(values);
    for (const share of SHARES)
      expect(histogram.quantile(share)).toBe(exactQuantile(values, share));
  });

  test("quantile() stays within 0.4 % of the sorted values, exact at the ends", () => {
    fc.assert(
      fc.property(fc.array(value, { minLength: 1, maxLength: 200 }), (values) => {
        const histogram = histogramOf(values);
        const sorted = values.toSorted((a, b) => a - b);
        for (const share of SHARES) {
          const exact = exactQuantile(sorted, share);
          expect(Math.abs(histogram.quantile(share) - exact)).toBeLessThanOrEqual(exact / 256);
        }
        expect(histogram.quantile(0)).toBe(sorted[0]!);
        expect(histogram.quantile(1)).toBe(sorted.at(-1)!);
        expect(histogram.min).toBe(sorted[0]!);
        expect(histogram.max).toBe(sorted.at(-1)!);
      }),
      { numRuns: 500 },
    );
  });

  test("quantile() agrees with hdr-histogram-js", () => {
    let seed = 12345;
    const random = () => {
      seed = (Math.imul(seed, 1103515245) + 12345) >>> 0;
      return seed / 2 ** 32;
    };
    const oracle = hdr.build({
      lowestDiscernibleValue: 1,
      highestTrackableValue: 2 ** 42,
      numberOfSignificantValueDigits: 3,
    });
    const histogram = new Histogram();
    for (let i = 0; i < 20_000; i++) {
      const latency = Math.floor(
        Math.exp(6 + 4 * random() + (random() < 0.01 ? 12 * random() : 0)),
      );
      oracle.recordValue(latency);
      histogram.record(latency);
    }
    expect(histogram.count).toBe(oracle.totalCount);
    expect(histogram.min).toBe(oracle.minNonZeroValue);
    for (const percent of [1, 10, 50, 90, 95, 99, 99.9, 99.99]) {
      const theirs = oracle.getValueAtPercentile(percent);
      expect(Math.abs(histogram.quantile(percent / 100) - theirs) / theirs).toBeLessThan(0.01);
    }
    oracle.destroy();
  });

  test("exactSum is the sum of any values", () => {
    const large = fc.oneof(fc.maxSafeNat(), fc.integer({ min: 2 ** 31 - 9, max: 2 ** 31 + 9 }));
    fc.assert(
      fc.property(fc.array(fc.oneof(value, large), { maxLength: 50 }), (values) => {
        const sum = values.reduce((total, each) => total + BigInt(each), 0n);
        const histogram = histogramOf(values);
        expect(histogram.exactSum).toBe(sum);
        expect(histogram.sum).toBe(Number(sum));
      }),
      { numRuns: 300 },
    );
  });

  test("merge() equals recording everything in one", () => {
    const values = fc.array(value, { maxLength: 60 });
    fc.assert(
      fc.property(values, values, (first, second) => {
        const merged = histogramOf(first);
        merged.merge(histogramOf(second));
        const all = histogramOf([...first, ...second]);
        expect(merged.exactSum).toBe(all.exactSum);
        expect([merged.count, merged.min, merged.max]).toEqual([all.count, all.min, all.max]);
        for (const share of SHARES) expect(merged.quantile(share)).toBe(all.quantile(share));
      }),
      { numRuns: 200 },
    );
  });

  test("counts on beyond 2^32 values in one bucket", () => {
    const histogram = histogramOf([5, 5, 200]);
    // Doubling by merging: 2^33 of 5 and more.
    for (let i = 0; i < 32; i++) {
      const twin = new Histogram();
      twin.merge(histogram);
      histogram.merge(twin);
    }
    histogram.record(5);
    const counts = new Map<number, number>();
    histogram.visitBuckets((lower, _upper, count) => counts.set(lower, count));
    expect([...counts]).toEqual([
      [5, 2 ** 33 + 1],
      [200, 2 ** 32],
    ]);
    expect(histogram.count).toBe(2 ** 33 + 2 ** 32 + 1);
    expect(histogram.quantile(0.5)).toBe(5);
  });

  test("visitBuckets() gives buckets that hold the values, in order", () => {
    fc.assert(
      fc.property(fc.array(value, { maxLength: 60 }), (values) => {
        const left = values.toSorted((a, b) => a - b);
        let end = -1;
        histogramOf(values).visitBuckets((lower, upper, count) => {
          expect(lower).toBeGreaterThan(end);
          end = upper;
          for (const each of left.splice(0, count)) {
            expect(each).toBeGreaterThanOrEqual(lower);
            expect(each).toBeLessThanOrEqual(upper);
          }
        });
        expect(left).toEqual([]);
      }),
      { numRuns: 200 },
    );
  });

  test("record() rounds to integers", () => {
    const histogram = histogramOf([0.4, 0.5, 1.6]);
    expect([histogram.min, histogram.max, histogram.sum]).toEqual([0, 2, 3]);
  });

  test("quantile() holds on both sides of 2^31 and 2^32", () => {
    for (const middle of [2 ** 31, 2 ** 32]) {
      const values = [-3, -2, -1, 0, 1, 2, 3].map((step) => middle + step);
      const exact = values.toSorted((a, b) => a - b);
      const histogram = histogramOf(values);
      for (const share of [0.2, 0.5, 0.8]) {
        const error = Math.abs(histogram.quantile(share) - exactQuantile(exact, share));
        expect(error).toBeLessThan(middle / 256);
      }
    }
  });

  test("reset() empties it", () => {
    const histogram = histogramOf([5, 1000, 70_000]);
    histogram.reset();
    expect([histogram.count, histogram.sum, histogram.min]).toEqual([
      0,
      0,
      Number.POSITIVE_INFINITY,
    ]);
    histogram.record(7);
    expect(histogram.quantile(0.5)).toBe(7);
  });

  test.each([-1, -0.1, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53])(
    "record() throws on %p",
    (bad) => {
      expect(() => new Histogram().record(bad)).toThrow(RangeError);
    },
  );

  test.each([-0.1, 1.1, Number.NaN])("quantile() throws on %p", (share) => {
    expect(() => new Histogram().quantile(share)).toThrow(RangeError);
  });
});
