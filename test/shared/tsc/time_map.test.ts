/** Segments, their composition and inverse against true lines; maps over a session. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { TIME_SEGMENTS_MAX, TimeMap } from "../../../shared/tsc/time_map.ts";
import {
  baseOf,
  boundAt,
  boundOver,
  composeSegments,
  convert,
  invertSegment,
  reanchorSegment,
  type TimeSegment,
  timeSegment,
} from "../../../shared/tsc/time_segment.ts";
import { exactDelta, highHalf, lowHalf } from "../../../shared/tsc/tsc.ts";

/** A true line and a segment whose error is anywhere within its own bound. */
interface Known {
  readonly base: bigint;
  readonly anchor: bigint;
  readonly slope: number;
  readonly origin: number;
  readonly segment: TimeSegment;
}

const small = fc.double({ min: -1, max: 1, noNaN: true });

const known = (baseMax: bigint): fc.Arbitrary<Known> =>
  fc
    .record({
      base: fc.bigInt({ min: 0n, max: baseMax }),
      anchor: fc.bigInt({ min: 0n, max: baseMax }),
      slope: fc.double({ min: 0.25, max: 4, noNaN: true }),
      origin: fc.integer({ min: -(2 ** 24), max: 2 ** 24 }),
      bound: fc.integer({ min: 0, max: 1000 }),
      growth: fc.double({ min: 0, max: 0.01, noNaN: true }),
      from: fc.integer({ min: -(2 ** 24), max: 2 ** 24 }),
      span: fc.integer({ min: 0, max: 2 ** 24 }),
      errorAtFrom: small,
      errorOfSlope: small,
    })
    .map((r) => {
      const to = r.from + r.span;
      // A line that starts within +-bound at `from` and whose slope is off by at most growth, kept
      // within the bound over the span by the slope error that still fits.
      const room = r.span === 0 ? r.growth : Math.min(r.growth, r.bound / r.span / 2);
      const slopeError = room * r.errorOfSlope;
      const fromError = (r.bound / 2) * r.errorAtFrom;
      const segment = timeSegment({
        base: r.base,
        targetAnchor: r.anchor,
        slope: r.slope + slopeError,
        originCycles: r.origin + fromError - slopeError * r.from,
        boundCycles: r.bound,
        boundFrom: r.from,
        boundTo: to,
        boundGrowth: r.growth,
      });
      return { base: r.base, anchor: r.anchor, slope: r.slope, origin: r.origin, segment };
    });

/** True target (relative to its anchor) of the true line at a delta from its base. */
const truthAt = (line: Known, delta: number): number => line.origin + line.slope * delta;

/** Doubles compute the expected values themselves only to this. */
const ORACLE_SLACK = 2e-6;

