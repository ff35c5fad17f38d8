/** The perf page's formula both ways, and the double conversion against BigInt. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  conversionSegment,
  ExactPerfClock,
  perfConversion,
  perfNsOfTsc,
  tscOfPerfNs,
} from "../../../shared/tsc/perf_to_tsc.ts";
import { boundAt } from "../../../shared/tsc/time_segment.ts";

/** Conversions as kernels make them: 0.25 to 6 GHz with 32-bit multipliers, any offset. */
const conversion = fc
  .record({
    timeZero: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
    shift: fc.integer({ min: 10, max: 31 }),
    cyclesPerNs: fc.double({ min: 0.25, max: 6, noNaN: true }),
  })
  .map(({ timeZero, shift, cyclesPerNs }) => {
    const mult = Math.min(Math.round(2 ** shift / cyclesPerNs), 2 ** 32 - 1);
    return perfConversion(timeZero, mult, shift);
  });

describe("the header's formula", () => {
  // Values as a 2.7 GHz machine shows them: mult/2^shift is ns per cycle.
  const machine = perfConversion((1n << 64n) - 123_456_789n, 397_682_349, 30);

  test("perfNsOfTsc() and tscOfPerfNs() on known values", () => {
    expect(perfNsOfTsc(machine, 0n)).toBe((1n << 64n) - 123_456_789n);
    expect(perfNsOfTsc(machine, 2_700_000_000_000n)).toBe(
      ((2_700_000_000_000n * 397_682_349n) >> 30n) - 123_456_789n,
    );
    expect(tscOfPerfNs(machine, 876_543_211n)).toBe((1_000_000_000n << 30n) / 397_682_349n);
  });

  test("tscOfPerfNs() is at most one ns of cycles before the TSC that made the time", () => {
    fc.assert(
      fc.property(conversion, fc.bigInt({ min: 0n, max: 1n << 57n }), (c, tsc) => {
        const back = tscOfPerfNs(c, perfNsOfTsc(c, tsc));
        expect(back).toBeLessThanOrEqual(tsc);
        expect(Number(tsc - back)).toBeLessThan(2 ** c.shift / c.mult + 1);
      }),
      { numRuns: 1000 },
    );
  });

  test("perfConversion() refuses what defines no clock", () => {
    expect(() => perfConversion(0n, 0, 10)).toThrow("mult is 0");
    expect(() => perfConversion(0n, 2 ** 32, 10)).toThrow(RangeError);
    expect(() => perfConversion(0n, 1.5, 10)).toThrow(RangeError);
    expect(() => perfConversion(0n, 1, 33)).toThrow("shift is 33");
    expect(() => perfConversion(0n, 1, -1)).toThrow(RangeError);
    expect(perfConversion(-5n, 1, 0).timeZero).toBe((1n << 64n) - 5n);
  });
});

describe("conversionSegment()", () => {
  test("every TSC is within the bound of the double conversion of its own perf time", () => {
    fc.assert(
      fc.property(
        conversion,
        fc.bigInt({ min: 0n, max: 1n << 57n }),
        fc.bigInt({ min: 0n, max: 1n << 50n }),
        fc.bigInt({ min: -(1n << 40n), max: 1n << 40n }),
        (c, start, ahead, anchorDistance) => {
          const base = perfNsOfTsc(c, start);
          const anchor = BigInt.asUintN(64, start + anchorDistance);
          const segment = conversionSegment(c, base, anchor);
          const tsc = start + ahead;
          const delta = Number(BigInt.asIntN(64, perfNsOfTsc(c, tsc) - base));
          const error = Math.abs(
            segment.originCycles + segment.slope * delta - Number(BigInt.asIntN(64, tsc - anchor)),
          );
          expect(error).toBeLessThanOrEqual(boundAt(segment, delta));
        },
      ),
      { numRuns: 2000 },
    );
  });

  test("the error of doubles alone is below 1/32 cycle within an hour of the anchor", () => {
    const c = perfConversion(987_654_321n, 397_682_349, 30);
    const base = perfNsOfTsc(c, 5_000_000_000_000_000n);
    const anchor = tscOfPerfNs(c, base);
    const segment = conversionSegment(c, base, anchor);
    let worst = 0;
    for (let i = 0n; i < 1000n; i++) {
      const ns = base + i * 3_600_000_017n;
      // The step's first cycle exactly, in 1/2^20 cycles.
      const time = BigInt.asUintN(64, ns - c.timeZero);
      const exact = ((time << BigInt(c.shift)) << 20n) / BigInt(c.mult) - (anchor << 20n);
      const middle = Number(exact) / 2 ** 20 + segment.slope / 2;
      const got = segment.originCycles + segment.slope * Number(ns - base);
      worst = Math.max(worst, Math.abs(got - middle));
    }
    expect(worst).toBeLessThan(1 / 32);
  });
});

describe("ExactPerfClock", () => {
  const first = perfConversion(1000n, 397_682_349, 30);
  const second = perfConversion(51_000n, 397_682_349, 30);

  test("update() keeps one segment while the page says the same", () => {
    const clock = new ExactPerfClock(0n);
    expect(clock.update(first, 5_000n)).toBe(false);
    expect(clock.update(first, 1_000_000_000n)).toBe(false);
    expect(clock.map.segments.length).toBe(1);
    expect(clock.conversion).toEqual(first);
  });

  test("update() renews the anchor with the hours, in the same epoch", () => {
    const clock = new ExactPerfClock(0n);
    clock.update(first, 5_000n);
    clock.update(first, 5_000n + (1n << 42n));
    expect(clock.map.segments.map((s) => s.epoch)).toEqual([0, 0]);
    const tsc = 20_000_000_000_000n;
    const { cycles, boundCycles } = clock.map.convert(perfNsOfTsc(first, tsc));
    expect(Math.abs(cycles - Number(tsc))).toBeLessThanOrEqual(boundCycles);
    expect(boundCycles).toBeLessThan(1.5);
  });

  test("a changed page begins an epoch, with a seam since the last look", () => {
    const clock = new ExactPerfClock(0n);
    clock.update(first, 10_000n);
    clock.update(first, 1_000_000n);
    expect(clock.update(second, 2_000_000n)).toBe(true);
    const seam = clock.map.convert(1_500_000n);
    for (const c of [first, second]) {
      const error = Math.abs(seam.cycles - Number(tscOfPerfNs(c, 1_500_000n)));
      expect(error).toBeLessThanOrEqual(seam.boundCycles);
    }
    expect(clock.map.convert(2_000_000n).boundCycles).toBeLessThan(1.5);
    expect(clock.map.convert(500_000n).boundCycles).toBeLessThan(1.5);
    expect(clock.map.newest!.epoch).toBe(1);
  });
});
