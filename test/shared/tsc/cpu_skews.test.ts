/** TSCs of a machine's CPUs against a reference: in step, apart, stepping, hostile. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CpuSkews, SKEW_CPUS_MAX } from "../../../shared/tsc/cpu_skews.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";

/** Cycles per ns of the simulated machine. */
const RATE = 3;
const ORIGIN = 1n << 55n;
const HALF = 60n;

/** The true TSC of a CPU that is `skew` ahead, when the clock shows `ns`. */
const tscAt = (ns: bigint, skew = 0n): bigint => ORIGIN + ns * BigInt(RATE) + skew;

function bracketAt(ns: bigint, skew = 0n) {
  const tsc = tscAt(ns, skew);
  return { tscBefore: tsc - HALF, ns, tscAfter: tsc + HALF };
}

/** The reference's line, from ten readings. */
function reference(): FittedPerfClock {
  const fit = new FittedPerfClock(ORIGIN);
  for (let i = 0; i < 10; i++) fit.add(bracketAt(BigInt(i) * 1_000_000_000n));
  return fit;
}

const NOW = 9_100_000_000n;

describe("CpuSkews", () => {
  test("a CPU in step keeps the reference's line, and no bound grows", () => {
    const { map } = reference();
    const skews = new CpuSkews();
    skews.add(3, bracketAt(NOW), map);
    expect(skews.list()).toMatchObject([{ cpu: 3, isApart: false, epoch: 0 }]);
    expect(skews.mapFor(3, map)).toBe(map);
    expect(skews.mapFor(4, map)).toBe(map);
    expect(skews.spreadCycles).toBe(0);
    expect(skews.resolutionCycles).toBeGreaterThan(0);
    expect(skews.resolutionCycles).toBeLessThan(4 * Number(HALF));
  });

  test("a reading waits until the line is known", () => {
    const skews = new CpuSkews();
    skews.add(1, bracketAt(NOW, 5000n), undefined);
    expect(skews.list()).toEqual([]);
    skews.renew(reference().map);
    expect(skews.apart).toMatchObject([{ cpu: 1, isApart: true }]);
  });

  test("the moved line of a CPU that is apart holds its TSC, whatever the distance", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: -(1n << 50n), max: 1n << 50n }),
        fc.integer({ min: 0, max: 8_000_000_000 }),
        fc.bigInt({ min: 0n, max: HALF }),
        (skew, later, early) => {
          const { map } = reference();
          const skews = new CpuSkews();
          const { tscBefore, ns, tscAfter } = bracketAt(NOW, skew);
          // The true reading lies anywhere in the bracket.
          const moved = { tscBefore: tscBefore + early, ns, tscAfter: tscAfter + early };
          skews.add(1, moved, map);
          const at = BigInt(later);
          const { cycles, targetAnchor, boundCycles } = skews.mapFor(1, map).convert(at);
          const error = Number(tscAt(at, skew) - targetAnchor) - cycles;
          const unseen = skews.list()[0]!.isApart ? 0 : skews.resolutionCycles;
          expect(Math.abs(error)).toBeLessThanOrEqual(boundCycles + unseen);
        },
      ),
    );
  });

  test("spreadCycles is the distance of the outermost, the reference included", () => {
    const { map } = reference();
    const skews = new CpuSkews();
    skews.add(1, bracketAt(NOW, 9000n), map);
    expect(skews.spreadCycles).toBeGreaterThanOrEqual(9000);
    expect(skews.spreadCycles).toBeLessThan(9000 + 8 * Number(HALF));
    skews.add(2, bracketAt(NOW, -4000n), map);
    expect(skews.spreadCycles).toBeGreaterThanOrEqual(13_000);
    skews.reset();
    expect(skews.spreadCycles).toBe(0);
  });

  test("mapFor() widens every CPU's line where one relation serves them all", () => {
    const { map } = reference();
    const skews = new CpuSkews();
    skews.add(1, bracketAt(NOW, 9000n), map);
    const { spreadCycles } = skews;
    for (const cpu of [0, 1]) {
      const plain = skews.mapFor(cpu, map).convert(NOW);
      const wide = skews.mapFor(cpu, map, spreadCycles).convert(NOW);
      expect(wide.cycles).toBe(plain.cycles);
      expect(wide.boundCycles).toBeCloseTo(plain.boundCycles + spreadCycles, 6);
    }
  });

  test("a TSC that leaves its interval begins an epoch of that CPU's line", () => {
    const { map } = reference();
    const skews = new CpuSkews();
    skews.add(1, bracketAt(NOW, 9000n), map);
    const first = skews.mapFor(1, map).newest!.epoch;
    skews.add(1, bracketAt(NOW + 1000n, 9010n), map);
    expect(skews.mapFor(1, map).newest!.epoch).toBe(first);
    skews.add(1, bracketAt(NOW + 2000n, 50_000n), map);
    expect(skews.mapFor(1, map).newest!.epoch).toBe(first + 1);
    skews.add(1, bracketAt(NOW + 3000n), map);
    expect(skews.list()).toMatchObject([{ isApart: false, epoch: 2 }]);
  });

  test("the moved map stays the same object while nothing changes", () => {
    const fit = reference();
    const skews = new CpuSkews();
    skews.add(1, bracketAt(NOW, 9000n), fit.map);
    const moved = skews.mapFor(1, fit.map);
    skews.renew(fit.map);
    expect(skews.mapFor(1, fit.map)).toBe(moved);
  });

  test("no more than SKEW_CPUS_MAX are kept", () => {
    const { map } = reference();
    const skews = new CpuSkews();
    for (let cpu = 0; cpu < SKEW_CPUS_MAX + 5; cpu++) skews.add(cpu, bracketAt(NOW), map);
    expect(skews.list().length).toBe(SKEW_CPUS_MAX);
    expect(skews.refusedCount).toBe(5);
  });
});
