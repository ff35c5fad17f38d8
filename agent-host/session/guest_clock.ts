/**
 * A guest's perf time as guest TSC, from the ClockSamples of its stream: exact or fitted, whichever
 * the guest could offer, with the bound of the conversion. Also the guest's time of day.
 */

import type { Clocksource } from "../../shared/tsc/clocksource.ts";
import { CpuSkews } from "../../shared/tsc/cpu_skews.ts";
import {
  FIT_READINGS_MIN,
  FittedPerfClock,
  type TscFrequency,
} from "../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import type { ClockSample } from "../../shared/wire/gen/vmspan/v1/channel.ts";

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
  readonly #targetAnchor: bigint | undefined;
  readonly #clocksource: Clocksource;
  /** The TSCs of its other CPUs against that of the one whose readings are fitted. */
  readonly skews = new CpuSkews();
  /** The CPU whose readings are fitted; undefined before the first. */
  referenceCpu: number | undefined;
  #fitted: FittedPerfClock | undefined;
  #exact: ExactPerfClock | undefined;
  #epoch = 0;

  /**
   * Cycles count from the guest TSC `targetAnchor`; without, from one near each segment: what is
   * chained with another relation may be set as far as it likes.
   */
  constructor(targetAnchor: bigint | undefined, clocksource: Clocksource) {
    this.#targetAnchor = targetAnchor;
    this.#clocksource = clocksource;
  }

  /** perf ns to guest TSC; undefined until it is known well enough to be used. */
  get map(): TimeMap | undefined {
    const fitted = this.#fitted;
    const isFitted = fitted !== undefined && fitted.readingCount >= FIT_READINGS_MIN;
    const map = this.#exact?.map ?? (isFitted ? fitted.map : undefined);
    // A first reading that was refused leaves a clock that knows nothing yet.
    return map?.newest === undefined ? undefined : map;
  }

  /** perf ns to the guest TSC of one CPU. */
  mapFor(cpu: number): TimeMap | undefined {
    return this.map && this.skews.mapFor(cpu, this.map);
  }

  /**
   * perf ns to the guest TSC where one relation to the host's serves all CPUs: the reference CPU's,
   * with as much more bound as the CPUs' TSCs are apart.
   */
  get sharedMap(): TimeMap | undefined {
    const { map, skews, referenceCpu = 0 } = this;
    return map && skews.mapFor(referenceCpu, map, skews.spreadCycles);
  }

  /** Readings that no clock shows, or of more CPUs than any guest has. */
  get refusedReadings(): number {
    return this.refused + this.skews.refusedCount;
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
    // Readings of other CPUs may be older: a host that attaches late gets the last of each.
    if (this.referenceCpu === undefined || sample.cpu === this.referenceCpu) {
      this.wall = { tsc: sample.realtimeTsc, realtimeNs: sample.realtimeNs };
    }
    const { conversion } = sample;
    if (conversion === undefined) {
      this.refused++;
      return;
    }
    try {
      if (conversion.$case === "exact") this.#addExact(conversion.value, sample.realtimeTsc);
      else this.#addFitted(conversion.value, sample);
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

  /** A reading of the reference CPU belongs to the line, one of another CPU is held against it. */
  #addFitted(
    { tscBefore, perfNs, tscAfter }: { tscBefore: bigint; perfNs: bigint; tscAfter: bigint },
    { epoch, cpu }: { epoch: number; cpu: number },
  ): void {
    const bracket = { tscBefore, ns: perfNs, tscAfter };
    const isNewEpoch = epoch !== this.#epoch;
    if (!isNewEpoch && this.referenceCpu !== undefined && cpu !== this.referenceCpu) {
      this.skews.add(cpu, bracket, this.map);
      return;
    }
    this.referenceCpu = cpu;
    this.#fitted ??= new FittedPerfClock(this.#targetAnchor, this.#clocksource);
    if (isNewEpoch) this.#fitted.beginEpoch(perfNs);
    this.#epoch = epoch;
    this.lastNs = perfNs;
    this.readingCount++;
    const outcome = this.#fitted.add(bracket);
    if (isNewEpoch || outcome === "step") this.skews.reset();
    else if (this.map !== undefined) this.skews.renew(this.map);
  }
}
