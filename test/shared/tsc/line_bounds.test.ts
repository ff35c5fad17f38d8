/** Line bounds against enumeration of every possible line, and against true lines. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LineBounds } from "../../../shared/tsc/line_bounds.ts";

interface Constraint {
  readonly x: number;
  readonly lo: number;
  readonly hi: number;
}

/**
 * The extreme heights at `x` found the slow way: every line through two interval ends (or of an
 * extreme prior slope through one) that crosses all intervals.
 */
function tubeByEnumeration(
  all: readonly Constraint[],
  slopes: readonly [number, number],
  x: number,
): readonly [number, number] | undefined {
  const ends = all.flatMap((c) => [
    { x: c.x, y: c.lo },
    { x: c.x, y: c.hi },
  ]);
  let lowest = Infinity;
  let highest = -Infinity;
  const tryLine = (px: number, py: number, slope: number): void => {
    if (slope < slopes[0] || slope > slopes[1]) return;
    const crosses = all.every((c) => {
      const y = py + slope * (c.x - px);
      return y >= c.lo - 1e-7 && y <= c.hi + 1e-7;
    });
    if (!crosses) return;
    lowest = Math.min(lowest, py + slope * (x - px));
    highest = Math.max(highest, py + slope * (x - px));
  };
  for (const a of ends) {
    tryLine(a.x, a.y, slopes[0]);
    tryLine(a.x, a.y, slopes[1]);
    for (const b of ends) if (b.x !== a.x) tryLine(a.x, a.y, (b.y - a.y) / (b.x - a.x));
  }
  return lowest <= highest ? [lowest, highest] : undefined;
}

const smallConstraint = fc.record({
  x: fc.integer({ min: -20, max: 20 }),
  offset: fc.integer({ min: -5, max: 5 }),
  width: fc.integer({ min: 0, max: 10 }),
});

