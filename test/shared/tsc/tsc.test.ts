/** Branded clock values, halves and deltas over all of u64. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  deltaFromBase,
  EXACT_DELTA_MAX,
  exactDelta,
  guestTsc,
  highHalf,
  hostTsc,
  joinHalves,
  lowHalf,
  ns,
  wrappedDelta,
} from "../../../shared/tsc/tsc.ts";

const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });

describe("branded clock values", () => {
  for (const [name, make] of [
    ["hostTsc", hostTsc],
    ["guestTsc", guestTsc],
    ["ns", ns],
  ] as const) {
    test(`${name}() takes all of u64 and nothing else`, () => {
      expect(make(0n) as bigint).toBe(0n);
      expect(make((1n << 64n) - 1n) as bigint).toBe((1n << 64n) - 1n);
      expect(() => make(-1n)).toThrow(RangeError);
      expect(() => make(1n << 64n)).toThrow("wants 0 to 2^64-1");
    });
  }
});

describe("halves", () => {
  test("joinHalves() undoes lowHalf() and highHalf()", () => {
    fc.assert(
      fc.property(u64, (value) => {
        expect(joinHalves(lowHalf(value), highHalf(value))).toBe(value);
      }),
    );
  });

  test("lowHalf() and highHalf() give the two's complement of a negative value", () => {
    expect([lowHalf(-2n), highHalf(-2n)]).toEqual([0xfffffffe, 0xffffffff]);
  });
});

describe("deltas", () => {
  test("deltaFromBase() equals 64-bit subtraction below 2^53, across the wrap at 2^64", () => {
    const distance = fc.bigInt({ min: -(1n << 53n), max: 1n << 53n });
    fc.assert(
      fc.property(u64, distance, (base, delta) => {
        const value = BigInt.asUintN(64, base + delta);
        const got = deltaFromBase(lowHalf(value), highHalf(value), lowHalf(base), highHalf(base));
        expect(BigInt(got)).toBe(delta);
        expect(wrappedDelta(value, base)).toBe(delta);
        expect(exactDelta(value, base)).toBe(Number(delta));
      }),
      { numRuns: 1000 },
    );
  });

  test("exactDelta() refuses what a double cannot hold", () => {
    expect(exactDelta(BigInt(EXACT_DELTA_MAX), 0n)).toBe(EXACT_DELTA_MAX);
    expect(() => exactDelta(1n << 54n, 0n)).toThrow("wants at most 2^53");
  });
});
