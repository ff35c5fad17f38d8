// Integers as digits, written straight into a byte array: each function returns where it stopped.
//
// 64-bit numbers come as u32 pairs. Decimal goes two digits per division, through a table.

const TWO_32 = 4294967296;
const BILLION = 1000000000;
const ZERO = 0x30;

const HEX_LOWER = asciiTable("0123456789abcdef");
const HEX_UPPER = asciiTable("0123456789ABCDEF");
/** "00" to "99". */
const DIGIT_PAIRS = asciiTable(
  Array.from({ length: 100 }, (_, n) => String(n).padStart(2, "0")).join(""),
);
/** Digits in reverse order before they are copied; the longest are the 22 of an octal u64. */
const SCRATCH = new Uint8Array(24);

function asciiTable(text: string): Uint8Array {
  return Uint8Array.from(text, (char) => char.charCodeAt(0));
}

/** One byte as two lower-case hexadecimal digits. */
export function writeHexByte(bytes: Uint8Array, at: number, byte: number): number {
  bytes[at] = HEX_LOWER[byte >> 4]!;
  bytes[at + 1] = HEX_LOWER[byte & 15]!;
  return at + 2;
}

/** A u32 in decimal. */
export function writeU32(bytes: Uint8Array, at: number, value: number): number {
  let rest = value >>> 0;
  if (rest < 10) {
    bytes[at] = ZERO + rest;
    return at + 1;
  }
  let count = 0;
  while (rest >= 100) {
    const quotient = (rest / 100) >>> 0;
    const pair = (rest - quotient * 100) * 2;
    SCRATCH[count++] = DIGIT_PAIRS[pair + 1]!;
    SCRATCH[count++] = DIGIT_PAIRS[pair]!;
    rest = quotient;
  }
  if (rest >= 10) {
    SCRATCH[count++] = DIGIT_PAIRS[rest * 2 + 1]!;
    SCRATCH[count++] = DIGIT_PAIRS[rest * 2]!;
  } else {
    SCRATCH[count++] = ZERO + rest;
  }
  return copyReversed(bytes, at, count);
}

/** A non-negative safe integer in decimal. */
export function writeSafe(bytes: Uint8Array, at: number, value: number): number {
  if (value < TWO_32) return writeU32(bytes, at, value);
  const upper = Math.floor(value / BILLION);
  const end = writeSafe(bytes, at, upper);
  return writeNineDigits(bytes, end, value - upper * BILLION);
}

/** An unsigned 64-bit number in decimal. */
export function writeU64(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  const low = lo >>> 0;
  const high = hi >>> 0;
  if (high === 0) return writeU32(bytes, at, low);
  // Below 2^53 a double holds it exactly.
  if (high < 0x200000) return writeSafe(bytes, at, high * TWO_32 + low);
  // Long division by 10^9 in 16-bit steps: each partial dividend is below 10^9 * 2^16 < 2^53.
  const top = Math.floor(high / BILLION);
  const upper = (high - top * BILLION) * 65536 + (low >>> 16);
  const middle = Math.floor(upper / BILLION);
  const lower = (upper - middle * BILLION) * 65536 + (low & 0xffff);
  const bottom = Math.floor(lower / BILLION);
  const end = writeSafe(bytes, at, top * TWO_32 + middle * 65536 + bottom);
  return writeNineDigits(bytes, end, lower - bottom * BILLION);
}

/** An unsigned 64-bit number in hexadecimal, without a prefix. */
export function writeHex64(
  bytes: Uint8Array,
  from: number,
  lo: number,
  hi: number,
  upperCase: boolean,
): number {
  const digits = upperCase ? HEX_UPPER : HEX_LOWER;
  let at = from;
  const word = lo >>> 0;
  let shift = 28;
  if (hi !== 0) {
    const high = hi >>> 0;
    let highShift = (31 - Math.clz32(high)) & ~3;
    for (; highShift >= 0; highShift -= 4) bytes[at++] = digits[(high >>> highShift) & 15]!;
  } else {
    shift = word === 0 ? 0 : (31 - Math.clz32(word)) & ~3;
  }
  for (; shift >= 0; shift -= 4) bytes[at++] = digits[(word >>> shift) & 15]!;
  return at;
}

/** An unsigned 64-bit number in octal, without a prefix. */
export function writeOct64(bytes: Uint8Array, at: number, lo: number, hi: number): number {
  let low = lo >>> 0;
  let high = hi >>> 0;
  let count = 0;
  do {
    SCRATCH[count++] = ZERO + (low & 7);
    low = ((low >>> 3) | (high << 29)) >>> 0;
    high >>>= 3;
  } while (low !== 0 || high !== 0);
  return copyReversed(bytes, at, count);
}

function copyReversed(bytes: Uint8Array, from: number, count: number): number {
  let at = from;
  for (let i = count - 1; i >= 0; i--) bytes[at++] = SCRATCH[i]!;
  return at;
}

/** Below 10^9, with leading zeros. */
function writeNineDigits(bytes: Uint8Array, from: number, value: number): number {
  let at = from + 8;
  let rest = value;
  for (let pair = 0; pair < 4; pair++) {
    const quotient = (rest / 100) >>> 0;
    const index = (rest - quotient * 100) * 2;
    bytes[at--] = DIGIT_PAIRS[index + 1]!;
    bytes[at--] = DIGIT_PAIRS[index]!;
    rest = quotient;
  }
  bytes[at] = ZERO + rest;
  return from + 9;
}
