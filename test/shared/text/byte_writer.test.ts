/** ByteWriter: numbers against BigInt and Number, escaping, padding, and flushing in any buffer. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ByteWriter, FIELD_BYTES_MAX } from "../../../shared/text/byte_writer.ts";

function written(write: (out: ByteWriter) => void): string {
  const out = new ByteWriter(16384);
  write(out);
  return out.toString();
}

const u64 = fc.bigInt({ min: 0n, max: 0xffffffffffffffffn });
const low = (value: bigint) => Number(value & 0xffffffffn);
const high = (value: bigint) => Number((value >> 32n) & 0xffffffffn);

describe("ByteWriter numbers", () => {
  test("u64() equals BigInt decimal", () => {
    for (const value of [0n, 9n, 10n, 99n, 100n, 4294967295n, 4294967296n, 9007199254740991n]) {
      expect(written((out) => out.u64(low(value), high(value)))).toBe(String(value));
    }
    fc.assert(
      fc.property(u64, (v) => written((out) => out.u64(low(v), high(v))) === String(v)),
      { numRuns: 2000 },
    );
  });

  test("s64() equals BigInt.asIntN(64)", () => {
    expect(written((out) => out.s64(0, 0x80000000))).toBe("-9223372036854775808");
    fc.assert(
      fc.property(
        u64,
        (v) => written((out) => out.s64(low(v), high(v))) === String(BigInt.asIntN(64, v)),
      ),
      { numRuns: 1000 },
    );
  });

  test("hex64(), oct64() equal BigInt.toString", () => {
    for (const value of [0n, 1n, 15n, 16n, 0xdeadbeefn, 0x100000000n, 0x10000000fn]) {
      expect(written((out) => out.hex64(low(value), high(value)))).toBe(value.toString(16));
    }
    fc.assert(
      fc.property(u64, (v) => {
        expect(written((out) => out.hex64(low(v), high(v)))).toBe(v.toString(16));
        expect(written((out) => out.hex64(low(v), high(v), true))).toBe(
          v.toString(16).toUpperCase(),
        );
        expect(written((out) => out.oct64(low(v), high(v)))).toBe(v.toString(8));
      }),
      { numRuns: 500 },
    );
  });

  test("hex64() takes signed halves", () => {
    expect(written((out) => out.hex64(-1, -1))).toBe("ffffffffffffffff");
  });

  test("dec() equals String for safe integers", () => {
    fc.assert(
      fc.property(fc.maxSafeInteger(), (v) => written((out) => out.dec(v)) === String(v)),
      { numRuns: 1000 },
    );
  });

  test("decPadded() pads, zeros behind the sign", () => {
    expect(written((out) => out.decPadded(7, 3))).toBe("  7");
    expect(written((out) => out.decPadded(-7, 4, 0x30))).toBe("-007");
    expect(written((out) => out.decPadded(-7, 4))).toBe("  -7");
    expect(written((out) => out.decPadded(12345, 3))).toBe("12345");
  });

  test("fixed() rounds like toFixed away from halves", () => {
    expect(written((out) => out.fixed(186430.03805, 6))).toBe("186430.038050");
    expect(written((out) => out.fixed(-0.4, 0))).toBe("0");
    expect(written((out) => out.fixed(-1.25, 1))).toBe("-1.3");
    expect(written((out) => out.fixed(0.9999, 3))).toBe("1.000");
  });
});

describe("ByteWriter text", () => {
  test("untrusted() escapes every byte that is not printable ASCII", () => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const text = written((out) => out.untrusted(all, 0, 256));
    expect(/^[\x20-\x7e]*$/.test(text)).toBe(true);
    expect(text.startsWith("\\x00\\x01")).toBe(true);
    expect(written((out) => out.untrusted(Uint8Array.of(0x1b, 0x5b, 0x4a, 0x0a), 0, 4))).toBe(
      "\\x1b[J\\x0a",
    );
    expect(written((out) => out.untrusted(Uint8Array.of(65), -5, 99))).toBe("A");
    expect(written((out) => out.untrustedText("a\u001b\u202e"))).toBe("a\\x1b\\u202e");
  });

  test("untrustedString() stops at NUL or the end", () => {
    const bytes = Uint8Array.of(65, 66, 0, 67);
    const out = new ByteWriter(8192);
    expect(out.untrustedString(bytes, 0, 4)).toBe(2);
    expect(out.untrustedString(bytes, 3, 4)).toBe(4);
    expect(out.toString()).toBe("ABC");
  });

  test("padFrom() and truncateFrom() shape what was written since the mark", () => {
    const shaped = written((out) => {
      out.ascii("[");
      let mark = out.mark();
      out.ascii("ab");
      out.padFrom(mark, 5, false);
      out.ascii("|");
      mark = out.mark();
      out.ascii("abcdef");
      out.truncateFrom(mark, 2);
      out.padFrom(mark, 4, true);
      out.ascii("]");
    });
    expect(shaped).toBe("[   ab|ab  ]");
  });

  test("ascii() replaces what is not ASCII", () => {
    expect(written((out) => out.ascii("aéb"))).toBe("a?b");
    expect(written((out) => out.asciiPadStart("ab", 4))).toBe("  ab");
    expect(written((out) => out.asciiPadEnd("ab", 4))).toBe("ab  ");
  });
});

describe("ByteWriter flushing", () => {
  test("all writes arrive in order whatever the capacity", () => {
    fc.assert(
      fc.property(
        fc.array(fc.oneof(fc.string(), fc.uint8Array({ maxLength: 3000 })), { maxLength: 40 }),
        (parts) => {
          const got: string[] = [];
          const out = new ByteWriter(FIELD_BYTES_MAX, (bytes) =>
            got.push(new TextDecoder("latin1").decode(bytes)),
          );
          const whole = new ByteWriter(4_000_000);
          for (const part of parts) {
            for (const writer of [out, whole]) {
              if (typeof part === "string") writer.untrustedText(part);
              else writer.untrusted(part, 0, part.length);
            }
          }
          out.flush();
          expect(got.join("")).toBe(whole.toString());
          expect(out.flushedBytes).toBe(whole.length);
        },
      ),
      { numRuns: 200 },
    );
  });

  test("raw() passes bytes through, long runs too", () => {
    const source = Uint8Array.from({ length: 9000 }, (_, i) => i & 0xff);
    const got: number[] = [];
    const out = new ByteWriter(FIELD_BYTES_MAX, (bytes) => got.push(...bytes));
    out.raw(source, 10);
    out.raw(source, 0, 10);
    out.flush();
    expect(got).toEqual([...source.subarray(10), ...source.subarray(0, 10)]);
  });

  test("a full buffer without a flush callback is a RangeError", () => {
    const out = new ByteWriter(FIELD_BYTES_MAX);
    out.fill(0x20, FIELD_BYTES_MAX);
    expect(() => out.u8(1)).toThrow(RangeError);
    expect(() => new ByteWriter(10)).toThrow(RangeError);
  });

  test("a flush that throws does not send the same bytes twice", () => {
    let calls = 0;
    const out = new ByteWriter(FIELD_BYTES_MAX, () => {
      calls++;
      throw new Error("disk full");
    });
    out.ascii("x");
    expect(() => out.flush()).toThrow("disk full");
    out.flush();
    expect(calls).toBe(1);
  });
});
