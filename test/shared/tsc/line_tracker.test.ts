/** Generations, noise, steps and seams on integer lines with delays. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LineTracker } from "../../../shared/tsc/line_tracker.ts";
import { boundAt } from "../../../shared/tsc/time_segment.ts";
import { TrackedMap } from "../../../shared/tsc/tracked_map.ts";

const options = { slopeMin: 0.5, slopeMax: 2, generationX: 1_000_000, noiseMax: 0 };

/** One reading of a line y = slope * x + offset (slope in 1/1000) with delays on both sides. */
function read(
  tracker: { add: LineTracker["add"] },
  x: bigint,
  slopePermille: bigint,
  offset: bigint,
  before: bigint,
  after: bigint,
): string {
  const y = (x * slopePermille) / 1000n + offset;
  return tracker.add(x, y - before, y + after + 1n);
}

describe("LineTracker", () => {
  test("truth stays inside over many generations, anchors anywhere in u64, across the wrap", () => {
    fc.assert(
      fc.property(
        fc.record({
          startX: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
          startY: fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
          slopePermille: fc.bigInt({ min: 501n, max: 1999n }),
          steps: fc.array(
            fc.record({
              dx: fc.bigInt({ min: 1n, max: 300_000n }),
              before: fc.bigInt({ min: 0n, max: 500n }),
              after: fc.bigInt({ min: 0n, max: 500n }),
            }),
            { minLength: 3, maxLength: 60 },
          ),
          ahead: fc.bigInt({ min: 0n, max: 200_000n }),
        }),
        ({ startX, startY, slopePermille, steps, ahead }) => {
          const tracker = new LineTracker(options);
          let x = 0n;
          for (const { dx, before, after } of steps) {
            x += dx;
            const y = startY + (x * slopePermille) / 1000n;
            const stamp = BigInt.asUintN(64, startX + x);
            const lo = BigInt.asUintN(64, y - before);
            expect(tracker.add(stamp, lo, BigInt.asUintN(64, y + after + 1n))).toBe("agreed");
          }
          const from = BigInt.asUintN(64, startX + x);
          const segment = tracker.segment(from, from + 100_000n, startY)!;
          const truth = (Number(x + ahead) * Number(slopePermille)) / 1000;
          const error = Math.abs(segment.originCycles + segment.slope * Number(ahead) - truth);
          expect(error).toBeLessThanOrEqual(boundAt(segment, Number(ahead)) + 1e-6);
          expect(tracker.epoch).toBe(0);
        },
      ),
      { numRuns: 500 },
    );
  });

  test("a step begins a new epoch with nothing of the old line", () => {
    const tracker = new LineTracker(options);
    for (let i = 1n; i <= 10n; i++) read(tracker, i * 1000n, 1000n, 500n, 3n, 3n);
    expect(read(tracker, 11_000n, 1000n, 900n, 3n, 3n)).toBe("step");
    expect([tracker.epoch, tracker.constraintCount]).toEqual([1, 1]);
    for (let i = 12n; i <= 20n; i++) {
      expect(read(tracker, i * 1000n, 1000n, 900n, 3n, 3n)).toBe("agreed");
    }
    const segment = tracker.segment(20_000n, 21_000n, 0n)!;
    expect(Math.abs(segment.originCycles - 20_900)).toBeLessThanOrEqual(segment.boundCycles);
    expect(segment.epoch).toBe(1);
  });

  test("a jump beyond what doubles hold is a step as well", () => {
    const tracker = new LineTracker(options);
    read(tracker, 1000n, 1000n, 0n, 1n, 1n);
    expect(read(tracker, 2000n, 1000n, 1n << 60n, 1n, 1n)).toBe("step");
    expect(read(tracker, 1n << 62n, 1000n, 1n << 60n, 1n, 1n)).toBe("step");
    expect(tracker.epoch).toBe(2);
  });

  test("noise widens all bounds until its generation is forgotten", () => {
    const tracker = new LineTracker({ ...options, slopeMin: 1, slopeMax: 1, noiseMax: 50 });
    for (let i = 0n; i < 10n; i++) read(tracker, i * 1000n, 1000n, 0n, 2n, 2n);
    expect(read(tracker, 10_000n, 1000n, 20n, 2n, 2n)).toBe("widened");
    expect(tracker.noise).toBeGreaterThan(10);
    expect(tracker.segment(10_000n, 11_000n, 0n)!.boundCycles).toBeGreaterThan(10);
    // From here on the line stays where the noise put it: two generations later all is forgotten.
    for (let i = 11n; i < 3100n; i++) read(tracker, i * 1000n, 1000n, 20n, 2n, 2n);
    expect(tracker.epoch).toBe(0);
    expect(tracker.noise).toBe(0);
    expect(tracker.segment(3_100_000n, 3_101_000n, 0n)!.boundCycles).toBeLessThan(4);
  });

  test("knowledge of one side is enough once both sides have some", () => {
    const tracker = new LineTracker({ ...options, slopeMin: 1, slopeMax: 1 });
    tracker.add(100n, 90n, undefined);
    expect(tracker.segment(100n, 200n, 0n)).toBeUndefined();
    tracker.add(150n, undefined, 160n);
    expect(tracker.segment(200n, 300n, 0n)!.originCycles).toBeCloseTo(200, 6);
    expect(tracker.segment(200n, 300n, 0n)!.boundCycles).toBeCloseTo(10, 6);
    expect(() => tracker.add(1n, undefined, undefined)).toThrow("both sides are open");
  });
});

