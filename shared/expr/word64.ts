// 64-bit integer operations on pairs of 32-bit words, without BigInt on the usual path.
//
// An operation returns the low word of the result and leaves the high one in `out.hi`; all words
// are signed 32-bit integers, which JavaScript engines keep in registers. Results wrap as in C with
// -fwrapv; see ir.ts for what division by zero and over-wide shifts give.

/** Receives the high word, and counts the operations that C leaves undefined. */
export interface Word64Out {
  hi: number;
  undefinedCount: number;
}

const TWO_32 = 4294967296;
/** Below this an integer is exact as a double. */
const EXACT_HI = 0x200000;

export function add64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  const lo = (aLo + bLo) | 0;
  // The low words carried when the sum, as unsigned, is below an operand.
  out.hi = (aHi + bHi + (lo >>> 0 < aLo >>> 0 ? 1 : 0)) | 0;
  return lo;
}

export function sub64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  out.hi = (aHi - bHi - (aLo >>> 0 < bLo >>> 0 ? 1 : 0)) | 0;
  return (aLo - bLo) | 0;
}

export function mul64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  // The 64-bit product of the low words from 16-bit halves: every partial sum stays below 2^53.
  const a0 = aLo & 0xffff;
  const a1 = aLo >>> 16;
  const b0 = bLo & 0xffff;
  const b1 = bLo >>> 16;
  const low = a0 * b0;
  const middle = a1 * b0 + Math.floor(low / 65536);
  const middleLow = (middle % 65536) + a0 * b1;
  const high = a1 * b1 + Math.floor(middle / 65536) + Math.floor(middleLow / 65536);
  out.hi = (high + Math.imul(aLo, bHi) + Math.imul(aHi, bLo)) | 0;
  return Math.imul(aLo, bLo);
}

/** Shift counts are unsigned 64-bit: everything from 64 on moves all bits out. */
export function shl64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  if (bHi !== 0 || bLo >>> 0 > 63) {
    out.undefinedCount++;
    out.hi = 0;
    return 0;
  }
  if (bLo >= 32) {
    out.hi = aLo << (bLo - 32);
    return 0;
  }
  // A JavaScript shift by 32 is one by 0, so 0 needs a case of its own.
  out.hi = bLo === 0 ? aHi : (aHi << bLo) | (aLo >>> (32 - bLo));
  return aLo << bLo;
}

export function shrU64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  if (bHi !== 0 || bLo >>> 0 > 63) {
    out.undefinedCount++;
    out.hi = 0;
    return 0;
  }
  if (bLo >= 32) {
    out.hi = 0;
    return (aHi >>> (bLo - 32)) | 0;
  }
  out.hi = (aHi >>> bLo) | 0;
  return bLo === 0 ? aLo : (aLo >>> bLo) | (aHi << (32 - bLo));
}

export function shrS64(out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number): number {
  if (bHi !== 0 || bLo >>> 0 > 63) {
    out.undefinedCount++;
    out.hi = aHi >> 31;
    return aHi >> 31;
  }
  if (bLo >= 32) {
    out.hi = aHi >> 31;
    return aHi >> (bLo - 32);
  }
  out.hi = aHi >> bLo;
  return bLo === 0 ? aLo : (aLo >>> bLo) | (aHi << (32 - bLo));
}

/** Quotient, or remainder when `isRemainder`, of unsigned operands. */
export function divU64(
  out: Word64Out,
  aLo: number,
  aHi: number,
  bLo: number,
  bHi: number,
  isRemainder: boolean,
): number {
  if ((bLo | bHi) === 0) {
    out.undefinedCount++;
    out.hi = 0;
    return 0;
  }
  if (aHi >>> 0 < EXACT_HI && bHi >>> 0 < EXACT_HI) {
    return fromDouble(out, divide(toDouble(aLo, aHi), toDouble(bLo, bHi), isRemainder));
  }
  const a = BigInt.asUintN(64, toBigInt(aLo, aHi));
  const b = BigInt.asUintN(64, toBigInt(bLo, bHi));
  return fromBigInt(out, isRemainder ? a % b : a / b);
}

/** Quotient rounded towards zero, or remainder with the sign of the dividend. */
export function divS64(
  out: Word64Out,
  aLo: number,
  aHi: number,
  bLo: number,
  bHi: number,
  isRemainder: boolean,
): number {
  if ((bLo | bHi) === 0) {
    out.undefinedCount++;
    out.hi = 0;
    return 0;
  }
  if (isExactSigned(aHi) && isExactSigned(bHi)) {
    const quotient = divide(toSignedDouble(aLo, aHi), toSignedDouble(bLo, bHi), isRemainder);
    return fromDouble(out, quotient);
  }
  const a = toBigInt(aLo, aHi);
  const b = toBigInt(bLo, bHi);
  if (b === -1n && aLo === 0 && aHi === -0x80000000) out.undefinedCount++;
  return fromBigInt(out, BigInt.asIntN(64, isRemainder ? a % b : a / b));
}

/** Exact: a double quotient of integers below 2^53 truncates to the true one. */
function divide(a: number, b: number, isRemainder: boolean): number {
  // Adding 0 turns -0 into 0.
  return (isRemainder ? a % b : Math.trunc(a / b)) + 0;
}

function isExactSigned(hi: number): boolean {
  return hi >= -EXACT_HI && hi < EXACT_HI;
}

/** The pair as an unsigned number; exact while below 2^53. */
export function toDouble(lo: number, hi: number): number {
  return (hi >>> 0) * TWO_32 + (lo >>> 0);
}

/** The pair as a signed number; exact within 2^53 of zero. */
export function toSignedDouble(lo: number, hi: number): number {
  return hi * TWO_32 + (lo >>> 0);
}

/** An integer within 2^53 of zero as a pair. */
export function fromDouble(out: Word64Out, value: number): number {
  out.hi = Math.floor(value / TWO_32) | 0;
  return value | 0;
}

/** The pair as a signed BigInt. */
export function toBigInt(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo >>> 0);
}

function fromBigInt(out: Word64Out, value: bigint): number {
  out.hi = Number(BigInt.asIntN(32, value >> 32n));
  return Number(BigInt.asIntN(32, value));
}

export function lessS64(aLo: number, aHi: number, bLo: number, bHi: number): boolean {
  return aHi === bHi ? aLo >>> 0 < bLo >>> 0 : aHi < bHi;
}

export function lessU64(aLo: number, aHi: number, bLo: number, bHi: number): boolean {
  return aHi === bHi ? aLo >>> 0 < bLo >>> 0 : aHi >>> 0 < bHi >>> 0;
}
