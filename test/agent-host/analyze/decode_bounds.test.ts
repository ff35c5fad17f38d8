/**
 * The bound that travels with a record, while the clock that converts it is still being measured:
 * readings with random delays, events at random times, decoded sooner or later. The truth is known.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { BOUND_RUNS_MAX } from "../../../agent-host/analyze/bound_runs.ts";
import { type Chunk, ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import { TimeMap } from "../../../shared/tsc/time_map.ts";
import { timeSegment } from "../../../shared/tsc/time_segment.ts";
import { TrackedMap } from "../../../shared/tsc/tracked_map.ts";
import { ClockProof } from "../../clock_proof.ts";
import { perNight } from "../../nightly.ts";
import { lookupOf } from "./fixtures.ts";
import { common, plainSample, raw, record, u32, u64 } from "./record_bytes.ts";

const TIME_RAW = (1 << 2) | (1 << 10);
const PLAIN = sampleLayout(TIME_RAW, false);
const WITH_TID = sampleLayout(TIME_RAW | (1 << 1), false);
const START_NS = 1n << 40n;

interface Step {
  readonly gapNs: number;
  readonly there: number;
  readonly back: number;
  readonly events: readonly number[];
  readonly isDecoded: boolean;
}

const step: fc.Arbitrary<Step> = fc.record({
  gapNs: fc.integer({ min: 100_000, max: 30_000_000 }),
  there: fc.integer({ min: 100, max: 500_000 }),
  back: fc.integer({ min: 100, max: 500_000 }),
  events: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 }),
  isDecoded: fc.boolean(),
});

function boundOf({ bounds }: Chunk, index: number): number {
  return bounds.cycles[bounds.runOf(index)]!;
}

/** A clock in ns, and its true relation to cycles: cycles = ns * num / 2^24. */
class Clock {
  ns = 0;
  readonly #num: number;
  constructor(num: number) {
    this.#num = num;
  }
  trueCycles(ns: number): number {
    return (ns * this.#num) / 2 ** 24;
  }
}

function plainOf(ns: number): number[] {
  return plainSample(Number(START_NS) + ns, common(1, 5));
}

/** The same event in a ring whose records name the thread, which the general walk decodes. */
function tidOf(ns: number): number[] {
  return record(9, [...u32(5), ...u32(5), ...u64(Number(START_NS) + ns), ...raw(common(1, 5))]);
}

function play(steps: readonly Step[], num: number, isPlain: boolean, proof: ClockProof): number {
  const pool = new ChunkPool(1);
  const chunk = pool.acquire(0, 0, 0)!;
  const decoder = new RingDecoder(lookupOf(1), isPlain ? PLAIN : WITH_TID);
  const clock = new Clock(num);
  const tracked = new TrackedMap({
    slopeMin: 0.2,
    slopeMax: 5,
    generationX: 1e12,
    noiseMax: 1000,
    targetAnchor: 0n,
    horizonX: 2e9,
    granularityX: 0,
  });
  const waiting: number[] = [];
  const stamped: number[] = [];
  let tooLate = 0;
  const decode = (): void => {
    if (tracked.map.newest === undefined || waiting.length === 0) return;
    const bytes = waiting.splice(0).flatMap(isPlain ? plainOf : tidOf);
    chunk.bytes.set(bytes, chunk.usedBytes);
    const from = chunk.usedBytes;
    chunk.usedBytes += bytes.length;
    // As a session has it, with hardly any slack: what is stamped later than now is set back.
    const present = clock.trueCycles(clock.ns);
    decoder.latestCycles = present + tracked.boundFrom(START_NS + BigInt(clock.ns)) + 1000;
    decoder.decodeSpan(chunk, from, chunk.usedBytes, tracked.map);
  };
  for (const { gapNs, there, back, events, isDecoded } of steps) {
    const begin = clock.ns;
    for (const part of events.toSorted((a, b) => a - b)) {
      const ns = begin + Math.floor(part * gapNs);
      waiting.push(ns);
      stamped.push(ns);
    }
    clock.ns = begin + gapNs;
    if (isDecoded) decode();
    const x = START_NS + BigInt(clock.ns);
    const y = clock.trueCycles(clock.ns);
    tracked.add(x, BigInt(Math.floor(y - there)), BigInt(Math.ceil(y + back)));
    tracked.refresh(x);
    if (!isDecoded) decode();
  }
  decode();
  for (let i = 0; i < chunk.count; i++) {
    const truth = clock.trueCycles(stamped[i]!);
    const bound = boundOf(chunk, i);
    proof.count(chunk.timeCycles[i]!, bound, truth, truth, 1);
    const x = START_NS + BigInt(stamped[i]!);
    // What is known at the end: later fits serve later events, and say too little of this one.
    if (Math.abs(chunk.timeCycles[i]! - truth) > tracked.boundFrom(x)) tooLate++;
  }
  pool.release(chunk);
  return tooLate;
}

describe("RingDecoder while its clock is being measured", () => {
  test.each([true, false])(
    "gives each record the bound that it was converted with (plain: %p)",
    (isPlain) => {
      const proof = new ClockProof(`decoder, ${isPlain ? "plain" : "general"} records`);
      let tooLate = 0;
      fc.assert(
        fc.property(
          fc.array(step, { minLength: 3, maxLength: 40 }),
          fc.integer({ min: 5_000_000, max: 60_000_000 }),
          (steps, num) => {
            tooLate += play(steps, num, isPlain, proof);
          },
        ),
        { numRuns: perNight(150, 20_000) },
      );
      proof.report(1000);
      // A bound that is looked up when the pair is made would have been wrong for some of them.
      expect(tooLate).toBeGreaterThan(0);
    },
  );

  test("a record that is raised to its predecessor takes over its bound", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const map = new TimeMap();
    const piece = (originCycles: number, boundCycles: number) =>
      timeSegment({ base: 0n, slope: 1, originCycles, targetAnchor: 0n, boundCycles });
    map.push(piece(100, 120), 0n);
    map.push(piece(0, 10), 1000n);
    const times = [990, 1010, 1050, 1100];
    chunk.bytes.set(times.flatMap((time) => plainSample(time, common(1, 5))));
    chunk.usedBytes = times.length * 32;
    decoder.decodeSpan(chunk, 0, chunk.usedBytes, map);
    expect([...chunk.timeCycles.subarray(0, 4)]).toEqual([1090, 1090, 1090, 1100]);
    const bounds = times.map((_, i) => boundOf(chunk, i));
    expect(bounds.map(Math.round)).toEqual([120, 120, 120, 120]);
    expect(chunk.bounds.segments[chunk.bounds.runOf(0)]?.originCycles).toBe(100);
    expect(chunk.bounds.segments[chunk.bounds.runOf(1)]).toBeUndefined();
  });
});

