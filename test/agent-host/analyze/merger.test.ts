// Merger: order, watermark, late events and limits, and sorting as its oracle.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import type { Chunk, ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { Merger, RINGS_MAX, SOURCES_MAX } from "../../../agent-host/analyze/merger.ts";
import { fullPool } from "./pools.ts";

/** A merger that notes ring:time of what it releases. */
class Fixture {
  readonly pool: ChunkPool;
  readonly released: string[] = [];
  readonly runs: number[] = [];
  readonly merger: Merger;

  constructor(chunks = 64, queuedChunksMax = 63) {
    this.pool = fullPool(chunks);
    this.merger = new Merger({
      onRun: (chunk, from, to) => {
        this.runs.push(to - from);
        for (let i = from; i < to; i++) {
          this.released.push(`${chunk.ring}:${chunk.timeCycles[i]}`);
        }
      },
      releaseChunk: (chunk) => this.pool.release(chunk),
      queuedChunksMax,
    });
  }

  chunk(ring: number, ...times: readonly number[]): Chunk {
    const chunk = this.pool.acquire(0, ring, ring)!;
    chunk.timeCycles.set(times);
    chunk.count = times.length;
    return chunk;
  }

  push(ring: number, ...times: readonly number[]): void {
    this.merger.push(this.chunk(ring, ...times));
  }
}

describe("Merger.release()", () => {
  test("hands on runs in time order, only what lies before the watermark", () => {
    const fixture = new Fixture();
    const source = fixture.merger.addSource();
    for (let ring = 0; ring < 3; ring++) fixture.merger.addRing(source);
    fixture.push(0, 10, 11, 12, 40);
    fixture.push(1, 20, 21);
    fixture.push(2, 30);
    expect(fixture.merger.release()).toBe(0);
    fixture.merger.setProgress(source, 35);
    expect(fixture.merger.release()).toBe(6);
    expect(fixture.released).toEqual(["0:10", "0:11", "0:12", "1:20", "1:21", "2:30"]);
    expect(fixture.runs).toEqual([3, 2, 1]);
    expect(fixture.pool.available).toBe(63);
    expect(fixture.merger.flush()).toBe(1);
    expect(fixture.pool.available).toBe(64);
  });

  test("does not release an event stamped exactly at the watermark", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    f.merger.addRing(source);
    f.push(0, 10, 20);
    f.merger.setProgress(source, 20);
    expect(f.merger.release()).toBe(1);
    f.merger.setProgress(source, 20.5);
    expect(f.merger.release()).toBe(1);
  });

  test("waits for the slowest open source only", () => {
    const f = new Fixture();
    const fast = f.merger.addSource();
    const slow = f.merger.addSource();
    f.merger.addRing(fast);
    f.merger.addRing(slow);
    f.push(0, 10, 20, 30);
    f.merger.setProgress(fast, 100);
    expect(f.merger.release()).toBe(0);
    f.merger.setProgress(slow, 15);
    f.merger.setProgress(slow, 5);
    expect(f.merger.release()).toBe(1);
    f.merger.closeSource(slow);
    expect(f.merger.release()).toBe(2);
    f.merger.reopenSource(slow);
    expect(f.merger.watermarkCycles()).toBe(15);
  });

  test("orders equal times by ring", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    for (let ring = 0; ring < 3; ring++) f.merger.addRing(source);
    f.push(2, 5, 5);
    f.push(1, 5, 6);
    f.push(0, 4, 5, 5, 6);
    f.merger.flush();
    expect(f.released.join(" ")).toBe("0:4 0:5 0:5 1:5 2:5 2:5 0:6 1:6");
  });

  test("goes on through the chunks of one ring", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    f.merger.addRing(source);
    f.merger.addRing(source);
    f.push(0, 1, 3);
    f.push(0, 4, 9);
    f.push(1, 2, 5);
    f.merger.flush();
    expect(f.released.join(" ")).toBe("0:1 1:2 0:3 0:4 1:5 0:9");
    expect(f.merger.queuedChunks()).toBe(0);
  });

  test("releases late events next, in order, and counts them", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    f.merger.addRing(source);
    f.merger.addRing(source);
    f.push(0, 10, 20);
    f.merger.setProgress(source, 25);
    f.merger.release();
    f.push(1, 5, 15, 22);
    f.push(0, 21);
    f.merger.release();
    expect(f.released.join(" ")).toBe("0:10 0:20 1:5 1:15 0:21 1:22");
    expect(f.merger.counters.late).toBe(2);
  });

  test("counts an event that goes backwards within its ring, and loses none", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    f.merger.addRing(source);
    f.merger.addRing(source);
    f.push(0, 10, 30, 5, 31);
    f.push(1, 20, 25);
    f.merger.flush();
    expect(f.released.join(" ")).toBe("0:10 1:20 1:25 0:30 0:5 0:31");
    expect(f.merger.counters.released).toBe(6);
  });
});

