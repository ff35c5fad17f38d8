/**
 * Spans of ring bytes become whole records: cut, repeated, missing and hostile ones. Every position
 * is accounted for once.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  RECORD_BYTES_MAX,
  SpanJoiner,
  SpanLoss,
  type SpanSink,
} from "../../../shared/wire/span_joiner.ts";
import { concat } from "./streams.ts";

/** A perf record of `size` bytes that tells its number. */
function record(number: number, size = 16): Uint8Array {
  const bytes = new Uint8Array(size).fill(number);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, 9, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, size, true);
  return bytes;
}

/** Writes down what it gets, and checks that ring positions come without a hole or overlap. */
class Recorder implements SpanSink {
  readonly joiner: SpanJoiner;
  readonly records: string[] = [];
  readonly losses: [number, number, SpanLoss][] = [];
  spans = 0;
  #next: number | undefined;

  constructor(joiner: SpanJoiner = new SpanJoiner()) {
    this.joiner = joiner;
  }

  span(bytes: Uint8Array, start: number, end: number, records: number): void {
    this.#next ??= this.joiner.position;
    expect(this.joiner.position).toBe(this.#next);
    expect(end - start).toBeGreaterThan(0);
    this.#next += end - start;
    this.spans++;
    let count = 0;
    let at = start;
    for (; at < end; count++) {
      const size = bytes[at + 6]! | (bytes[at + 7]! << 8);
      this.records.push(bytes.slice(at, at + size).toHex());
      at += size;
    }
    expect(at).toBe(end);
    expect(count).toBe(records);
  }

  lost(from: number, to: number, why: SpanLoss): void {
    this.#next ??= from;
    expect(from).toBe(this.#next);
    expect(to).toBeGreaterThan(from);
    this.#next = to;
    this.losses.push([from, to, why]);
  }

  push(bytes: Uint8Array, position: number, recordStart: boolean): void {
    // The span is within a larger array, as in a frame.
    const framed = concat(Uint8Array.of(1, 2, 3), bytes, Uint8Array.of(4, 5));
    this.joiner.push(framed, 3, 3 + bytes.length, position, recordStart, this);
    framed.fill(0xee);
    if (this.#next !== undefined) expect(this.joiner.position).toBe(this.#next);
  }
}

const hex = (...records: Uint8Array[]) => records.map((bytes) => bytes.toHex());

const [R1, R2, R3, R4] = [record(1), record(2, 24), record(3, 8), record(4, 40)];
const RING = concat(R1, R2, R3, R4);
/** Where records begin in RING, and where it ends. */
const BOUNDS = [0, 16, 40, 48, 88];

describe("SpanJoiner.push()", () => {
  test("delivers a span of whole records at once, where it lies", () => {
    const joiner = new SpanJoiner();
    const seen: unknown[] = [];
    joiner.push(RING, 0, RING.length, 4096, true, {
      span: (bytes, start, end, records) => seen.push(bytes === RING, start, end, records),
      lost: () => seen.push("lost"),
    });
    expect(seen).toEqual([true, 0, 88, 4]);
    expect(joiner.position).toBe(4096 + 88);
    expect(joiner.counters.deliveredRecords).toBe(4);
    expect(joiner.counters.deliveredBytes).toBe(88);
  });

  test("joins spans cut at any two places", () => {
    for (let a = 0; a <= RING.length; a++) {
      for (let b = a; b <= RING.length; b++) {
        const recorder = new Recorder();
        recorder.push(RING.subarray(0, a), 0, true);
        recorder.push(RING.subarray(a, b), a, BOUNDS.includes(a));
        recorder.push(RING.subarray(b), b, BOUNDS.includes(b));
        expect(recorder.records).toEqual(hex(R1, R2, R3, R4));
        expect(recorder.losses).toEqual([]);
        expect(recorder.joiner.position).toBe(88);
        expect(recorder.joiner.pendingBytes).toBe(0);
      }
    }
  });

  test("keeps `position` at a record's end, the rest is pending", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(0, 30), 100, true);
    expect(recorder.joiner.position).toBe(116);
    expect(recorder.joiner.pendingBytes).toBe(14);
    expect(recorder.joiner.synced).toBe(true);
  });

  test("begins in mid-record with the next span that begins with one", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(20, 30), 20, false);
    expect(recorder.joiner.synced).toBe(false);
    recorder.push(RING.subarray(30, 40), 30, false);
    recorder.push(RING.subarray(40), 40, true);
    expect(recorder.records).toEqual(hex(R3, R4));
    expect(recorder.losses).toEqual([
      [20, 30, SpanLoss.UNSYNCED],
      [30, 40, SpanLoss.UNSYNCED],
    ]);
    expect(recorder.joiner.counters.unsyncedBytes).toBe(20);
  });

