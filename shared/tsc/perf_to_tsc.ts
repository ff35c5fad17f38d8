/**
 * perf time to TSC where the kernel tells the relation: time_zero, mult and shift of
 * struct perf_event_mmap_page (<linux/perf_event.h>), valid when cap_user_time_zero is set.
 *
 *   time = time_zero + (cyc >> shift) * mult + (((cyc & mask) * mult) >> shift)
 *        = time_zero + floor(cyc * mult / 2^shift)                       modulo 2^64
 *
 * Back: one ns value covers all cycles of [t * 2^shift / mult, (t + 1) * 2^shift / mult), with
 * t = time - time_zero. The segment runs through the middle of these half-open steps, which leaves
 * half a nanosecond of bound:
 *
 *   cyc |        __|    __: cycles that show this ns
 *       |    __| ,'     ,': the segment, originCycles + slope * delta
 *       | __|,'
 *       +------------ ns
 *
 * In doubles: slope = 2^shift / mult is one correctly rounded division, the origin is computed in
 * integers, so a conversion errs by at most AFFINE_ROUNDING of the distance from the anchor (1/64
 * cycle within 1.6 hours at 3 GHz), and the anchor moves on hourly.
 */
import { TimeMap } from "./time_map.ts";
import { baseOf, type TimeSegment, timeSegment } from "./time_segment.ts";
import { exactDelta, wrappedDelta } from "./tsc.ts";

/** The relation as the mmap page states it. */
export interface PerfConversion {
  /** time_zero: u64, often a negative number modulo 2^64. */
  readonly timeZero: bigint;
  /** time_mult: 1 to 2^32-1. */
  readonly mult: number;
  /** time_shift: 0 to 32. */
  readonly shift: number;
}

/** Converts perf time (ns) to TSC cycles since an anchor, per event and with a bound. */
export interface PerfClock {
  readonly map: TimeMap;
}

const SHIFT_MAX = 32;
const MULT_MAX = 2 ** 32 - 1;
/** A segment's anchor is renewed beyond this distance, to keep the rounding of doubles small. */
const ANCHOR_AGE_NS_MAX = 2 ** 42;

/** A conversion of untrusted numbers. Throws RangeError for those that define no clock. */
export function perfConversion(timeZero: bigint, mult: number, shift: number): PerfConversion {
  if (!Number.isInteger(mult) || mult < 1 || mult > MULT_MAX) {
    throw new RangeError(`Cannot convert perf time: mult is ${mult}, wants 1 to 2^32-1`);
  }
  if (!Number.isInteger(shift) || shift < 0 || shift > SHIFT_MAX) {
    throw new RangeError(`Cannot convert perf time: shift is ${shift}, wants 0 to ${SHIFT_MAX}`);
  }
  return { timeZero: BigInt.asUintN(64, timeZero), mult, shift };
}

/** perf time of a TSC reading, by the header's formula. */
export function perfNsOfTsc(conversion: PerfConversion, tsc: bigint): bigint {
  const mult = BigInt(conversion.mult);
  const shift = BigInt(conversion.shift);
  const quotient = tsc >> shift;
  const remainder = tsc & ((1n << shift) - 1n);
  const ns = conversion.timeZero + quotient * mult + ((remainder * mult) >> shift);
  return BigInt.asUintN(64, ns);
}

/** The TSC of a perf time, by the header's inverse: the step's first cycle, rounded down. */
export function tscOfPerfNs(conversion: PerfConversion, ns: bigint): bigint {
  const mult = BigInt(conversion.mult);
  const shift = BigInt(conversion.shift);
  const time = BigInt.asUintN(64, ns - conversion.timeZero);
  const tsc = ((time / mult) << shift) + ((time % mult) << shift) / mult;
  return BigInt.asUintN(64, tsc);
}

/**
 * The conversion as a segment anchored at perf time `base`; cycles count from the absolute TSC
 * `targetAnchor`, or from the TSC at `base`.
 */
export function conversionSegment(
  conversion: PerfConversion,
  base: bigint,
  targetAnchor?: bigint,
  epoch = 0,
): TimeSegment {
  const mult = BigInt(conversion.mult);
  const time = BigInt.asUintN(64, base - conversion.timeZero);
  const scaled = time << BigInt(conversion.shift);
  const fraction = Number(scaled % mult) / conversion.mult;
  const first = BigInt.asUintN(64, scaled / mult);
  const slope = 2 ** conversion.shift / conversion.mult;
  const anchor = targetAnchor ?? first;
  return timeSegment({
    base,
    slope,
    originCycles: exactDelta(first, anchor) + fraction + slope / 2,
    targetAnchor: anchor,
    boundCycles: slope / 2,
    epoch,
  });
}

/** The perf clock of a ring whose mmap page has cap_user_time_zero. */
export class ExactPerfClock implements PerfClock {
  readonly map = new TimeMap();
  readonly #targetAnchor: bigint | undefined;
  #conversion: PerfConversion | undefined;
  /** When the page was read last. */
  lastNs = 0n;
  /** Pages that said something else than the one before. */
  epoch = 0;

  /** Cycles count from the absolute TSC `targetAnchor`, or from an anchor of each segment. */
  constructor(targetAnchor?: bigint) {
    this.#targetAnchor = targetAnchor;
  }

  /** The conversion in force. */
  get conversion(): PerfConversion | undefined {
    return this.#conversion;
  }

  /**
   * The page said `conversion` at perf time `atNs`: call once at first, then at every renewal. A
   * changed page (TSC recalibrated, clock resumed) begins a new epoch. Returns whether it did.
   */
  update(conversion: PerfConversion, atNs: bigint): boolean {
    const old = this.#conversion;
    const confirmed = this.lastNs;
    this.lastNs = atNs;
    if (old !== undefined && isSame(old, conversion)) {
      this.#renewAnchor(conversion, atNs);
      return false;
    }
    this.#conversion = conversion;
    if (old !== undefined) this.epoch++;
    const segment = conversionSegment(conversion, atNs, this.#targetAnchor, this.epoch);
    this.map.pushStep(segment, confirmed, atNs);
    return old !== undefined;
  }

  #renewAnchor(conversion: PerfConversion, atNs: bigint): void {
    const newest = this.map.newest;
    if (newest === undefined) return;
    const age = Number(wrappedDelta(atNs, baseOf(newest)));
    if (Math.abs(age) < ANCHOR_AGE_NS_MAX) return;
    const anchor = this.#targetAnchor;
    this.map.push(conversionSegment(conversion, atNs, anchor, this.epoch), atNs);
  }
}

function isSame(a: PerfConversion, b: PerfConversion): boolean {
  return a.timeZero === b.timeZero && a.mult === b.mult && a.shift === b.shift;
}
