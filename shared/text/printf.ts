// printf conversions: what stands between % and its letter, and integers written accordingly.
//
//   parsePrintf('"pid=%-5d %#llx %pISpc %.*s"')  ->  literals and conversions in order
//   writeInteger(out, conversion, lo, hi, width, precision)
//
// Integers come as u32 pairs and go into a ByteWriter as glibc's printf would write them. The
// letters behind %p (%pS, %pI4, ...) are the kernel's; they are taken along and mean nothing here.

import type { ByteWriter } from "./byte_writer.ts";

/** Widths and precisions above this count as this: the format may come from a guest. */
export const PRINTF_WIDTH_MAX = 1024;
/** Literals and conversions of one format. */
export const PRINTF_PIECES_MAX = 4096;

/** How many bits of an integer argument count. */
export type PrintfBits = 8 | 16 | 32 | 64;

export interface Conversion {
  readonly isLeft: boolean;
  readonly isZeroPadded: boolean;
  readonly hasPlus: boolean;
  readonly hasSpace: boolean;
  /** `#`: 0x and 0 in front of hexadecimal and octal. */
  readonly isAlternate: boolean;
  /** -1 when there is none. */
  readonly width: number;
  readonly precision: number;
  /** `*`: the width, or the precision, is an argument. */
  readonly isWidthArgument: boolean;
  readonly isPrecisionArgument: boolean;
  readonly bits: PrintfBits;
  /** d i u x X o c s p */
  readonly letter: string;
  /** The kernel's letters behind p: "S", "I4", "ISpc"; empty for other letters. */
  readonly suffix: string;
}

export type PrintfPiece =
  | { readonly kind: "literal"; readonly bytes: Uint8Array }
  | { readonly kind: "conversion"; readonly conversion: Conversion };

const PERCENT = 0x25;
const LETTERS = new Set("diuxXocsp");
/** Behind %p in the order of the kernel's own list; the longest first. */
const POINTER_SUFFIX =
  /^(?:[FfSsB]R?|[Mm][RF]?|[Ii]S[pfschnlb]{0,5}|[Ii]4[hnlb]?|[Ii]6c?|U[LlBb]?|h[CDN]?|bl?|a[pd]?|NF|E[achnops]*|[Kx])/;

/**
 * Splits a format into literals and conversions; %% is literal text. Throws RangeError on too many.
 */
export function parsePrintf(format: Uint8Array): PrintfPiece[] {
  const pieces: PrintfPiece[] = [];
  const literal: number[] = [];
  const flushLiteral = (): void => {
    if (literal.length > 0) pieces.push({ kind: "literal", bytes: Uint8Array.from(literal) });
    literal.length = 0;
  };
  let at = 0;
  while (at < format.length) {
    const byte = format[at++]!;
    if (byte !== PERCENT) {
      literal.push(byte);
      continue;
    }
    if (format[at] === PERCENT) {
      literal.push(PERCENT);
      at++;
      continue;
    }
    const found = parseConversion(format, at);
    if (found.conversion === undefined) {
      // As libtraceevent marks a conversion that it does not know.
      literal.push(...Array.from(`>${found.letter}<`, (char) => char.charCodeAt(0)));
    } else {
      flushLiteral();
      pieces.push({ kind: "conversion", conversion: found.conversion });
    }
    at = found.end;
    if (pieces.length > PRINTF_PIECES_MAX) {
      throw new RangeError(`Cannot use a format: more than ${PRINTF_PIECES_MAX} pieces`);
    }
  }
  flushLiteral();
  return pieces;
}

interface FoundConversion {
  readonly conversion: Conversion | undefined;
  readonly letter: string;
  readonly end: number;
}