  test("trims what comes twice, wherever it overlaps", () => {
    for (let from = 0; from <= 88; from++) {
      for (const to of BOUNDS.slice(1)) {
        const recorder = new Recorder();
        recorder.push(RING.subarray(0, to), 0, true);
        recorder.push(RING.subarray(Math.min(from, to)), Math.min(from, to), BOUNDS.includes(from));
        expect(recorder.records).toEqual(hex(R1, R2, R3, R4));
        expect(recorder.losses).toEqual([]);
        expect(recorder.joiner.counters.duplicateBytes).toBe(to - Math.min(from, to));
      }
    }
  });

  test("trims within a record that is pending", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(0, 30), 0, true);
    recorder.push(RING.subarray(10, 35), 10, false);
    recorder.push(RING.subarray(16), 16, true);
    expect(recorder.records).toEqual(hex(R1, R2, R3, R4));
  });

  test("reports a gap with its bytes and the pending record's, and goes on", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(0, 30), 0, true);
    recorder.push(RING.subarray(40), 40, true);
    expect(recorder.records).toEqual(hex(R1, R3, R4));
    expect(recorder.losses).toEqual([[16, 40, SpanLoss.GAP]]);
    expect(recorder.joiner.counters.gapBytes).toBe(24);
  });

  test("loses what follows a gap in mid-record until a record begins", () => {
    const recorder = new Recorder();
    recorder.push(R1, 0, true);
    recorder.push(RING.subarray(20, 40), 20, false);
    recorder.push(RING.subarray(40), 40, true);
    expect(recorder.records).toEqual(hex(R1, R3, R4));
    expect(recorder.losses).toEqual([
      [16, 20, SpanLoss.GAP],
      [20, 40, SpanLoss.UNSYNCED],
    ]);
  });

  test("finds its place in a repeated span when it was lost in the middle of it", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(20, 30), 20, false);
    // Records 1 and 2 come again: 2 lies across the known part, 3 is the first that is whole.
    recorder.push(RING, 0, true);
    expect(recorder.records).toEqual(hex(R3, R4));
    expect(recorder.losses).toEqual([
      [20, 30, SpanLoss.UNSYNCED],
      [30, 40, SpanLoss.UNSYNCED],
    ]);
    const again = new Recorder();
    again.push(RING.subarray(20, 40), 20, false);
    again.push(RING, 0, true);
    expect(again.records).toEqual(hex(R3, R4));
    expect(again.losses).toEqual([[20, 40, SpanLoss.UNSYNCED]]);
  });

  test("ignores empty and wholly repeated spans", () => {
    const recorder = new Recorder();
    recorder.push(new Uint8Array(0), 0, true);
    recorder.push(RING, 0, true);
    recorder.push(new Uint8Array(0), 88, false);
    recorder.push(R2, 16, true);
    expect(recorder.records).toEqual(hex(R1, R2, R3, R4));
    expect(recorder.joiner.counters.duplicateBytes).toBe(24);
  });

  for (const size of [0, 4, 7, 9, 12, 0xffff]) {
    test(`reports a record size of ${size} and goes on where a record begins`, () => {
      const bad = record(5, 16);
      bad[6] = size;
      bad[7] = size >> 8;
      const after = concat(bad, R4);
      for (const cut of [0, 3, 8, 10, 16]) {
        const recorder = new Recorder();
        recorder.push(concat(R1, R2, after.subarray(0, cut)), 0, true);
        recorder.push(after.subarray(cut), 40 + cut, cut === 0 || cut === 16);
        recorder.push(R3, 96, true);
        const rest = cut === 16 ? [R4, R3] : [R3];
        expect(recorder.records).toEqual(hex(R1, R2, ...rest));
        const lostBytes = recorder.losses.reduce((sum, [from, to]) => sum + to - from, 0);
        expect(lostBytes).toBe(cut === 16 ? 16 : 56);
        expect(recorder.losses[0]![2]).toBe(SpanLoss.CORRUPT);
        expect(recorder.joiner.synced).toBe(true);
      }
    });
  }

  test("takes a record start within a pending record for corruption", () => {
    const recorder = new Recorder();
    recorder.push(RING.subarray(0, 30), 0, true);
    recorder.push(R3, 30, true);
    expect(recorder.records).toEqual(hex(R1, R3));
    expect(recorder.losses).toEqual([[16, 30, SpanLoss.CORRUPT]]);
  });

  test("puts together the largest record from single bytes", () => {
    const largest = record(7, RECORD_BYTES_MAX);
    const recorder = new Recorder();
    recorder.push(R1, 0, true);
    for (let at = 0; at < largest.length; at += 1000) {
      recorder.push(largest.subarray(at, at + 1000), 16 + at, at === 0);
    }
    expect(recorder.records).toEqual(hex(R1, largest));
  });

  test("cuts long spans at records, below the limit", () => {
    const joiner = new SpanJoiner(RECORD_BYTES_MAX);
    const recorder = new Recorder(joiner);
    const large = record(7, 40_000);
    recorder.push(concat(large, R1, large, R2, record(8, RECORD_BYTES_MAX), R3), 0, true);
    expect(recorder.records.length).toBe(6);
    expect(recorder.spans).toBe(4);
    expect(() => new SpanJoiner(RECORD_BYTES_MAX - 8)).toThrow(RangeError);
  });
});