describe("BoundRuns", () => {
  const lines = Array.from({ length: BOUND_RUNS_MAX + 10 }, (_, i) =>
    timeSegment({ base: 0n, slope: 1, originCycles: i, targetAnchor: 0n, boundCycles: i }),
  );

  test("keeps the greatest bound for the records that find no run of their own", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const { bounds } = chunk;
    for (const [i, line] of lines.entries()) bounds.add(i * 2, 1000 - i, line);
    expect(bounds.count).toBe(BOUND_RUNS_MAX);
    expect([0, 1, 2, 3].map((i) => boundOf(chunk, i))).toEqual([1000, 1000, 999, 999]);
    const last = 2 * (lines.length - 1);
    expect(boundOf(chunk, last)).toBe(1000 - (BOUND_RUNS_MAX - 1));
    expect(bounds.segments[bounds.runOf(last)]).toBeUndefined();
    expect(boundOf(chunk, 0)).toBe(1000);
  });

  test("joins spans of one line whose bounds are alike, and says nothing where nobody did", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const { bounds } = chunk;
    expect([boundOf(chunk, 5), bounds.segments[bounds.runOf(5)]]).toEqual([0, undefined]);
    for (const [i, cycles] of [100, 101, 103, 140].entries()) bounds.add(i, cycles, lines[0]);
    expect(bounds.count).toBe(2);
    expect([0, 2, 3].map((i) => boundOf(chunk, i))).toEqual([103, 103, 140]);
    expect(bounds.segments[bounds.runOf(2)]).toBe(lines[0]);
  });
});