describe("timeSegment()", () => {
  test("the segments made here keep their promise: error within boundAt()", () => {
    fc.assert(
      fc.property(
        known(1n << 62n),
        fc.integer({ min: -(2 ** 26), max: 2 ** 26 }),
        (line, delta) => {
          const source = line.base + BigInt(delta);
          if (source < 0n) return;
          const got = convert(line.segment, lowHalf(source), highHalf(source));
          const bound = boundAt(line.segment, delta) + ORACLE_SLACK;
          expect(Math.abs(got - truthAt(line, delta))).toBeLessThanOrEqual(bound);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("boundOver() is the greatest boundAt() of the interval", () => {
    const segment = timeSegment({
      base: 0n,
      targetAnchor: 0n,
      slope: 1,
      originCycles: 0,
      boundCycles: 10,
      boundFrom: 0,
      boundTo: 100,
      boundGrowth: 0.5,
    });
    expect(boundAt(segment, 50)).toBeCloseTo(10, 6);
    expect(boundAt(segment, 120)).toBeCloseTo(20, 6);
    expect(boundOver(segment, -40, 110)).toBeCloseTo(30, 6);
  });

  test("refuses what is no conversion", () => {
    const good = { base: 0n, targetAnchor: 0n, slope: 1, originCycles: 0, boundCycles: 0 };
    expect(() => timeSegment({ ...good, slope: 0 })).toThrow("wants > 0");
    expect(() => timeSegment({ ...good, slope: Infinity })).toThrow(RangeError);
    expect(() => timeSegment({ ...good, boundCycles: -1 })).toThrow("wants >= 0");
    expect(() => timeSegment({ ...good, boundCycles: Number.NaN })).toThrow(RangeError);
    expect(() => timeSegment({ ...good, wanderCycles: -1 })).toThrow("wander -1");
    expect(() => timeSegment({ ...good, boundTo: Infinity })).toThrow("wants finite ends");
    expect(() => timeSegment({ ...good, originCycles: 2 ** 54 })).toThrow("within 2^53");
  });
});

describe("composition and inverse", () => {
  test("composeSegments() holds its bound wherever the two flat spans lie", () => {
    fc.assert(
      fc.property(
        known(1n << 40n),
        known(1n << 40n),
        fc.integer({ min: -(2 ** 26), max: 2 ** 26 }),
        (inner, outerLine, delta) => {
          // The middle clock must count from somewhere near outer's base, or 2^40 * slope errors
          // of the oracle would drown what is tested.
          const innerAnchor = outerLine.base + (inner.anchor % 1000n);
          const segment = { ...inner.segment, targetAnchor: innerAnchor };
          const both = composeSegments(segment, outerLine.segment);
          const middle = Number(innerAnchor - outerLine.base) + truthAt(inner, delta);
          const truth = truthAt(outerLine, middle);
          const error = Math.abs(both.originCycles + both.slope * delta - truth);
          expect(error).toBeLessThanOrEqual(boundAt(both, delta) + ORACLE_SLACK);
        },
      ),
      { numRuns: 1500 },
    );
  });

  test("the distance of two results is off by the slope and the wander of both clocks", () => {
    const wander = fc.integer({ min: 0, max: 500 });
    fc.assert(
      fc.property(known(1n << 40n), known(1n << 40n), wander, wander, (inner, outer, wi, wo) => {
        const a = { ...inner.segment, targetAnchor: outer.base, wanderCycles: wi };
        const b = { ...outer.segment, wanderCycles: wo };
        const both = composeSegments(a, b);
        const [near, far] = [-(2 ** 20), 2 ** 20];
        // Each clock is early by half of its wander at one of the two times, and late at the other.
        const truth = (delta: number, sign: number): number =>
          truthAt(outer, truthAt(inner, delta) + (sign * wi) / 2) + (sign * wo) / 2;
        for (const sign of [1, -1]) {
          const distance = truth(far, sign) - truth(near, -sign);
          const error = Math.abs(both.slope * (far - near) - distance);
          const allowed = both.boundGrowth * (far - near) + both.wanderCycles;
          expect(error).toBeLessThanOrEqual(allowed + ORACLE_SLACK);
          const back = invertSegment(both, 0n);
          const sourceError = Math.abs(back.slope * distance - (far - near));
          const backAllowed = back.boundGrowth * Math.abs(distance) + back.wanderCycles;
          expect(sourceError).toBeLessThanOrEqual(backAllowed + ORACLE_SLACK);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("invertSegment() finds the source within its bound", () => {
    fc.assert(
      fc.property(
        known(1n << 62n),
        fc.integer({ min: -(2 ** 26), max: 2 ** 26 }),
        (line, delta) => {
          const back = invertSegment(line.segment, line.base);
          const target = truthAt(line, delta);
          const fromBase = target - exactDelta(baseOf(back), line.anchor);
          const error = Math.abs(back.originCycles + back.slope * fromBase - delta);
          expect(error).toBeLessThanOrEqual(boundAt(back, fromBase) + ORACLE_SLACK);
        },
      ),
      { numRuns: 1000 },
    );
  });

  test("invertSegment() refuses a bound that grows as fast as the clock", () => {
    const vague = timeSegment({
      base: 0n,
      targetAnchor: 0n,
      slope: 1,
      originCycles: 0,
      boundCycles: 0,
      boundGrowth: 1,
    });
    expect(() => invertSegment(vague, 0n)).toThrow("wants below its slope");
  });

  test("reanchorSegment() moves results by the distance of the anchors, across the wrap", () => {
    const targetAnchor = (1n << 64n) - 10n;
    const parts = { base: 5n, slope: 2, originCycles: 7, targetAnchor, boundCycles: 0 };
    const moved = reanchorSegment(timeSegment(parts), 20n);
    expect(convert(moved, 8, 0)).toBe(7 + 6 - 30);
  });
});

function straight(
  base: bigint,
  slope: number,
  originCycles: number,
  epoch = 0,
  targetAnchor = 0n,
): TimeSegment {
  return timeSegment({ base, slope, originCycles, targetAnchor, boundCycles: 1, epoch });
}

interface Piece {
  readonly gap: bigint;
  readonly slope: number;
  readonly origin: number;
}

function mapOf(anchor: bigint, pieces: readonly Piece[]): TimeMap {
  const map = new TimeMap();
  let at = 0n;
  for (const { gap, slope, origin } of pieces) {
    at += gap;
    map.push(straight(at, slope, origin, 0, anchor), at);
  }
  return map;
}

describe("TimeMap", () => {
  test("at() gives the segment in force, push() replaces what began later", () => {
    const map = new TimeMap();
    expect(map.at(0, 0)).toBeUndefined();
    expect(() => map.convert(1n)).toThrow("map has no segment");
    map.push(straight(1000n, 1, 0), 1000n);
    map.push(straight(2000n, 1, 1100), 2000n);
    map.push(straight(3000n, 1, 2200), 3000n);
    expect([0n, 1999n, 2000n, 2999n, 3000n, 9999n].map((t) => map.convert(t).cycles)).toEqual([
      -1000, 999, 1100, 2099, 2200, 9199,
    ]);
    map.push(straight(1500n, 1, 5000), 1500n);
    expect(map.segments.length).toBe(2);
    expect([1499n, 1500n, 3000n].map((t) => map.convert(t).cycles)).toEqual([499, 5000, 6500]);
  });

  test("segments cover the source without gap: deltaTo of one is deltaFrom of the next", () => {
    fc.assert(
      fc.property(
        fc.array(fc.bigInt({ min: 0n, max: 1000n }), { minLength: 1, maxLength: 20 }),
        (froms) => {
          const map = new TimeMap();
          for (const from of froms) map.push(straight(from + 7n, 1, 0), from);
          const edges = map.segments.map((s) => [
            Number(baseOf(s)) + s.deltaFrom,
            Number(baseOf(s)) + s.deltaTo,
          ]);
          expect(edges[0]![0]).toBe(-Infinity);
          expect(edges[edges.length - 1]![1]).toBe(Infinity);
          for (let i = 1; i < edges.length; i++) expect(edges[i]![0]).toBe(edges[i - 1]![1]!);
          expect(map.convert(froms[froms.length - 1]!).cycles).toBe(-7);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("compose() cuts at the changes of both maps", () => {
    const nsToGuest = new TimeMap();
    nsToGuest.push(straight(0n, 2, 0, 0, 1_000_000n), 0n);
    nsToGuest.push(straight(100n, 2, 300, 1, 1_000_000n), 100n);
    const guestToHost = new TimeMap();
    guestToHost.push(straight(1_000_000n, 1, 10), 0n);
    guestToHost.push(straight(1_000_400n, 1, 5000, 1), 1_000_400n);
    const both = nsToGuest.compose(guestToHost);
    // 99 ns -> guest 198 -> 208; 100 ns -> guest 300 -> 310; 150 ns -> guest 400 -> 5000.
    expect([0n, 99n, 100n, 149n, 150n].map((t) => both.convert(t).cycles)).toEqual([
      10, 208, 310, 408, 5000,
    ]);
    expect(both.segments.map((s) => s.epoch)).toEqual([0, 1, 2]);
    expect(both.boundOver(0n, 200n)).toBeGreaterThan(2);
    expect(both.boundOver(0n, 200n)).toBeLessThan(2.1);
  });

  test("compose() equals converting twice", () => {
    const pieces = fc.array(
      fc.record({
        gap: fc.bigInt({ min: 1n, max: 500n }),
        slope: fc.constantFrom(0.5, 1, 2),
        origin: fc.integer({ min: 0, max: 4000 }),
      }),
      { minLength: 1, maxLength: 5 },
    );
    fc.assert(
      fc.property(pieces, pieces, fc.bigInt({ min: 0n, max: 3000n }), (first, second, time) => {
        const inner = mapOf(0n, first);
        const outer = mapOf(77n, second);
        const middle = inner.convert(time).cycles;
        const next = inner.convert(time + 1n).cycles;
        // Where outer changes within one unit of the source, either side may do.
        const edge = outer.segments.some((s) => {
          const from = Number(baseOf(s)) + s.deltaFrom;
          return from > middle && from < next;
        });
        if (middle < 0 || !Number.isInteger(middle) || edge) return;
        expect(inner.compose(outer).convert(time).cycles).toBe(
          outer.convert(BigInt(middle)).cycles,
        );
      }),
      { numRuns: 1000 },
    );
  });

  test("invert() goes back; a relation that stepped back belongs to its later epoch", () => {
    const map = new TimeMap();
    map.push(straight(0n, 1, 1000), 0n);
    map.push(straight(500n, 1, 700, 1), 500n);
    const back = map.invert(0n);
    // Target 1499 was reached at 499 and, after the step back of 800, again at 1299.
    expect([1000n, 699n, 700n, 1499n].map((t) => back.convert(t).cycles)).toEqual([
      800, -301, 500, 1299,
    ]);
  });

  test("keeps a bounded number of segments, the oldest in force for all before it", () => {
    const map = new TimeMap();
    for (let i = 0n; i < 300n; i++) map.push(straight(i * 10n, 1, Number(i) * 10), i * 10n);
    expect(map.segments.length).toBe(TIME_SEGMENTS_MAX);
    expect(map.convert(0n).cycles).toBe(0);
  });
});