describe("Merger.push()", () => {
  test("forces the oldest events out when too many chunks wait", () => {
    const f = new Fixture(8, 2);
    const source = f.merger.addSource();
    f.merger.addRing(source);
    f.merger.addRing(source);
    f.push(0, 10, 20);
    f.push(1, 15, 30);
    f.push(0, 40);
    expect(f.released.join(" ")).toBe("0:10 1:15 0:20");
    expect(f.merger.counters.released).toBe(3);
    expect(f.merger.queuedChunks(source)).toBe(2);
  });

  test("gives an empty chunk back at once", () => {
    const f = new Fixture();
    f.merger.addRing(f.merger.addSource());
    f.push(0);
    expect(f.pool.available).toBe(64);
  });

  test("throws on an unknown ring or source", () => {
    const f = new Fixture();
    expect(() => f.push(3, 1)).toThrow(RangeError);
    expect(() => f.merger.setProgress(0, 1)).toThrow(RangeError);
    expect(() => f.merger.addRing(9)).toThrow(RangeError);
  });

  test("takes rings that are added while others wait, 3000 of them", () => {
    const f = new Fixture();
    const source = f.merger.addSource();
    for (let ring = 0; ring < 3000; ring++) {
      f.merger.addRing(source);
      if (ring % 100 === 99) f.push(ring, 5000 - ring);
    }
    f.merger.flush();
    const rings = Array.from({ length: 30 }, (_, i) => 2999 - 100 * i);
    expect(f.released).toEqual(rings.map((ring) => `${ring}:${5000 - ring}`));
  });

  test("addRing() and addSource() have limits", () => {
    const { merger } = new Fixture();
    for (let i = 0; i < SOURCES_MAX; i++) merger.addSource();
    expect(() => merger.addSource()).toThrow(RangeError);
    for (let i = 0; i < RINGS_MAX; i++) merger.addRing(0);
    expect(() => merger.addRing(0)).toThrow(RangeError);
  });
});

test("release() in any steps yields what sorting by (time, ring) yields", () => {
  const ringTimes = fc.array(fc.array(fc.nat(200), { maxLength: 30 }), {
    minLength: 1,
    maxLength: 9,
  });
  fc.assert(
    fc.property(
      ringTimes,
      fc.array(fc.nat(200), { maxLength: 5 }),
      fc.nat(7),
      (rings, stops, cut) => {
        const f = new Fixture(128, 127);
        const source = f.merger.addSource();
        const expected: { ring: number; time: number }[] = [];
        for (const [ring, times] of rings.entries()) {
          f.merger.addRing(source);
          times.sort((a, b) => a - b);
          for (const time of times) expected.push({ ring, time });
          for (let at = 0; at < times.length; at += cut + 1) {
            f.push(ring, ...times.slice(at, at + cut + 1));
          }
        }
        expected.sort((a, b) => a.time - b.time || a.ring - b.ring);
        for (const stop of stops) {
          f.merger.setProgress(source, stop);
          f.merger.release();
          const watermark = f.merger.watermarkCycles();
          expect(f.released.length).toBe(expected.filter(({ time }) => time < watermark).length);
        }
        f.merger.flush();
        expect(f.released).toEqual(expected.map(({ ring, time }) => `${ring}:${time}`));
        expect(f.merger.counters.late).toBe(0);
        expect(f.pool.available).toBe(128);
      },
    ),
    { numRuns: 500 },
  );
});

test("release() of disordered rings loses and repeats nothing", () => {
  const ringTimes = fc.array(fc.array(fc.nat(50), { maxLength: 20 }), {
    minLength: 1,
    maxLength: 5,
  });
  fc.assert(
    fc.property(ringTimes, fc.nat(3), (rings, queuedChunksMax) => {
      const f = new Fixture(16, queuedChunksMax + 1);
      const source = f.merger.addSource();
      const expected: string[] = [];
      for (const [ring, times] of rings.entries()) {
        f.merger.addRing(source);
        f.push(ring, ...times);
        expected.push(...times.map((time) => `${ring}:${time}`));
      }
      f.merger.flush();
      expect(f.released.toSorted()).toEqual(expected.toSorted());
      for (const [ring, times] of rings.entries()) {
        const mine = f.released.filter((entry) => entry.startsWith(`${ring}:`));
        expect(mine).toEqual(times.map((time) => `${ring}:${time}`));
      }
      expect(f.pool.available).toBe(16);
    }),
    { numRuns: 500 },
  );
});
