// %d %u %x and the like: closures made for the conversion and, for plain fields, for the field.

import type { EvalContext } from "../expr/eval_context.ts";
import type { IntEval } from "../expr/evaluate.ts";
import type { IntIr } from "../expr/ir.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import { type Conversion, clampWidth, isSignedLetter, writeInteger } from "../text/printf.ts";
import type { PrintPiece } from "./print_piece.ts";

/** A number printed by `conversion`; `width` and `precision` are there for `*`. */
export function numberPiece(
  conversion: Conversion,
  value: { readonly evaluate: IntEval; readonly ir: IntIr },
  width: IntEval | undefined,
  precision: IntEval | undefined,
): PrintPiece {
  const { evaluate, ir } = value;
  if (conversion.letter === "c") return characterPiece(conversion, evaluate);
  if (isPlain(conversion)) {
    return plainFieldPiece(conversion, ir) ?? plainPiece(conversion, evaluate);
  }
  return (c, out) => {
    const size = readSize(conversion, c, width, precision);
    const lo = evaluate(c);
    writeInteger(out, conversion, lo, c.hi, size.width, size.precision, size.isLeft);
  };
}

/** What is printed without any padding or prefix. */
function isPlain(conversion: Conversion): boolean {
  const { hasPlus, hasSpace, isAlternate, width, precision, bits } = conversion;
  const isArgument = conversion.isWidthArgument || conversion.isPrecisionArgument;
  return (
    !hasPlus &&
    !hasSpace &&
    !isAlternate &&
    !isArgument &&
    width <= 0 &&
    precision < 0 &&
    bits >= 32
  );
}

function plainPiece(conversion: Conversion, evaluate: IntEval): PrintPiece {
  const is64 = conversion.bits === 64;
  switch (conversion.letter) {
    case "d":
    case "i":
      if (!is64) return (c, out) => out.dec(evaluate(c));
      return (c, out) => {
        const lo = evaluate(c);
        out.s64(lo, c.hi);
      };
    case "u":
      if (!is64) return (c, out) => out.u64(evaluate(c), 0);
      return (c, out) => {
        const lo = evaluate(c);
        out.u64(lo, c.hi);
      };
    case "x":
      if (!is64) return (c, out) => out.hex64(evaluate(c), 0);
      return (c, out) => {
        const lo = evaluate(c);
        out.hex64(lo, c.hi);
      };
    default:
      return (c, out) => {
        const lo = evaluate(c);
        writeInteger(out, conversion, lo, c.hi, -1, -1);
      };
  }
}

/** The fields that fill most events, 32 and 64 bits wide, without a closure in between. */
function plainFieldPiece(conversion: Conversion, ir: IntIr): PrintPiece | undefined {
  if (ir.op !== "load" || ir.bytes < 4) return undefined;
  const { offset } = ir;
  const isDecimal = isSignedLetter(conversion.letter);
  // A 32-bit conversion, or a 32-bit field that no 64-bit conversion has to extend by its sign.
  const is32 = conversion.bits === 32 || (ir.bytes === 4 && !ir.isSigned);
  if (is32) {
    if (isDecimal && conversion.bits === 32) {
      return (c, out) => out.dec(c.view.getInt32(c.rawOffset + offset, true));
    }
    if (isDecimal || conversion.letter === "u") {
      return (c, out) => out.dec(c.view.getUint32(c.rawOffset + offset, true));
    }
    if (conversion.letter === "x") {
      return (c, out) => out.hex64(c.view.getUint32(c.rawOffset + offset, true), 0);
    }
    return undefined;
  }
  if (ir.bytes !== 8) return undefined;
  return wideFieldPiece(conversion.letter, offset);
}

function wideFieldPiece(letter: string, offset: number): PrintPiece | undefined {
  switch (letter) {
    case "x":
      return (c, out) => {
        const at = c.rawOffset + offset;
        out.hex64(c.view.getUint32(at, true), c.view.getUint32(at + 4, true));
      };
    case "u":
      return (c, out) => {
        const at = c.rawOffset + offset;
        out.u64(c.view.getUint32(at, true), c.view.getUint32(at + 4, true));
      };
    case "d":
      return (c, out) => {
        const at = c.rawOffset + offset;
        out.s64(c.view.getUint32(at, true), c.view.getInt32(at + 4, true));
      };
    default:
      return undefined;
  }
}

function characterPiece(conversion: Conversion, evaluate: IntEval): PrintPiece {
  const byte = new Uint8Array(1);
  return (c: EvalContext, out: ByteWriter) => {
    byte[0] = evaluate(c);
    out.reserve(2048);
    const mark = out.mark();
    // A NUL character ends nothing and shows nothing.
    if (byte[0] !== 0) out.untrusted(byte, 0, 1);
    if (conversion.width > 0) out.padFrom(mark, conversion.width, conversion.isLeft);
  };
}

/** Width and precision of one conversion; a negative width from an argument means "left". */
export interface PrintSize {
  width: number;
  precision: number;
  isLeft: boolean;
}

const SIZE: PrintSize = { width: -1, precision: -1, isLeft: false };

/** The sizes for this record; the result is only good until the next call. */
export function readSize(
  conversion: Conversion,
  c: EvalContext,
  width: IntEval | undefined,
  precision: IntEval | undefined,
): PrintSize {
  SIZE.isLeft = conversion.isLeft;
  SIZE.width = conversion.width;
  SIZE.precision = conversion.precision;
  if (width !== undefined) {
    // int arguments: the low word is all of it.
    const value = width(c);
    SIZE.width = clampWidth(Math.abs(value));
    if (value < 0) SIZE.isLeft = true;
  }
  if (precision !== undefined) {
    const value = precision(c);
    SIZE.precision = value < 0 ? -1 : value;
  }
  return SIZE;
}
