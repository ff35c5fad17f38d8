/** Rings that are overwritten: walked back from the newest record, given back oldest first. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  BackwardRing,
  type RingCopy,
  unroll,
  walkBack,
} from "../../../shared/perf/backward_ring.ts";
import { CONTROL_BYTES } from "../../../shared/perf/ring.ts";

const RING_BYTES = 4096;
const SAMPLE = 9;
const COMM = 3;
/** Records that may be under way over the oldest ones: see NESTED_WRITERS_MAX. */
const NESTED = 4;

/** What the kernel does: each record is written before the one before it, around the end. */
class Writer {
  readonly buffer = new ArrayBuffer(CONTROL_BYTES + RING_BYTES);
  readonly #data = new Uint8Array(this.buffer, CONTROL_BYTES, RING_BYTES);
  readonly #head = new BigInt64Array(this.buffer, 1024, 1);
  #written = 0n;

  constructor(written = 0n) {
    this.#written = written;
    this.#head[0] = -written;
  }

  /** A record of `size` bytes, numbered in the byte behind its header. */
  write(size: number, number: number, type = SAMPLE): void {
    this.#written += BigInt(size);
    const start = Number(BigInt.asUintN(12, -this.#written));
    for (let i = 0; i < size; i++) this.#data[(start + i) % RING_BYTES] = number & 0xff;
    const put = (offset: number, value: number): void => {
      this.#data[(start + offset) % RING_BYTES] = value;
    };
    [type, 0, 0, 0, 0, 0, size & 0xff, size >> 8].forEach((value, i) => {
      put(i, value);
    });
    this.#head[0] = -this.#written;
  }

  copy(): RingCopy {
    return new BackwardRing(this.buffer, RING_BYTES).copy(new Uint8Array(RING_BYTES));
  }
}

/** Sizes and numbers of records that lie one behind the other. */
function recordsIn(bytes: Uint8Array, from: number, total: number): [number, number][] {
  const found: [number, number][] = [];
  for (let done = 0; done < total; ) {
    const at = (from + done) % bytes.length;
    const size = bytes[(at + 6) % bytes.length]! | (bytes[(at + 7) % bytes.length]! << 8);
    found.push([size, bytes[(at + 8) % bytes.length]!]);
    done += size;
  }
  return found;
}

describe("readWritten()", () => {
  for (const written of [0n, 8n, 4096n, 2n ** 32n - 8n, 2n ** 32n, 2n ** 32n + 8n, 2n ** 45n]) {
    test(`knows ${written} bytes by data_head`, () => {
      const { buffer } = new Writer(written);
      expect(new BackwardRing(buffer, RING_BYTES).readWritten()).toBe(Number(written));
    });
  }
});

describe("walkBack() and unroll()", () => {
  test("an empty ring holds nothing", () => {
    expect(walkBack(new Writer().copy(), 0)).toEqual({ bytes: 0, records: 0, samples: 0 });
  });

  test("a ring that has not been around gives all its records, oldest first", () => {
    const writer = new Writer();
    writer.write(16, 1);
    writer.write(24, 2, COMM);
    writer.write(32, 3);
    const copy = writer.copy();
    const walk = walkBack(copy, 0);
    expect(walk).toEqual({ bytes: 72, records: 3, samples: 2 });
    const to = new Uint8Array(RING_BYTES);
    unroll(copy, walk, to, 72);
    expect(recordsIn(to, 0, 72)).toEqual([
      [16, 1],
      [24, 2],
      [32, 3],
    ]);
  });

  test("gives only what is newer than the last time", () => {
    const writer = new Writer();
    for (let i = 0; i < 5; i++) writer.write(16, i);
    expect(walkBack(writer.copy(), 48)).toEqual({ bytes: 32, records: 2, samples: 2 });
    expect(walkBack(writer.copy(), 80)).toEqual({ bytes: 0, records: 0, samples: 0 });
  });

  test("stops before what may have been overwritten by records under way", () => {
    const writer = new Writer();
    for (let i = 0; i < 300; i++) writer.write(32, i);
    const kept = (RING_BYTES - NESTED * 32) / 32;
    expect(walkBack(writer.copy(), 0)).toMatchObject({ records: kept, samples: kept });
  });

  test("stops at bytes that are no record", () => {
    const writer = new Writer();
    writer.write(64, 0, 0);
    writer.write(16, 1);
    expect(walkBack(writer.copy(), 0)).toMatchObject({ records: 1 });
  });

  test("the records given are the newest, in order, wherever both rings stand", () => {
    const sizes = fc.array(fc.integer({ min: 2, max: 60 }), { minLength: 1, maxLength: 600 });
    const begun = fc.integer({ min: 0, max: 2 ** 20 });
    const end = fc.integer({ min: 0, max: 2 ** 30 });
    fc.assert(
      fc.property(sizes, begun, end, (words, startWords, endWords) => {
        const since = startWords * 8;
        const writer = new Writer(BigInt(since));
        words.forEach((count, i) => {
          writer.write(count * 8, i);
        });
        const copy = writer.copy();
        const walk = walkBack(copy, since);
        const to = new Uint8Array(RING_BYTES);
        unroll(copy, walk, to, endWords * 8);
        const from = (((endWords * 8 - walk.bytes) % RING_BYTES) + RING_BYTES) % RING_BYTES;
        const expected = words.map((count, i) => [count * 8, i & 0xff] as [number, number]);
        expect(recordsIn(to, from, walk.bytes)).toEqual(
          expected.slice(-walk.records || words.length),
        );
        const total = words.reduce((sum, count) => sum + count * 8, 0);
        const all = total + since <= RING_BYTES;
        if (all) expect(walk.bytes).toBe(total);
        // Not less than what is safe for the largest of them, but for one record.
        else expect(walk.bytes).toBeGreaterThanOrEqual(Math.min(total, RING_BYTES - 5 * 480) - 480);
      }),
    );
  });

  test("any bytes are walked to an end within the ring", () => {
    const bytes = fc.uint8Array({ minLength: RING_BYTES, maxLength: RING_BYTES });
    fc.assert(
      fc.property(bytes, fc.nat(2 ** 40), fc.nat(2 ** 40), (data, a, b) => {
        const written = Math.max(a, b) * 8;
        const walk = walkBack({ data, written }, Math.min(a, b) * 8);
        expect(walk.bytes).toBeLessThanOrEqual(RING_BYTES);
        unroll({ data, written }, walk, new Uint8Array(RING_BYTES), 0);
      }),
    );
  });
});
