/** Ring on plain memory: positions, wrap-around, and what a bug of ours cannot do to the tail. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CONTROL_BYTES, RING_BYTES_MAX, Ring } from "../../../shared/perf/ring.ts";
import { FakeRing } from "./ring_fixture.ts";

describe("Ring", () => {
  for (const bytes of [0, 1, 2048, 4097, 12288, -4096, 2 * RING_BYTES_MAX, Number.NaN]) {
    test(`Ring refuses ${bytes} bytes`, () => {
      const buffer = new ArrayBuffer(CONTROL_BYTES + 16384);
      expect(() => new Ring(buffer, bytes)).toThrow(
        `Cannot use a ring of ${bytes} bytes: wants a power of two`,
      );
    });
  }

  test("Ring begins at 0 and sees the head only when it looks", () => {
    const { ring } = new FakeRing(4096);
    expect([ring.head, ring.tail, ring.bytes]).toEqual([0, 0, 4096]);
    const fake = new FakeRing(4096);
    fake.write(9, 64);
    expect(fake.ring.head).toBe(0);
    expect(fake.ring.refreshHead()).toBe(64);
    expect(fake.ring.head).toBe(64);
  });

  test("data is the memory after the control page", () => {
    const fake = new FakeRing(4096);
    fake.write(9, 16, 0x40);
    const bytes = new Uint8Array(fake.buffer, CONTROL_BYTES, 16);
    expect([...bytes]).toEqual([
      9,
      0,
      0,
      0,
      0,
      0,
      16,
      0,
      ...Array.from({ length: 8 }, (_, i) => 0x48 + i),
    ]);
    expect([...fake.ring.data.subarray(0, 16)]).toEqual([...bytes]);
  });

  test("offsetOf() wraps", () => {
    const { ring } = new FakeRing(8192);
    expect([0, 8191, 8192, 8200, 3 * 8192 + 5].map((at) => ring.offsetOf(at))).toEqual([
      0, 8191, 0, 8, 5,
    ]);
  });

  for (const start of [2 ** 32 - 64, 2 ** 32, 5 * 2 ** 32 - 8, 2 ** 40 + 4096 - 16]) {
    test(`refreshHead() and setTail() go on past 2^32 from ${start}`, () => {
      const fake = new FakeRing(4096, start);
      expect(fake.ring.head).toBe(start);
      for (let i = 1; i <= 4; i++) {
        fake.write(9, 48);
        expect(fake.ring.refreshHead()).toBe(start + i * 48);
      }
      fake.ring.setTail(start + 48);
      expect(fake.storedTail).toBe(BigInt(start + 48));
      fake.ring.setTail(start + 4 * 48);
      expect(fake.storedTail).toBe(BigInt(start + 4 * 48));
      expect(fake.ring.tail).toBe(start + 4 * 48);
      expect(fake.ring.offsetOf(start)).toBe(Number(BigInt(start) % 4096n));
    });
  }

  test("setTail() takes what lies between tail and head, and nothing else", () => {
    const fake = new FakeRing(4096);
    fake.write(9, 64);
    expect(() => fake.ring.setTail(8)).toThrow("Cannot move the tail to 8: wants 0 to 0");
    fake.ring.refreshHead();
    fake.ring.setTail(64);
    expect(() => fake.ring.setTail(63)).toThrow("Cannot move the tail to 63: wants 64 to 64");
    expect(() => fake.ring.setTail(65)).toThrow(RangeError);
    expect(fake.storedTail).toBe(64n);
  });

  test("head and tail follow any sequence of writes", () => {
    const sizes = fc.array(fc.integer({ min: 1, max: 64 }), { maxLength: 300 });
    const starts = fc.constantFrom(0, 2 ** 32 - 4096, 2 ** 33 - 8);
    fc.assert(
      fc.property(sizes, starts, (eighths, start) => {
        const fake = new FakeRing(4096, start);
        let head = start;
        for (const eighth of eighths) {
          fake.write(9, eighth * 8);
          head += eighth * 8;
          expect(fake.ring.refreshHead()).toBe(head);
          expect(fake.ring.data[fake.ring.offsetOf(head - eighth * 8)]).toBe(9);
          fake.ring.setTail(head);
          expect(fake.storedTail).toBe(BigInt(head));
        }
      }),
      { numRuns: 200 },
    );
  });
});
