/** Probe records by hand, to sandwiches, to round trips, to a bound. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  CALL_RECORDS_MAX,
  type CallLayout,
  type CallRecord,
  pairCalls,
  readCalls,
  SANDWICHES_KEPT_MAX,
  sandwichTrip,
} from "../../../agent-host/align/emulator_sandwich.ts";
import { TimeMap } from "../../../shared/tsc/time_map.ts";
import { timeSegment } from "../../../shared/tsc/time_segment.ts";

/** sample_type TIME | RAW; probes 1500 and 1501. */
const LAYOUT: CallLayout = {
  timeOffset: 8,
  rawSizeOffset: 16,
  entryType: 1500,
  returnType: 1501,
  valueOffset: 24,
};

function entry(thread: number, ns: bigint): CallRecord {
  return { thread, ns, value: undefined };
}

function back(thread: number, ns: bigint, value: bigint): CallRecord {
  return { thread, ns, value };
}

/** One PERF_RECORD_SAMPLE: header, time, raw size, {common_type, flags, pid, ip...}. */
function sample(type: number, thread: number, ns: bigint, words: readonly bigint[]): Uint8Array {
  const rawBytes = 8 + words.length * 8 + 4;
  const bytes = new Uint8Array(8 + 8 + 4 + rawBytes);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 9, true);
  view.setUint16(6, bytes.length, true);
  view.setBigUint64(8, ns, true);
  view.setUint32(16, rawBytes, true);
  view.setUint16(20, type, true);
  view.setInt32(24, thread, true);
  words.forEach((word, i) => {
    view.setBigUint64(28 + i * 8, word, true);
  });
  return bytes;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const all = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of parts) {
    all.set(part, at);
    at += part.length;
  }
  return all;
}

describe("readCalls()", () => {
  test("takes both probes' records and skips all others", () => {
    const lost = new Uint8Array(24);
    new DataView(lost.buffer).setUint32(0, 2, true);
    new DataView(lost.buffer).setUint16(6, 24, true);
    const bytes = concat(
      sample(1500, 71, 1_000n, [0x660690n]),
      lost,
      sample(1400, 71, 1_500n, [1n, 2n]),
      sample(1501, 71, 3_000n, [0x660690n, 0x7f00n, 0xfffff2455493ce3en]),
    );
    const records: CallRecord[] = [];
    readCalls(bytes, LAYOUT, records);
    expect(records).toEqual([entry(71, 1_000n), back(71, 3_000n, 0xfffff2455493ce3en)]);
  });

  test("a record cut short is no call; a size that cannot be is refused", () => {
    const records: CallRecord[] = [];
    readCalls(sample(1501, 71, 3_000n, [1n, 2n]), LAYOUT, records);
    expect(records).toEqual([]);
    const broken = sample(1500, 71, 1_000n, [1n]);
    new DataView(broken.buffer).setUint16(6, 4, true);
    expect(() => readCalls(broken, LAYOUT, records)).toThrow("record of 4 bytes");
  });

  test("any bytes give calls or a RangeError", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        const records: CallRecord[] = [];
        try {
          readCalls(bytes, LAYOUT, records);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
        expect(records.length).toBeLessThanOrEqual(CALL_RECORDS_MAX);
      }),
      { numRuns: 300 },
    );
  });
});

describe("pairCalls()", () => {
  test("pairs by thread, whatever the order of the rings", () => {
    const records = [
      back(71, 5_000n, 500n),
      entry(72, 2_500n),
      entry(71, 1_000n),
      back(72, 4_000n, 400n),
    ];
    expect(pairCalls(records)).toEqual([
      { beforeNs: 2_500n, value: 400n, afterNs: 4_000n },
      { beforeNs: 1_000n, value: 500n, afterNs: 5_000n },
    ]);
  });

  test("lost records: an earlier entry serves, a return alone does not, none serves twice", () => {
    const records = [
      back(7, 500n, 1n),
      entry(7, 1_000n),
      // The return of the first and the entry of the second call are lost.
      back(7, 4_000n, 2n),
      back(7, 6_000n, 3n),
    ];
    expect(pairCalls(records)).toEqual([{ beforeNs: 1_000n, value: 2n, afterNs: 4_000n }]);
  });

  test("a call and the next entry in one nanosecond", () => {
    const records = [entry(7, 1_000n), entry(7, 3_000n), back(7, 3_000n, 2n)];
    expect(pairCalls(records)).toEqual([{ beforeNs: 1_000n, value: 2n, afterNs: 3_000n }]);
  });

  test("keeps the narrowest, and none that took over a millisecond", () => {
    const records: CallRecord[] = [entry(8, 0n), back(8, 1_000_001n, 1n)];
    for (let i = 0n; i < 100n; i++) {
      records.push(entry(7, i * 10_000n), back(7, i * 10_000n + 5_000n - i, i));
    }
    const kept = pairCalls(records);
    expect(kept.length).toBe(SANDWICHES_KEPT_MAX);
    expect(kept.map(({ value }) => Number(value))).toEqual(
      Array.from({ length: SANDWICHES_KEPT_MAX }, (_, i) => 100 - SANDWICHES_KEPT_MAX + i),
    );
  });

  test("every sandwich holds the time of its reading, whatever was lost", () => {
    // Calls of three threads at true times, of which some records are missing.
    const call = fc.record({
      thread: fc.integer({ min: 1, max: 3 }),
      gap: fc.integer({ min: 0, max: 3_000 }),
      inside: fc.integer({ min: 1, max: 3_000 }),
      after: fc.integer({ min: 1, max: 3_000 }),
      hasEntry: fc.boolean(),
      hasReturn: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(call, { maxLength: 40 }), (calls) => {
        const now = new Map<number, bigint>();
        const records: CallRecord[] = [];
        for (const { thread, gap, inside, after, hasEntry, hasReturn } of calls) {
          const start = (now.get(thread) ?? 0n) + BigInt(gap);
          const value = start + BigInt(inside);
          const end = value + BigInt(after);
          now.set(thread, end);
          if (hasReturn) records.push(back(thread, end, value));
          if (hasEntry) records.push(entry(thread, start));
        }
        for (const { beforeNs, value, afterNs } of pairCalls(records)) {
          expect(beforeNs < value && value < afterNs).toBe(true);
        }
      }),
      { numRuns: 300 },
    );
  });
});

test("sandwichTrip() moves the stamps apart by the bound of the host's clock", () => {
  const map = new TimeMap();
  const parts = { base: 1_000n, slope: 3, originCycles: 500, targetAnchor: 1n << 50n };
  map.push(timeSegment({ ...parts, boundCycles: 40.5, boundTo: 1e6 }), 1_000n);
  const trip = sandwichTrip({ beforeNs: 2_000n, value: 77n, afterNs: 4_000n }, map);
  expect(trip.hostSent - (1n << 50n)).toBe(3_459n as typeof trip.hostSent);
  expect(trip.hostReceived - (1n << 50n)).toBe(9_541n as typeof trip.hostReceived);
  expect([trip.guestReceived, trip.guestSent].map(Number)).toEqual([77, 77]);
});