describe("SpanJoiner after a disconnection", () => {
  test("resume() takes the stream again from `position`", () => {
    for (let cut = 1; cut <= 88; cut++) {
      const recorder = new Recorder();
      recorder.push(RING.subarray(0, cut), 0, true);
      recorder.joiner.resume();
      const { position } = recorder.joiner;
      expect(BOUNDS).toContain(position);
      recorder.push(RING.subarray(position), position, true);
      expect(recorder.records).toEqual(hex(R1, R2, R3, R4));
      expect(recorder.losses).toEqual([]);
    }
  });

  test("restart() forgets the stream, or expects one at a position", () => {
    const joiner = new SpanJoiner();
    new Recorder(joiner).push(RING.subarray(0, 30), 1000, true);
    joiner.restart();
    expect(joiner.position).toBe(-1);
    const second = new Recorder(joiner);
    second.push(R1, 0, true);
    expect(second.records).toEqual(hex(R1));
    joiner.restart(500);
    const third = new Recorder(joiner);
    third.push(R1, 516, true);
    expect(third.losses).toEqual([[500, 516, SpanLoss.GAP]]);
  });
});

describe("SpanJoiner with any spans", () => {
  const anySizes = fc.array(
    fc.oneof(fc.integer({ min: 1, max: 12 }), fc.constant(4000)).map((words) => words * 8),
    { minLength: 1, maxLength: 30 },
  );
  /** What happens to each piece of the ring: its length, and whether it is lost or repeated. */
  const anySteps = fc.array(
    fc.record({
      bytes: fc.integer({ min: 1, max: 300 }),
      fate: fc.constantFrom("send", "send", "send", "drop", "repeat", "reconnect"),
      back: fc.nat(200),
    }),
    { minLength: 1, maxLength: 60 },
  );

  test("delivers all that an honest guest sent, once and in order", () => {
    fc.assert(
      fc.property(anySizes, anySteps, (sizes, steps) => {
        const records = sizes.map((size, number) => record(number, size));
        const ring = concat(...records);
        const starts = new Set<number>();
        for (let n = 0, start = 0; n < sizes.length; start += sizes[n++]!) starts.add(start);
        const recorder = new Recorder();
        const send = (from: number, to: number) =>
          recorder.push(ring.subarray(from, to), from, starts.has(from));
        let at = 0;
        let dropped = false;
        for (const { bytes, fate, back } of steps) {
          const to = Math.min(ring.length, at + bytes);
          if (fate === "reconnect" && recorder.joiner.synced) {
            recorder.joiner.resume();
            at = recorder.joiner.position;
            continue;
          }
          if (fate === "repeat") send(Math.max(0, at - back), to);
          else if (fate === "drop") dropped = true;
          else send(at, to);
          at = to;
        }
        const wanted = hex(...records);
        let next = 0;
        for (const got of recorder.records) {
          next = wanted.indexOf(got, next) + 1;
          expect(next).toBeGreaterThan(0);
        }
        if (!dropped) {
          expect(recorder.losses).toEqual([]);
          const whole = [...starts].filter((start) => start < recorder.joiner.position).length;
          expect(recorder.records.length).toBe(whole);
          expect(recorder.joiner.position + recorder.joiner.pendingBytes).toBe(at);
        }
      }),
      { numRuns: 1000 },
    );
  });

  test("accounts for each position once, whatever a hostile guest sends", () => {
    const likelyByte = fc.oneof(fc.constantFrom(0, 8, 16, 24), fc.nat(255));
    const anySpan = fc.record({
      bytes: fc.array(likelyByte, { maxLength: 80 }).map((bytes) => Uint8Array.from(bytes)),
      position: fc.oneof(
        fc.nat(200),
        fc.nat(2 ** 30).map((n) => n * 2 ** 20),
      ),
      recordStart: fc.boolean(),
    });
    fc.assert(
      fc.property(fc.array(anySpan, { maxLength: 20 }), (spans) => {
        const recorder = new Recorder();
        for (const { bytes, position, recordStart } of spans) {
          recorder.push(bytes, position, recordStart);
          expect(recorder.joiner.pendingBytes).toBeLessThan(RECORD_BYTES_MAX);
        }
      }),
      { numRuns: 2000 },
    );
  });
});
