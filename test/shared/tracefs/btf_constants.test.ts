/** Enum constants out of BTF: a hand-written blob, changes of it, and the running kernel's. */
import { describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import fc from "fast-check";
import { BtfConstants, BtfError } from "../../../shared/tracefs/btf_constants.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";

const u32 = (...words: number[]) => [...new Uint8Array(Uint32Array.from(words).buffer)];

/** An int, an enum of two constants, a signed enum64 of one. */
function makeBtf(): Uint8Array {
  const strings = [...new TextEncoder().encode("\0int\0RED\0GREEN\0BIG\0")];
  const types = [
    ...u32(1, 1 << 24, 4, 0x20),
    ...u32(0, ((6 << 24) | 2) >>> 0, 4, 5, 0, 9, 0xfffffff0),
    ...u32(0, ((19 << 24) | 1 | (1 << 31)) >>> 0, 8, 15, 0xffffffff, 0xffffffff),
  ];
  return Uint8Array.from([
    ...[0x9f, 0xeb, 1, 0],
    ...u32(24, 0, types.length, types.length, strings.length),
    ...types,
    ...strings,
  ]);
}

describe("BtfConstants", () => {
  test("parse() finds the constants of enums, 32 and 64 bits wide", () => {
    const btf = BtfConstants.parse(makeBtf());
    expect(btf.count).toBe(3);
    expect(btf.lookup("RED")).toBe(0n);
    expect(btf.lookup("GREEN")).toBe(0xfffffff0n);
    expect(btf.lookup("BIG")).toBe(-1n);
    expect(btf.lookup("int")).toBeUndefined();
  });

  test(
    "parse() of any bytes is a value or a BtfError",
    () => {
      const good = makeBtf();
      fc.assert(
        fc.property(
          fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }),
          fc.nat(good.length),
          (changes, cut) => {
            const bytes = good.slice(0, cut === 0 ? good.length : cut);
            for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
            try {
              BtfConstants.parse(bytes);
            } catch (error) {
              expect(error).toBeInstanceOf(BtfError);
            }
          },
        ),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test("parse() reads the running kernel's", () => {
    const path = "/sys/kernel/btf/vmlinux";
    if (!existsSync(path)) {
      console.log(`skipped: no ${path}`);
      return;
    }
    const btf = BtfConstants.parse(readFileSync(path));
    expect(btf.count).toBeGreaterThan(1000);
    expect(btf.lookup("TCP_ESTABLISHED")).toBe(1n);
  });
});
