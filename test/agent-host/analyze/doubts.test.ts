// Doubts: what a step of a guest's clocks makes of times that were converted before it was known.
import { describe, expect, test } from "bun:test";
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import { DOUBTS_MAX, type Doubt, Doubts } from "../../../agent-host/analyze/doubts.ts";
import { Pairing } from "../../../agent-host/analyze/pairing.ts";
import { timeSegment } from "../../../shared/tsc/time_segment.ts";
import { chunkOf, type EventRow } from "./event_rows.ts";
import { fullPool } from "./pools.ts";

const SEGMENT = timeSegment({
  base: 0n,
  slope: 1,
  originCycles: 0,
  targetAnchor: 0n,
  boundCycles: 5,
  wanderCycles: 0,
});
const GUEST = 1;
const DOUBT: Doubt = {
  machine: GUEST,
  fromCycles: 200,
  toCycles: 300,
  extraCycles: 1000,
  isWithin: false,
};
const TIMES = [100, 210, 290, 400].map((time) => ({ time, event: 1 }));

/** Bounds of a guest's records at TIMES, one run each, after `doubts` and after once more. */
function boundsAfter(doubts: Doubts, machine = GUEST): number[] {
  const chunk = chunkOf(fullPool(1), { machine }, TIMES);
  TIMES.forEach((_, i) => {
    chunk.bounds.add(i, 5 * 2 ** i, undefined);
  });
  for (let i = 0; i < TIMES.length; i++) doubts.apply(chunk, i, i + 1);
  doubts.apply(chunk, 1, 2);
  return TIMES.map((_, i) => chunk.bounds.cycles[chunk.bounds.runOf(i)]!);
}

describe("Doubts.apply()", () => {
  test("widens what lies in doubt, once, and nothing else", () => {
    const doubts = new Doubts();
    expect(boundsAfter(doubts)).toEqual([5, 10, 20, 40]);
    doubts.add(DOUBT);
    expect(boundsAfter(doubts)).toEqual([5, 1010, 1020, 40]);
    expect(boundsAfter(doubts, 2)).toEqual([5, 10, 20, 40]);
  });

  test("the greater of two doubts of one time holds, over all of their time", () => {
    const doubts = new Doubts();
    doubts.add(DOUBT);
    doubts.add({ ...DOUBT, fromCycles: 300, toCycles: 500, extraCycles: 4000 });
    expect(boundsAfter(doubts)).toEqual([5, 4010, 4020, 4040]);
  });

  test("a second step before the first one's time is over widens what came between the two", () => {
    const doubts = new Doubts();
    doubts.add(DOUBT);
    doubts.add({ ...DOUBT, fromCycles: 250, toCycles: 420, extraCycles: 900 });
    expect(boundsAfter(doubts)).toEqual([5, 1010, 1020, 1040]);
  });

  test("two pieces of one run are widened once; its line is kept unless its own clock stepped", () => {
    const chunk = chunkOf(fullPool(1), { machine: GUEST, boundCycles: 5, segment: SEGMENT }, TIMES);
    const doubts = new Doubts();
    doubts.add(DOUBT);
    doubts.apply(chunk, 0, 2);
    doubts.apply(chunk, 2, 4);
    expect(chunk.bounds.cycles[0]).toBe(1005);
    expect(chunk.bounds.segments[0]).toBe(SEGMENT);
    doubts.add({ ...DOUBT, isWithin: true });
    doubts.apply(chunk, 2, 4);
    expect(chunk.bounds.segments[0]).toBeUndefined();
  });

  test("however many there are, none is forgotten while the machine has one", () => {
    const doubts = new Doubts();
    for (let i = 0; i < 2 * DOUBTS_MAX; i++) {
      doubts.add({ ...DOUBT, fromCycles: 1000 * i + 200, toCycles: 1000 * i + 300 });
    }
    expect(boundsAfter(doubts)).toEqual([5, 1010, 1020, 40]);
    const late = chunkOf(fullPool(1), { machine: GUEST, boundCycles: 5 }, [
      { time: 1000 * (2 * DOUBTS_MAX - 1) + 250, event: 1 },
    ]);
    doubts.apply(late, 0, 1);
    expect(late.bounds.cycles[0]).toBe(1005);
  });
});

/** A pairing of the host's event 0 with event 1 of the guest and 2 of the guest. */
class Fixture {
  readonly pool = fullPool(1);
  readonly pairing = new Pairing({
    stages: [[0], [1], [2]],
    isCycle: false,
    isPerInstance: false,
    bounds: new ClockBounds(),
    seed: 7,
    thanCycles: Number.POSITIVE_INFINITY,
  });

  run(machine: number, ...rows: EventRow[]): void {
    const ring = { machine, boundCycles: machine === GUEST ? 5 : 0, segment: SEGMENT };
    const chunk = chunkOf(this.pool, ring, rows);
    this.pairing.run(chunk, 0, chunk.count);
    this.pool.release(chunk);
  }

  bound(start: number): number {
    return this.pairing.rows.list().find((row) => row.start === start)!.boundCyclesMax;
  }
}

describe("Pairing.doubt()", () => {
  test("pairs that were counted are bounded by it, if one ended since", () => {
    const f = new Fixture();
    f.run(0, { time: 180, event: 0 });
    f.run(GUEST, { time: 190, event: 1 });
    f.pairing.doubt(DOUBT);
    expect(f.bound(0)).toBe(5);
    f.run(0, { time: 205, event: 0 });
    f.run(GUEST, { time: 215, event: 1 });
    f.pairing.doubt({ ...DOUBT, machine: 2 });
    expect(f.bound(0)).toBe(5);
    f.pairing.doubt(DOUBT);
    expect(f.bound(0)).toBe(1005);
  });

  test("an event that waits is as doubtful as one that was counted", () => {
    const f = new Fixture();
    f.run(GUEST, { time: 150, event: 1, key: 1 }, { time: 250, event: 1, key: 2 });
    f.pairing.doubt({ ...DOUBT, isWithin: true });
    f.run(GUEST, { time: 260, event: 2, key: 1 });
    expect(f.bound(1)).toBeLessThan(1);
    f.run(GUEST, { time: 270, event: 2, key: 2 });
    expect(f.bound(1)).toBe(1010);
  });

  test("latencies within a machine whose own clock has not stepped stand", () => {
    const f = new Fixture();
    f.run(GUEST, { time: 250, event: 1 }, { time: 260, event: 2 });
    f.pairing.doubt(DOUBT);
    expect(f.bound(1)).toBeLessThan(1);
    f.pairing.doubt({ ...DOUBT, isWithin: true });
    expect(f.bound(1)).toBeGreaterThanOrEqual(1000);
  });
});