describe("LineBounds against enumeration of all lines", () => {
  test("upperAt() and lowerAt() are the extreme lines; add() rejects when none is left", () => {
    fc.assert(
      fc.property(
        fc.array(smallConstraint, { minLength: 1, maxLength: 7 }),
        fc.integer({ min: -40, max: 40 }),
        fc.constantFrom([-3, 3] as const, [0.5, 1.5] as const, [1, 1] as const),
        (raw, x, slopes) => {
          const bounds = new LineBounds(slopes[0], slopes[1]);
          const kept: Constraint[] = [];
          for (const { x: at, offset, width } of raw) {
            const next = { x: at, lo: at + offset, hi: at + offset + width };
            const possible = tubeByEnumeration([...kept, next], slopes, x) !== undefined;
            expect(bounds.add(next.x, next.lo, next.hi)).toBe(possible);
            if (possible) kept.push(next);
          }
          const [lowest, highest] = tubeByEnumeration(kept, slopes, x)!;
          expect(bounds.lowerAt(x)).toBeCloseTo(lowest, 6);
          expect(bounds.upperAt(x)).toBeCloseTo(highest, 6);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("line() holds its bound for every possible line, and no line does better", () => {
    fc.assert(
      fc.property(
        fc.array(smallConstraint, { minLength: 2, maxLength: 7 }),
        fc.integer({ min: -30, max: 30 }),
        fc.integer({ min: 0, max: 30 }),
        fc.integer({ min: -50, max: 50 }),
        (raw, from, span, probe) => {
          const bounds = new LineBounds(-3, 3);
          for (const { x, offset, width } of raw) bounds.add(x, x + offset, x + offset + width);
          const line = bounds.line(from, from + span)!;
          const at = line.y + line.slope * (probe - line.x);
          const outside = Math.max(0, line.boundFrom - probe, probe - line.boundTo);
          const bound = line.bound + line.boundGrowth * outside + 1e-9;
          expect(bounds.upperAt(probe) - at).toBeLessThanOrEqual(bound);
          expect(at - bounds.lowerAt(probe)).toBeLessThanOrEqual(bound);
          const worstEnd = Math.max(
            bounds.upperAt(from) - bounds.lowerAt(from),
            bounds.upperAt(from + span) - bounds.lowerAt(from + span),
          );
          expect(line.bound).toBeLessThanOrEqual(worstEnd / 2 + 1e-9);
        },
      ),
      { numRuns: 1000 },
    );
  });
});

/** A true line in cycles with constraints as a round trip or bracket gives them. */
const realistic = fc.record({
  slope: fc.double({ min: 0.1, max: 8, noNaN: true }),
  start: fc.integer({ min: -(2 ** 44), max: 2 ** 44 }),
  steps: fc.array(
    fc.record({
      dx: fc.integer({ min: 1, max: 2 ** 33 }),
      before: fc.integer({ min: 0, max: 200_000 }),
      after: fc.integer({ min: 0, max: 200_000 }),
      side: fc.constantFrom("both", "floor", "ceiling"),
    }),
    { minLength: 2, maxLength: 60 },
  ),
  probe: fc.integer({ min: -(2 ** 40), max: 2 ** 42 }),
});

describe("LineBounds on true lines with asymmetric delays", () => {
  test("truth never leaves the bound and is never contradicted", () => {
    fc.assert(
      fc.property(realistic, ({ slope, start, steps, probe }) => {
        const bounds = new LineBounds(0.05, 10);
        let x = 0;
        for (const { dx, before, after, side } of steps) {
          x += dx;
          const lo = side === "ceiling" ? -Infinity : Math.floor(start + slope * x) - before;
          const hi = side === "floor" ? Infinity : Math.ceil(start + slope * x) + after;
          expect(bounds.add(x, lo, hi)).toBe(true);
        }
        expect(bounds.slopeMin).toBeLessThanOrEqual(slope);
        expect(bounds.slopeMax).toBeGreaterThanOrEqual(slope);
        const truth = start + slope * probe;
        expect(bounds.lowerAt(probe)).toBeLessThanOrEqual(truth);
        expect(bounds.upperAt(probe)).toBeGreaterThanOrEqual(truth);
        const line = bounds.line(x, x + 2 ** 33);
        if (line === undefined) return;
        const outside = Math.max(0, line.boundFrom - probe, probe - line.boundTo);
        const error = Math.abs(line.y + line.slope * (probe - line.x) - truth);
        expect(error).toBeLessThanOrEqual(line.bound + line.boundGrowth * outside + 0.5);
      }),
      { numRuns: 1500 },
    );
  });

  test("a slope known exactly intersects all offsets: narrowest one-way delays of any age", () => {
    const bounds = new LineBounds(1, 1);
    bounds.add(1000, 995, 1100);
    bounds.add(2_000_000_000, 1_999_999_000, 2_000_000_007);
    const line = bounds.line(5_000_000_000, 6_000_000_000)!;
    expect(line.y).toBeCloseTo(5_000_000_001, 3);
    expect(line.bound).toBeCloseTo(6, 3);
    expect(line.boundGrowth).toBe(0);
  });
});

describe("LineBounds contradictions", () => {
  test("add() refuses a step and keeps what it knew", () => {
    const bounds = new LineBounds(0.9, 1.1);
    for (let x = 0; x <= 1000; x += 100) bounds.add(x, x - 5, x + 5);
    const { slopeMin, slopeMax, vertexCount } = bounds;
    expect(bounds.add(1100, 2100, 2110)).toBe(false);
    expect([bounds.slopeMin, bounds.slopeMax, bounds.vertexCount]).toEqual([
      slopeMin,
      slopeMax,
      vertexCount,
    ]);
    expect(bounds.contradiction(1100, 2100, 2110)).toBeGreaterThan(900);
    expect(bounds.contradiction(1100, 1095, 1105)).toBeLessThanOrEqual(0);
  });

  test("widen() makes room for exactly what contradicted", () => {
    const bounds = new LineBounds(1, 1);
    bounds.add(0, 0, 10);
    bounds.add(100, 105, 115);
    const excess = bounds.contradiction(200, 213, 220);
    expect(excess).toBeCloseTo(3, 6);
    bounds.widen(excess);
    expect(bounds.add(200, 213, 220)).toBe(true);
  });

  test("one open side gives no line, and an empty or upside-down range is refused", () => {
    const bounds = new LineBounds(0, 2);
    expect(bounds.line(0, 1)).toBeUndefined();
    bounds.add(0, 0, Infinity);
    expect(bounds.line(0, 1)).toBeUndefined();
    bounds.add(1, -Infinity, 5);
    expect(bounds.line(0, 1)).toBeDefined();
    expect(() => bounds.add(2, 5, 4)).toThrow("wants from <= to");
    expect(() => bounds.add(2, Number.NaN, 4)).toThrow(RangeError);
    expect(() => new LineBounds(2, 1)).toThrow("wants a finite range");
  });
});
