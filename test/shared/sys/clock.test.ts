/** TSC and clock readings, and the streaming checksum. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { CLOCK_MONOTONIC, CLOCK_MONOTONIC_RAW, CLOCK_REALTIME } from "../../../shared/sys/abi.ts";
import { clockBracket, rdtsc, readTsc } from "../../../shared/sys/clock.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { addressOf, runtimeName, viewOf } from "../../../shared/sys/syscall.ts";
import { Xxh64 } from "../../../shared/sys/xxh64.ts";
import { xxh64, xxh64Words } from "../wire/xxh64_reference.ts";

describe("rdtsc", () => {
  test("rdtsc() and readTsc() read one counter, low word first", () => {
    const words = new Uint32Array(2);
    for (let i = 0; i < 1000; i++) {
      const before = readTsc();
      rdtsc(words);
      const after = readTsc();
      const between = (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
      expect(before <= between && between <= after).toBe(true);
    }
  });
});

describe("clockBracket", () => {
  for (const [name, clockId] of Object.entries({
    CLOCK_REALTIME,
    CLOCK_MONOTONIC,
    CLOCK_MONOTONIC_RAW,
  })) {
    test(`clockBracket() of ${name} holds its reading between two of the TSC`, () => {
      const first = readTsc();
      const reading = clockBracket(clockId, 16);
      const last = readTsc();
      expect(first <= reading.tscBefore).toBe(true);
      expect(reading.tscBefore < reading.tscAfter).toBe(true);
      expect(reading.tscAfter <= last).toBe(true);
      const next = clockBracket(clockId, 1);
      expect(next.ns >= reading.ns).toBe(true);
    });
  }

  test("clockBracket() of CLOCK_REALTIME is the time of day", () => {
    const before = BigInt(Date.now()) * 1_000_000n;
    const { ns } = clockBracket(CLOCK_REALTIME, 4);
    const after = BigInt(Date.now() + 1) * 1_000_000n;
    expect(before <= ns && ns <= after).toBe(true);
  });

  test("clockBracket() of no clock throws", () => {
    expect(() => clockBracket(9999, 4)).toThrow("Cannot read clock 9999: EINVAL");
    expect(() => clockBracket(9999, 4)).toThrow(SysError);
  });
});

describe("Xxh64", () => {
  test("Xxh64 agrees with the reference, in pieces and by address", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.nat(), (bytes, cut) => {
        const at = bytes.length === 0 ? 0 : cut % bytes.length;
        const digest = new Xxh64().reset().update(bytes.subarray(0, at)).update(bytes.subarray(at));
        expect([...digest.finish()]).toEqual([...xxh64Words(bytes)]);
        const whole = new Xxh64().reset();
        if (bytes.length > 0) whole.updateAt(addressOf(bytes), bytes.length);
        expect([...whole.finish()]).toEqual([...xxh64Words(bytes)]);
      }),
      { numRuns: 300 },
    );
  });

  test("Xxh64 leaves each digest at digestAddress too, and starts anew after reset()", () => {
    const hash = new Xxh64();
    const raw = new DataView(viewOf(hash.digestAddress, 8));
    hash
      .reset()
      .update(Uint8Array.of(1, 2, 3))
      .finish();
    expect(raw.getBigUint64(0, true)).toBe(xxh64(Uint8Array.of(1, 2, 3)));
    expect([...hash.reset().finish()]).toEqual([...xxh64Words(new Uint8Array(0))]);
    expect(raw.getBigUint64(0, true)).toBe(xxh64(new Uint8Array(0)));
    hash.close();
    expect(hash.digest.length).toBe(0);
  });
});

test("runtimeName is the runtime that runs this test", () => {
  expect(runtimeName).toBe("bun");
});
