/**
 * The exact relation of a vCPU's TSC to the host's, as KVM computes it (arch/x86/kvm/x86.c,
 * kvm_scale_tsc and kvm_read_l1_tsc), all modulo 2^64 with a 128-bit product:
 *
 *   guest = ((host * ratio) >> frac) + offset        frac: 48 on Intel, 32 on AMD
 *   host  = ceil(((guest - offset) << frac) / ratio)
 *
 * Without TSC control in the CPU there is no ratio, which is the same as ratio = 1 << frac: the
 * relation is then exact to the cycle. With a ratio one guest cycle covers several host cycles, or
 * the other way round, which leaves half such a step of bound:
 *
 *   guest |      __|'        ratio < 1: three host cycles show the same guest TSC
 *         |  __|'
 *         +-------------- host
 */
import { type TimeSegment, timeSegment } from "../../shared/tsc/time_segment.ts";
import {
  exactDelta,
  type GuestTsc,
  guestTsc,
  type HostTsc,
  hostTsc,
} from "../../shared/tsc/tsc.ts";

/** guest = ((host * ratio) >> fracBits) + offset, modulo 2^64. */
export interface TscRelation {
  /** Signed, -2^63 to 2^63-1. */
  readonly offset: bigint;
  /** Guest rate over host rate, with fracBits fraction bits; > 0. */
  readonly ratio: bigint;
  readonly fracBits: number;
}

const FRAC_BITS_MAX = 63;
const U64 = 64;

/**
 * A relation. Without ratio or fraction bits (KVM shows them only where the CPU can scale) guest
 * and host TSC tick at the same rate. Throws RangeError for a ratio that no clock has.
 */
export function tscRelation(offset: bigint, ratio?: bigint, fracBits?: number): TscRelation {
  const signed = BigInt.asIntN(U64, offset);
  if (ratio === undefined || fracBits === undefined) {
    return { offset: signed, ratio: 1n, fracBits: 0 };
  }
  if (!Number.isInteger(fracBits) || fracBits < 0 || fracBits > FRAC_BITS_MAX) {
    throw new RangeError(`Cannot scale a TSC: fraction bits are ${fracBits}, wants 0 to 63`);
  }
  if (ratio <= 0n || ratio >= 1n << 64n) {
    throw new RangeError(`Cannot scale a TSC: ratio is ${ratio}, wants 1 to 2^64-1`);
  }
  return { offset: signed, ratio, fracBits };
}

/** Whether guest and host TSC tick at different rates. */
export function isScaled(relation: TscRelation): boolean {
  return relation.ratio !== 1n << BigInt(relation.fracBits);
}

/** Guest cycles per host cycle. */
export function guestRate(relation: TscRelation): number {
  return Number(relation.ratio) / 2 ** relation.fracBits;
}

/** What rdtsc gives in the guest when it gives `host` on the host. */
export function guestOfHost(relation: TscRelation, host: HostTsc): GuestTsc {
  const scaled = BigInt.asUintN(U64, (host * relation.ratio) >> BigInt(relation.fracBits));
  return guestTsc(BigInt.asUintN(U64, scaled + relation.offset));
}

/** The first host TSC at which the guest's rdtsc gives `guest`, or the next value it does give. */
export function hostOfGuest(relation: TscRelation, guest: GuestTsc): HostTsc {
  const scaled = BigInt.asUintN(U64, guest - relation.offset);
  const shifted = scaled << BigInt(relation.fracBits);
  // Rounded up: rounded down it would be a cycle before the guest shows this value.
  return hostTsc(BigInt.asUintN(U64, (shifted + relation.ratio - 1n) / relation.ratio));
}

/** Guest TSC to host cycles since `hostAnchor`, as a segment anchored at the guest TSC `base`. */
export function guestToHostSegment(
  relation: TscRelation,
  base: GuestTsc,
  hostAnchor: HostTsc,
  epoch = 0,
): TimeSegment {
  const scaled = BigInt.asUintN(U64, base - relation.offset);
  const shifted = scaled << BigInt(relation.fracBits);
  const whole = BigInt.asUintN(U64, shifted / relation.ratio);
  const fraction = Number(shifted % relation.ratio) / Number(relation.ratio);
  const slope = 1 / guestRate(relation);
  // One guest TSC value lasts `slope` host cycles; unscaled values correspond one to one.
  const half = isScaled(relation) ? slope / 2 : 0;
  return timeSegment({
    base,
    slope,
    originCycles: exactDelta(whole, hostAnchor) + fraction + half,
    targetAnchor: hostAnchor,
    boundCycles: half,
    epoch,
  });
}

/** Host TSC to guest cycles since `guestAnchor`, as a segment anchored at the host TSC `base`. */
export function hostToGuestSegment(
  relation: TscRelation,
  base: HostTsc,
  guestAnchor: GuestTsc,
  epoch = 0,
): TimeSegment {
  const product = base * relation.ratio;
  const bits = BigInt(relation.fracBits);
  const fraction = Number(BigInt.asUintN(relation.fracBits, product)) / 2 ** relation.fracBits;
  const guest = BigInt.asUintN(U64, (product >> bits) + relation.offset);
  // The guest sees the product rounded down: half a cycle below the line on average.
  const half = isScaled(relation) ? 0.5 : 0;
  return timeSegment({
    base,
    slope: guestRate(relation),
    originCycles: exactDelta(guest, guestAnchor) + fraction - half,
    targetAnchor: guestAnchor,
    boundCycles: half,
    epoch,
  });
}

/**
 * Reads `--tsc-offset`: guest = host + N modulo 2^64, as 64 bits in hex ("0xffdafd48df582d22") or
 * a decimal, either with a sign. Throws SyntaxError for other text, RangeError beyond 64 bits.
 */
export function parseTscOffset(text: string): bigint {
  const match = /^([+-]?)(0[xX][0-9a-fA-F]+|[0-9]+)$/.exec(text.trim());
  if (match === null) {
    throw new SyntaxError(
      `Cannot read TSC offset ${JSON.stringify(text)}: wants a decimal or 0x number`,
    );
  }
  const magnitude = BigInt(match[2]!);
  const limit = match[1] === "-" ? 1n << 63n : (1n << 64n) - 1n;
  if (magnitude > limit) {
    throw new RangeError(`Cannot read TSC offset ${JSON.stringify(text)}: wants at most 64 bits`);
  }
  return BigInt.asIntN(U64, match[1] === "-" ? -magnitude : magnitude);
}
