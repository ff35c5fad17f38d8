/**
 * The bound of a latency within one machine, on simulated clocks whose truth is known: the TSC of
 * each event. Stamps are whole ns of a clock that wanders off its line, or that follows it exactly.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { Pairing } from "../../../agent-host/analyze/pairing.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../../shared/tsc/time_map.ts";
import { ClockProof } from "../../clock_proof.ts";
import { perNight } from "../../nightly.ts";
import { lookupOf } from "./fixtures.ts";
import { common, plainSample } from "./record_bytes.ts";

const TIME_RAW = (1 << 2) | (1 << 10);
const SECOND_CYCLES = 2_700_000_000n;

interface Pair {
  readonly startTsc: bigint;
  readonly endTsc: bigint;
}

/** Decodes and pairs the events of these TSCs, and holds each latency against the truth. */
function prove(
  pairs: readonly Pair[],
  nsAt: (tsc: bigint) => bigint,
  map: TimeMap,
  proof: ClockProof,
): void {
  const pool = new ChunkPool(1);
  const chunk = pool.acquire(0, 0, 0)!;
  const decoder = new RingDecoder(lookupOf(1, 2), sampleLayout(TIME_RAW, false));
  const stamped = (tsc: bigint, type: number): number[] => {
    return plainSample(Number(nsAt(tsc)), common(type, 5));
  };
  const bytes = pairs.flatMap(({ startTsc, endTsc }) => [
    ...stamped(startTsc, 1),
    ...stamped(endTsc, 2),
  ]);
  chunk.bytes.set(bytes);
  chunk.usedBytes = bytes.length;
  decoder.decodeSpan(chunk, 0, bytes.length, map);
  let done = 0;
  const pairing = new Pairing({
    stages: [[0], [1]],
    isCycle: false,
    isPerInstance: false,
    bounds: new ClockBounds(),
    seed: 7,
    thanCycles: Number.NEGATIVE_INFINITY,
    onSlowPair: ({ latencyCycles, boundCycles }) => {
      const { startTsc, endTsc } = pairs[done++]!;
      const truth = Number(endTsc - startTsc);
      proof.count(latencyCycles, boundCycles, truth, truth, 1 / 2.7);
    },
  });
  pairing.run(chunk, 0, chunk.count);
  expect(done).toBe(pairs.length);
}

/** Where pairs lie: after how much of a second, and how long they take in cycles. */
const places = fc.array(
  fc.record({
    after: fc.integer({ min: 1, max: 900_000 }),
    cycles: fc.integer({ min: 0, max: 300_000 }),
  }),
  { minLength: 1, maxLength: 20 },
);

const pairsFrom = (tsc: bigint, list: readonly { after: number; cycles: number }[]): Pair[] => {
  let at = tsc;
  return list.map(({ after, cycles }) => {
    const startTsc = at + BigInt(after * 1000);
    at = startTsc + BigInt(cycles);
    return { startTsc, endTsc: at };
  });
};

describe("Pairing.run() on a clock of one machine", () => {
  test("bounds latencies by the wander of a clock that does not keep to its line", () => {
    const proof = new ClockProof("latencies on a wandering clock");
    const wanderNs = fc.integer({ min: 0, max: 300 });
    fc.assert(
      fc.property(
        fc.array(
          fc.tuple(wanderNs, fc.integer({ min: 0, max: 200 }), fc.integer({ min: 0, max: 200 })),
          {
            minLength: 4,
            maxLength: 40,
          },
        ),
        places,
        fc.array(wanderNs, { minLength: 7, maxLength: 7 }),
        (readings, list, wander) => {
          let tsc = 5_000_000_000n;
          let offNs = 0;
          const raw = (at: bigint): bigint => (at * 6_213_783n) >> 24n;
          const clock = new FittedPerfClock(0n);
          const read = (before: number, after: number): void => {
            const tscBefore = tsc;
            tsc += BigInt(before);
            const ns = raw(tsc) + BigInt(offNs);
            tsc += BigInt(after);
            clock.add({ tscBefore, ns, tscAfter: tsc });
            tsc += SECOND_CYCLES;
          };
          // Both ends of the wander are seen, at the beginning and at the end.
          const all = [[0, 1, 1], [300, 1, 1], ...readings, [0, 1, 1], [300, 1, 1]] as const;
          for (const [off, before, after] of all) {
            offNs = off;
            read(before!, after!);
          }
          expect(clock.epoch).toBe(0);
          tsc -= SECOND_CYCLES;
          // The page is updated every so often: between two events, too.
          const offAt = (at: bigint): bigint => BigInt(wander[Number((at / 20_000n) % 7n)]!);
          prove(pairsFrom(tsc, list), (at) => raw(at) + offAt(at), clock.map, proof);
        },
      ),
      { numRuns: perNight(200, 5_000) },
    );
    proof.report(1000);
  });

  test("bounds latencies on an exact clock by its granule", () => {
    const proof = new ClockProof("latencies on an exact clock");
    fc.assert(
      fc.property(places, fc.integer({ min: 3_355_443, max: 33_554_432 }), (list, mult) => {
        const conversion = perfConversion(1_000_000n, mult, 24);
        const clock = new ExactPerfClock(0n);
        clock.update(conversion, perfNsOfTsc(conversion, 7_000_000_000n));
        const nsAt = (tsc: bigint): bigint => perfNsOfTsc(conversion, tsc);
        prove(pairsFrom(7_000_000_000n, list), nsAt, clock.map, proof);
      }),
      { numRuns: perNight(200, 5_000) },
    );
    proof.report(1000);
  });
});
