/**
 * A guest's perf time as guest TSC, from the ClockSamples of its stream: exact or fitted, whichever
 * the guest could offer, with the bound of the conversion. Also the guest's time of day.
 */

import { FittedPerfClock, type TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import type { ClockSample } from "../../shared/wire/gen/vmspan/v1/channel.ts";

/** Readings before a fitted clock is used: two make a line, the third confirms it. */
const READINGS_MIN = 3;

/** A point that ties time of day to a TSC. */
export interface WallPoint {
  readonly tsc: bigint;
  readonly realtimeNs: bigint;
}

export class GuestClock {
  /** Samples that made no sense: a bracket that runs backwards, a conversion by zero. */
  refused = 0;
  /** Grows with each renewal, so that users know when to compose their maps anew. */
  version = 0;
  wall: WallPoint | undefined;
  /** Perf time of the last reading. */
  lastNs = 0n;
  readingCount = 0;
  readonly #targetAnchor: bigint;
  #fitted: FittedPerfClock | undefined;
  #exact: ExactPerfClock | undefined;
  #epoch = 0;

  /** Cycles count from the guest TSC `targetAnchor`. */
  constructor(targetAnchor: bigint) {
    this.#targetAnchor = targetAnchor;
  }

  /** perf ns to guest TSC; undefined until it is known well enough to be used. */
  get map(): TimeMap | undefined {
    const fitted = this.#fitted;
    const isFitted = fitted !== undefined && fitted.readingCount >= READINGS_MIN;
    const map = this.#exact?.map ?? (isFitted ? fitted.map : undefined);
    // A first reading that was refused leaves a clock that knows nothing yet.
    return map?.newest === undefined ? undefined : map;
  }

  get isExact(): boolean {
    return this.#exact !== undefined;
  }

  /** Steps of the relation so far. */
  get epoch(): number {
    return this.#exact?.map.newest?.epoch ?? this.#fitted?.epoch ?? 0;
  }

  /** The guest TSC's rate: by the fit, or by the kernel's own conversion (then without error). */
  get frequency(): TscFrequency | undefined {
    const conversion = this.#exact?.conversion;
    if (conversion === undefined) return this.#fitted?.frequency;
    return { hz: (2 ** conversion.shift / conversion.mult) * 1e9, errorHz: 0 };
  }

  /** |error| of the conversion now, in guest cycles. */
  get boundCycles(): number {
    if (this.#exact !== undefined) return this.#exact.map.newest?.boundCycles ?? Infinity;
    return this.#fitted?.boundCycles ?? Infinity;
  }

  add(sample: ClockSample): void {
    this.wall = { tsc: sample.realtimeTsc, realtimeNs: sample.realtimeNs };
    const { conversion } = sample;
    if (conversion === undefined) {
      this.refused++;
      return;
    }
    try {
      if (conversion.$case === "exact") this.#addExact(conversion.value, sample.realtimeTsc);
      else this.#addFitted(conversion.value, sample.epoch);
      this.version++;
    } catch (error) {
      // Numbers that no clock shows: hostile or broken, and counted. The map stays as it was.
      if (!(error instanceof RangeError)) throw error;
      this.refused++;
    }
  }

  #addExact(
    { timeZero, mult, shift }: { timeZero: bigint; mult: number; shift: number },
    tsc: bigint,
  ): void {
    const conversion = perfConversion(timeZero, mult, shift);
    this.#exact ??= new ExactPerfClock(this.#targetAnchor);
    this.lastNs = perfNsOfTsc(conversion, tsc);
    this.readingCount++;
    this.#exact.update(conversion, this.lastNs);
  }

  #addFitted(
    { tscBefore, perfNs, tscAfter }: { tscBefore: bigint; perfNs: bigint; tscAfter: bigint },
    epoch: number,
  ): void {
    this.#fitted ??= new FittedPerfClock(this.#targetAnchor);
    if (epoch !== this.#epoch) this.#fitted.beginEpoch(perfNs);
    this.#epoch = epoch;
    this.lastNs = perfNs;
    this.readingCount++;
    this.#fitted.add({ tscBefore, ns: perfNs, tscAfter });
  }
}
