/** Walking the records of a ring: counts, starts, and headers that cannot be. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  countSamples,
  PERF_RECORD_COMM,
  PERF_RECORD_LOST,
  PERF_RECORD_SAMPLE,
  recordStartAt,
} from "../../../shared/perf/record.ts";
import { FakeRing } from "./ring_fixture.ts";

const record = fc.record({
  isSample: fc.boolean(),
  eighths: fc.integer({ min: 1, max: 30 }),
});
const records = fc.array(record, { maxLength: 16 });
/** Places of the first byte: records may wrap, and positions pass 2^32. */
const starts = fc.constantFrom(0, 8, 4096 - 8, 4096 - 120, 2 ** 32 - 160, 2 ** 41 - 16);

function filledRing(
  contents: readonly { isSample: boolean; eighths: number }[],
  start: number,
): { fake: FakeRing; ends: number[] } {
  const fake = new FakeRing(4096, start);
  let at = start;
  const ends = contents.map(({ isSample, eighths }) => {
    fake.write(isSample ? PERF_RECORD_SAMPLE : PERF_RECORD_COMM, eighths * 8, 0x80);
    at += eighths * 8;
    return at;
  });
  fake.ring.refreshHead();
  return { fake, ends };
}

describe("countSamples", () => {
  test("countSamples() counts samples and steps over other records", () => {
    const fake = new FakeRing(4096);
    fake.write(PERF_RECORD_SAMPLE, 64);
    fake.write(PERF_RECORD_LOST, 24);
    fake.write(PERF_RECORD_SAMPLE, 8);
    fake.write(PERF_RECORD_COMM, 40);
    fake.ring.refreshHead();
    expect(countSamples(fake.ring, 0, fake.ring.head)).toBe(2);
    expect(countSamples(fake.ring, 64, fake.ring.head)).toBe(1);
    expect(countSamples(fake.ring, 0, 64)).toBe(1);
    expect(countSamples(fake.ring, 96, 96)).toBe(0);
  });

  test("countSamples() agrees with what was written, wherever it wraps", () => {
    fc.assert(
      fc.property(records, starts, fc.nat({ max: 16 }), (contents, start, skip) => {
        const { fake, ends } = filledRing(contents, start);
        const skipped = Math.min(skip, contents.length);
        const from = skipped === 0 ? start : ends[skipped - 1]!;
        const expected = contents.slice(skipped).filter(({ isSample }) => isSample).length;
        expect(countSamples(fake.ring, from, fake.ring.head)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  for (const size of [0, 1, 7, 12, 65535]) {
    test(`countSamples() refuses a record of ${size} bytes instead of walking on`, () => {
      const fake = new FakeRing(4096);
      fake.write(PERF_RECORD_SAMPLE, 64);
      fake.write(PERF_RECORD_SAMPLE, 64);
      fake.ring.refreshHead();
      new DataView(fake.ring.data.buffer, fake.ring.data.byteOffset).setUint16(64 + 6, size, true);
      expect(() => countSamples(fake.ring, 0, 128)).toThrow(
        `Cannot walk a ring: record of ${size} bytes`,
      );
    });
  }

  test("countSamples() of any bytes gives a count or RangeError", () => {
    const bytes = fc.uint8Array({ minLength: 4096, maxLength: 4096 });
    fc.assert(
      fc.property(bytes, fc.nat({ max: 511 }), (noise, eighth) => {
        const fake = new FakeRing(4096);
        for (let i = 0; i < 64; i++) fake.write(PERF_RECORD_SAMPLE, 64);
        fake.ring.refreshHead();
        fake.ring.data.set(noise);
        try {
          expect(countSamples(fake.ring, eighth * 8, 4096)).toBeLessThanOrEqual(512);
        } catch (error) {
          expect(error).toBeInstanceOf(RangeError);
        }
      }),
      { numRuns: 300 },
    );
  });
});

describe("recordStartAt", () => {
  test("recordStartAt() finds the record that holds a position", () => {
    fc.assert(
      fc.property(records, starts, fc.nat(), (contents, start, pick) => {
        const { fake, ends } = filledRing(contents, start);
        const { head } = fake.ring;
        const position = start + (head === start ? 0 : pick % (head - start + 1));
        const expected = [start, ...ends].filter((end) => end <= position).at(-1)!;
        expect(recordStartAt(fake.ring, start, position)).toBe(expected);
      }),
      { numRuns: 500 },
    );
  });

  test("recordStartAt() refuses a record that cannot be", () => {
    const fake = new FakeRing(4096);
    fake.write(PERF_RECORD_SAMPLE, 64);
    fake.write(PERF_RECORD_SAMPLE, 64);
    fake.ring.refreshHead();
    fake.ring.data[6] = 3;
    expect(() => recordStartAt(fake.ring, 0, 100)).toThrow(RangeError);
  });
});
