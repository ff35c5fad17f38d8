// RingDecoder on mutated bytes: never outside the span, every sample accounted for.
import { expect, test } from "bun:test";
import fc from "fast-check";
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import type { TaskListener } from "../../../agent-host/analyze/side_records.ts";
import { lookupOf, SAME_TIME } from "./fixtures.ts";
import { common, plainSample, record } from "./record_bytes.ts";

const TID = 1 << 1;
const TIME = 1 << 2;
const CALLCHAIN = 1 << 5;
const RAW = 1 << 10;
const IDENTIFIER = 1 << 16;

const recordArbitrary = fc.oneof(
  {
    weight: 4,
    arbitrary: fc
      .tuple(fc.nat(1000), fc.nat(3), fc.nat(9))
      .map(([time, type, words]) =>
        plainSample(time, [...common(type, 1), ...new Array(words * 4).fill(7)]),
      ),
  },
  fc
    .tuple(fc.nat(20), fc.uint8Array({ maxLength: 64 }))
    .map(([type, body]) => record(type, [...body])),
  fc
    .tuple(fc.nat(20), fc.nat(0xffff), fc.uint8Array({ maxLength: 64 }))
    .map(([type, size, body]) => {
      const bytes = record(type, [...body]);
      bytes[6] = size & 0xff;
      bytes[7] = size >> 8;
      return bytes;
    }),
  fc
    .uint8Array({ minLength: 8, maxLength: 64 })
    .map((bytes) => [...bytes.slice(0, bytes.length & ~7)]),
);

test("decodeSpan() of any bytes stays within the span and accounts for every sample", () => {
  const pool = new ChunkPool(1);
  const layouts = [
    sampleLayout(TIME | RAW, false),
    sampleLayout(TIME | RAW, true),
    sampleLayout(IDENTIFIER | TID | TIME | CALLCHAIN | RAW, true),
    sampleLayout(TIME | CALLCHAIN | RAW, false),
  ];
  const lookup = lookupOf(0, 1, 2);
  lookup.addIdentifier(0x07070707, 0x070707, 1);
  const listener: TaskListener = {
    comm: (_machine, _pid, _tid, _memory, from, to) => expect(to - from).toBeLessThanOrEqual(16),
    fork: () => {},
    exit: () => {},
  };
  fc.assert(
    fc.property(
      fc.array(recordArbitrary, { maxLength: 12 }),
      fc.constantFrom(...layouts),
      fc.nat(64),
      (records, layout, cut) => {
        const bytes = records.flat();
        bytes.length = Math.max(0, bytes.length - cut) & ~7;
        const chunk = pool.acquire(0, 0, 0)!;
        // What lies behind the span must not be taken for records.
        chunk.bytes.fill(0x09);
        chunk.bytes.set(bytes, 64);
        const decoder = new RingDecoder(lookup, layout, listener);
        const walked = decoder.decodeSpan(chunk, 64, 64 + bytes.length, SAME_TIME);
        const { samples, unknownEvents, malformedSamples, malformedBytes } = decoder.counters;
        expect(walked + malformedBytes).toBe(bytes.length);
        expect(chunk.count).toBe(samples - unknownEvents - malformedSamples);
        const begin = chunk.bytesOffset + 64;
        for (let i = 0; i < chunk.count; i++) {
          expect(chunk.rawOffset[i]!).toBeGreaterThanOrEqual(begin + 20);
          expect(chunk.rawOffset[i]! + chunk.rawBytes[i]!).toBeLessThanOrEqual(begin + walked);
          expect(chunk.rawBytes[i]!).toBeGreaterThanOrEqual(8);
          expect(Number.isFinite(chunk.timeCycles[i]!)).toBe(true);
          expect(chunk.event[i]!).toBeLessThan(3);
        }
        pool.release(chunk);
      },
    ),
    { numRuns: 1000 },
  );
});
