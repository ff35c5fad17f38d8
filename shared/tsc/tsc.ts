/**
 * Clock values at set-up rates (branded bigints), and their deltas at event rates (doubles).
 *
 * A raw TSC or perf time never becomes a JS number: it passes 2^53 after weeks. Per event only the
 * distance from an anchor is used, computed from two u32 halves, which is exact below 2^53:
 *
 *   hi        lo                       anchor        value
 *   [u32]     [u32]              ---------|-------------|------->  64-bit clock, wraps at 2^64
 *                                         |<-- delta -->|          double, exact to 2^53
 *
 * 2^53 cycles are 34 days at 3 GHz, counted from the anchor and not from the machine's boot.
 */

declare const hostTscBrand: unique symbol;
declare const guestTscBrand: unique symbol;
declare const nsBrand: unique symbol;

/** A reading of the host's TSC, 0 to 2^64-1. */
export type HostTsc = bigint & { readonly [hostTscBrand]: true };
/** A reading of a guest's TSC, 0 to 2^64-1. */
export type GuestTsc = bigint & { readonly [guestTscBrand]: true };
/** A reading of a nanosecond clock (perf time, CLOCK_MONOTONIC_RAW), 0 to 2^64-1. */
export type Ns = bigint & { readonly [nsBrand]: true };

/** Weight of the high half of a 64-bit value. */
export const TWO_32 = 4294967296;
/** Deltas from an anchor are exact doubles below this. */
export const EXACT_DELTA_MAX = 2 ** 53;

const U64_MAX = (1n << 64n) - 1n;

function checkedU64(raw: bigint, what: string): bigint {
  if (raw < 0n || raw > U64_MAX) {
    throw new RangeError(`Cannot take a ${what}: value is ${raw}, wants 0 to 2^64-1`);
  }
  return raw;
}

/** The only constructor of HostTsc. Throws RangeError outside u64. */
export function hostTsc(raw: bigint): HostTsc {
  return checkedU64(raw, "host TSC") as HostTsc;
}

/** The only constructor of GuestTsc. Throws RangeError outside u64. */
export function guestTsc(raw: bigint): GuestTsc {
  return checkedU64(raw, "guest TSC") as GuestTsc;
}

/** The only constructor of Ns. Throws RangeError outside u64. */
export function ns(raw: bigint): Ns {
  return checkedU64(raw, "clock reading") as Ns;
}

/** The low u32 half of a 64-bit value (two's complement for negative ones). */
export function lowHalf(value: bigint): number {
  return Number(BigInt.asUintN(32, value));
}

/** The high u32 half of a 64-bit value (two's complement for negative ones). */
export function highHalf(value: bigint): number {
  return Number(BigInt.asUintN(32, value >> 32n));
}

/** The 64-bit value of two u32 halves. */
export function joinHalves(lo: number, hi: number): bigint {
  return (BigInt(hi) << 32n) | BigInt(lo);
}

/**
 * value - base on a clock that wraps at 2^64, from u32 halves; for hot paths. The result is exact
 * while it lies within +-2^53. `| 0` takes the high difference modulo 2^32 as signed, so that a
 * guest TSC that passes 2^64 (a negative TSC offset near guest boot) keeps counting.
 */
export function deltaFromBase(lo: number, hi: number, baseLo: number, baseHi: number): number {
  return ((hi - baseHi) | 0) * TWO_32 + (lo - baseLo);
}

/** value - anchor on a clock that wraps at 2^64, in -2^63 to 2^63-1. */
export function wrappedDelta(value: bigint, anchor: bigint): bigint {
  return BigInt.asIntN(64, value - anchor);
}

/** As wrappedDelta, as an exact double. Throws RangeError beyond 2^53. */
export function exactDelta(value: bigint, anchor: bigint): number {
  const delta = Number(wrappedDelta(value, anchor));
  if (Math.abs(delta) > EXACT_DELTA_MAX) {
    throw new RangeError(
      `Cannot express ${value} from anchor ${anchor}: distance is ${delta}, wants at most 2^53`,
    );
  }
  return delta;
}
