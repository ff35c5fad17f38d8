/**
 * Readings of the clock over all the time that a flight recorder's rings may reach back to, in
 * bounded memory: the older, the fewer.
 *
 *   ago     1 h      30 min       10 min   5 min   2 min  1 min 30 s 10 s now
 *           |          |            |        |       |      |    |    |  |||
 *
 * A dump's events are of the past, of minutes or hours. Each lies between two readings, and the
 * host converts its stamp by a line that both bound.
 */
import type { ClockSample } from "../../shared/wire/gen/vmspan/v1/channel.ts";

/**
 * Readings kept: at one in ten seconds the last five minutes in full, and thinned out for years.
 */
export const READINGS_MAX = 64;
/** Of these the newest are never thinned out. */
const RECENT = 32;

export class ClockHistory {
  readonly #readings: ClockSample[] = [];

  /** In the order of time. */
  get readings(): readonly ClockSample[] {
    return this.#readings;
  }

  /** Those taken after this TSC. */
  since(tsc: bigint): readonly ClockSample[] {
    return this.#readings.filter(({ realtimeTsc }) => realtimeTsc > tsc);
  }

  add(sample: ClockSample): void {
    this.#readings.push(sample);
    if (this.#readings.length > READINGS_MAX) this.#readings.splice(this.#leastMissed(), 1);
  }

  /**
   * Of the old readings, but for the very first, the one whose neighbours are closest to each other
   * for their age: what is left stays spread evenly on the scale of age.
   */
  #leastMissed(): number {
    const last = this.#readings.length - 1;
    const between = (i: number, j: number): number =>
      Number(this.#readings[j]!.realtimeTsc - this.#readings[i]!.realtimeTsc);
    let best = 1;
    let least = Infinity;
    for (let i = 1; i <= last - RECENT; i++) {
      const share = between(i - 1, i + 1) / Math.max(1, between(i, last));
      if (share < least) [least, best] = [share, i];
    }
    return best;
  }
}