describe("TrackedMap", () => {
  const mapOptions = {
    ...options,
    generationX: 1_000_000_000,
    targetAnchor: 0n,
    horizonX: 2000,
    granularityX: 0,
  };

  test("settles on one segment, without a seam per reading", () => {
    const tracked = new TrackedMap(mapOptions);
    let pushes = 0;
    for (let i = 1n; i <= 1000n; i++) {
      read(tracked, i * 1000n, 1234n, 77n, (i * 7n) % 13n, (i * 11n) % 17n);
      if (tracked.refresh(i * 1000n)) pushes++;
    }
    expect(pushes).toBeLessThan(60);
    const { cycles, boundCycles } = tracked.map.convert(1_000_500n);
    expect(Math.abs(cycles - (1_000_500 * 1.234 + 77))).toBeLessThanOrEqual(boundCycles);
    expect(boundCycles).toBeLessThan(8);
  });

  test("a step leaves a seam whose bound covers both lines", () => {
    const tracked = new TrackedMap({ ...mapOptions, slopeMin: 1, slopeMax: 1 });
    for (let i = 1n; i <= 5n; i++) {
      read(tracked, i * 1000n, 1000n, 0n, 2n, 2n);
      tracked.refresh(i * 1000n);
    }
    for (let i = 6n; i <= 9n; i++) {
      read(tracked, i * 1000n, 1000n, 5000n, 2n, 2n);
      tracked.refresh(i * 1000n);
    }
    const before = tracked.map.convert(4_500n);
    expect(Math.abs(before.cycles - 4_500)).toBeLessThanOrEqual(before.boundCycles);
    expect(before.boundCycles).toBeLessThan(10);
    const seam = tracked.map.convert(5_500n);
    expect(Math.abs(seam.cycles - 5_500)).toBeLessThanOrEqual(seam.boundCycles);
    expect(Math.abs(seam.cycles - 10_500)).toBeLessThanOrEqual(seam.boundCycles);
    // Two times of it may be of different lines, though one segment converts both.
    expect(tracked.map.at(5_500, 0)!.wanderCycles).toBe(Infinity);
    const after = tracked.map.convert(6_500n);
    expect(Math.abs(after.cycles - 11_500)).toBeLessThanOrEqual(after.boundCycles);
    expect(after.boundCycles).toBeLessThan(10);
  });

  test("restart() makes the next reading the first of another line", () => {
    const tracked = new TrackedMap({ ...mapOptions, slopeMin: 1, slopeMax: 1 });
    read(tracked, 1000n, 1000n, 0n, 2n, 2n);
    tracked.refresh(1000n);
    tracked.restart();
    expect(read(tracked, 2000n, 1000n, 1n, 2n, 2n)).toBe("agreed");
    expect(tracked.refresh(2000n)).toBe(true);
    expect(tracked.map.newest!.epoch).toBe(1);
    expect(tracked.boundFrom(2000n)).toBeLessThan(4);
  });

  test("a granule of the source clock is split in the middle and bounded", () => {
    const tracked = new TrackedMap({
      ...mapOptions,
      slopeMin: 2,
      slopeMax: 4,
      granularityX: 1,
    });
    // The source shows floor(y / 3): y from 3x to 3x + 2 shows x.
    for (let i = 1; i <= 200; i++) {
      const y = BigInt(i * 3001);
      tracked.add(y / 3n, y, y);
      tracked.refresh(y / 3n);
    }
    for (let y = 600_000; y < 600_030; y++) {
      const { cycles, boundCycles } = tracked.map.convert(BigInt(Math.floor(y / 3)));
      expect(Math.abs(cycles - y)).toBeLessThanOrEqual(boundCycles);
      expect(boundCycles).toBeLessThan(4);
    }
  });
});