function parseConversion(format: Uint8Array, from: number): FoundConversion {
  // Long enough for any sane conversion; what is longer ends as an unknown one.
  const text = String.fromCharCode(...format.subarray(from, from + 48));
  const match = /^([-+ #0]*)(\*|\d+)?(?:\.(\*|\d*))?(hh|h|ll|l|L|q|j|z|Z|t)?([A-Za-z])/.exec(text);
  const letter = match?.[5] ?? "";
  if (match === null || !LETTERS.has(letter)) {
    const unknown = letter === "" ? (text[0] ?? "") : letter;
    return {
      conversion: undefined,
      letter: /[\x20-\x7e]/.test(unknown) ? unknown : "?",
      end: Math.min(format.length, from + Math.max(1, match?.[0].length ?? 1)),
    };
  }
  const [whole, flags = "", width, precision, length] = match;
  const suffix = letter === "p" ? (POINTER_SUFFIX.exec(text.slice(whole.length))?.[0] ?? "") : "";
  const conversion: Conversion = {
    isLeft: flags.includes("-"),
    isZeroPadded: flags.includes("0"),
    hasPlus: flags.includes("+"),
    hasSpace: flags.includes(" "),
    isAlternate: flags.includes("#"),
    width: width === undefined || width === "*" ? -1 : clampWidth(Number(width)),
    precision:
      precision === undefined || precision === "*" ? -1 : clampWidth(Number(precision || "0")),
    isWidthArgument: width === "*",
    isPrecisionArgument: precision === "*",
    bits: bitsOf(length),
    letter,
    suffix,
  };
  return { conversion, letter, end: from + whole.length + suffix.length };
}

function bitsOf(length: string | undefined): PrintfBits {
  if (length === undefined) return 32;
  if (length === "hh") return 8;
  return length === "h" ? 16 : 64;
}

/** Keeps a width or precision within the limit. */
export function clampWidth(width: number): number {
  return Math.min(width, PRINTF_WIDTH_MAX);
}

/** The low bits of a number as a pair, extended as the conversion's letter wants it. */
export function isSignedLetter(letter: string): boolean {
  return letter === "d" || letter === "i";
}

/**
 * Writes an integer as `conversion` says. The pair has the full 64 bits: it is cut to
 * `conversion.bits` here. `width` and `precision` are -1 for none, a negative width from an
 * argument having been turned into `isLeft` by the caller.
 */
export function writeInteger(
  out: ByteWriter,
  conversion: Conversion,
  lo: number,
  hi: number,
  width: number,
  precision: number,
  isLeft: boolean = conversion.isLeft,
): void {
  out.reserve(2 * PRINTF_WIDTH_MAX + 64);
  const mark = out.mark();
  const { letter, bits } = conversion;
  let low = lo | 0;
  let high = hi | 0;
  if (bits < 64) {
    const shift = 32 - bits;
    low = isSignedLetter(letter) ? (low << shift) >> shift : ((low << shift) >>> shift) | 0;
    high = isSignedLetter(letter) ? low >> 31 : 0;
  }
  if (isSignedLetter(letter)) {
    if (high < 0) {
      out.u8(0x2d);
      low = -low | 0;
      high = (~high + (low === 0 ? 1 : 0)) | 0;
    } else if (conversion.hasPlus) out.u8(0x2b);
    else if (conversion.hasSpace) out.u8(0x20);
  }
  const isZero = (low | high) === 0;
  const isHex = letter === "x" || letter === "X";
  if (conversion.isAlternate && isHex && !isZero) out.ascii(letter === "x" ? "0x" : "0X");
  const digitsMark = out.mark();
  // C prints no digits at all for a zero with precision zero.
  if (!(isZero && precision === 0)) writeDigits(out, letter, low, high);
  if (precision >= 0) out.padFrom(digitsMark, clampWidth(precision), false, 0x30);
  if (conversion.isAlternate && letter === "o") alternateOctal(out, digitsMark, isZero);
  if (width < 0) return;
  if (isLeft) out.padFrom(mark, width, true);
  else if (conversion.isZeroPadded && precision < 0) {
    out.padFrom(digitsMark, width - (digitsMark - mark), false, 0x30);
  } else out.padFrom(mark, width, false);
}

function writeDigits(out: ByteWriter, letter: string, lo: number, hi: number): void {
  switch (letter) {
    case "x":
      out.hex64(lo, hi);
      return;
    case "X":
      out.hex64(lo, hi, true);
      return;
    case "o":
      out.oct64(lo, hi);
      return;
    default:
      out.u64(lo, hi);
  }
}

/** `#o`: one zero in front, unless there is one. */
function alternateOctal(out: ByteWriter, digitsMark: number, isZero: boolean): void {
  const count = out.mark() - digitsMark;
  const first = out.bytes[out.length - count];
  if (count === 0 || (!isZero && first !== 0x30)) out.padFrom(digitsMark, count + 1, false, 0x30);
}
