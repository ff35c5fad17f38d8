/** printf formats of print fmt: how they are split, and integers against the C library's printf. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import {
  type Conversion,
  PRINTF_PIECES_MAX,
  PRINTF_WIDTH_MAX,
  parsePrintf,
  writeInteger,
} from "../../../shared/text/printf.ts";
import { GCC, LIBC_DEV, packagesProblem } from "../../apt.ts";

const encode = (text: string) => new TextEncoder().encode(text);

function conversionsOf(format: string): Conversion[] {
  return parsePrintf(encode(format)).flatMap((p) =>
    p.kind === "conversion" ? [p.conversion] : [],
  );
}

/** printf(format, value) for formats of one integer conversion. */
function print(format: string, value: bigint): string {
  const out = new ByteWriter(65536);
  for (const piece of parsePrintf(encode(format))) {
    if (piece.kind === "literal") {
      out.raw(piece.bytes);
      continue;
    }
    const lo = Number(BigInt.asIntN(32, value));
    const hi = Number(BigInt.asIntN(32, value >> 32n));
    const { width, precision } = piece.conversion;
    writeInteger(out, piece.conversion, lo, hi, width, precision);
  }
  return out.toString();
}

describe("parsePrintf()", () => {
  test("splits literals and conversions", () => {
    const pieces = parsePrintf(encode("a=%d 100%% b=%-08llx%s"));
    expect(
      pieces.map((p) => (p.kind === "literal" ? p.bytes.length : p.conversion.letter)),
    ).toEqual([2, "d", 8, "x", "s"]);
    expect(conversionsOf("%-08llx")[0]).toMatchObject({ isLeft: true, width: 8, bits: 64 });
    expect(conversionsOf("%*.*s")[0]).toMatchObject({
      isWidthArgument: true,
      isPrecisionArgument: true,
    });
    expect(conversionsOf("%.s")[0]).toMatchObject({ precision: 0 });
    expect(conversionsOf("%hhu %hd %zx %Lu").map((c) => c.bits)).toEqual([8, 16, 64, 64]);
  });

  test("takes the kernel's letters behind %p, and no more", () => {
    const suffixes = (format: string) => conversionsOf(format).map((c) => c.suffix);
    expect(suffixes("%pS %ps, %pSno %pf")).toEqual(["S", "s", "S", "f"]);
    expect(suffixes("%pI4 %pi6 %pI6c %pISpc %pISpfsc %pI4h")).toEqual(
      "I4 i6 I6c ISpc ISpfsc I4h".split(" "),
    );
    expect(suffixes("%pM %pMR %pmR %pUb %pU %16ph %phC %*pbl %*pb %px %pK")).toEqual(
      "M MR mR Ub U h hC bl b x K".split(" "),
    );
    expect(suffixes("%p, %pdx")).toEqual(["", ""]);
  });

  test("shows conversions that it does not know, as libtraceevent does", () => {
    const text = (format: string) =>
      parsePrintf(encode(format))
        .map((p) => (p.kind === "literal" ? new TextDecoder().decode(p.bytes) : "?"))
        .join("");
    expect(text("a %n b")).toBe("a >n< b");
    expect(text("%")).toBe(">?<");
    expect(text("%\x1b")).toBe(">?<");
  });

  test("limits widths and pieces", () => {
    expect(conversionsOf("%999999999d")[0]!.width).toBe(PRINTF_WIDTH_MAX);
    expect(() => parsePrintf(encode("%d".repeat(PRINTF_PIECES_MAX + 1)))).toThrow(RangeError);
    expect(print("%5000d", 7n).length).toBe(PRINTF_WIDTH_MAX);
  });
});

describe("writeInteger()", () => {
  const skip = packagesProblem([GCC, LIBC_DEV]);
  if (skip !== "") console.log(`skipped: ${skip}`);

  const format = fc
    .tuple(
      fc.subarray(["-", "+", " ", "#", "0"]),
      fc.option(fc.integer({ min: 1, max: 25 })),
      fc.option(fc.integer({ min: 0, max: 22 })),
      fc.constantFrom("hh", "h", "", "l", "ll", "z"),
      fc.constantFrom(..."diuxXo"),
    )
    .map(([flags, width, precision, length, letter]) => {
      const dotted = precision === null ? "" : `.${precision}`;
      return `%${flags.join("")}${width ?? ""}${dotted}${length}${letter}`;
    });
  const value = fc.oneof(
    fc.bigInt({ min: -(1n << 63n), max: (1n << 63n) - 1n }),
    fc.bigInt({ min: -300n, max: 300n }),
    fc.constant(0n),
  );

  test.skipIf(skip !== "")("equals the C library's printf for 2,000 random conversions", () => {
    const cases = fc.sample(fc.tuple(format, value), 2000);
    const directory = mkdtempSync(join(tmpdir(), "vmspan-printf-"));
    try {
      const lines = cases.map(
        ([f, v]) => `  printf("[${f}]\\n", (long)${BigInt.asUintN(64, v)}ULL);`,
      );
      const source = `#include <stdio.h>\nint main(void) {\n${lines.join("\n")}\n return 0; }\n`;
      writeFileSync(join(directory, "p.c"), source);
      const exe = join(directory, "p");
      const built = spawnSync("gcc", ["-w", "-O0", "-o", exe, join(directory, "p.c")]);
      expect(built.status).toBe(0);
      const theirs = spawnSync(exe, { encoding: "utf8", maxBuffer: 1 << 26 }).stdout.split("\n");
      cases.forEach(([f, v], i) => {
        expect(`${f} ${v} [${print(f, v)}]`).toBe(`${f} ${v} ${theirs[i]}`);
      });
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  });
});
