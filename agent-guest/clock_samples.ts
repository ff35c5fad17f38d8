/**
 * What relates the rings' stamps to the TSC, taken about once a second: a bracketed reading of the
 * clock, or the kernel's own conversion where it publishes one. The host does the arithmetic.
 *
 * The first readings follow each other quickly, so that a line through them is good soon; the last
 * ones are kept for hosts that attach later.
 */
import type { EventSet } from "../shared/event/event_set.ts";
import { CLOCK_REALTIME } from "../shared/sys/abi.ts";
import { clockBracket } from "../shared/sys/clock.ts";
import type { ClockSample } from "../shared/wire/gen/vmspan/v1/channel.ts";

/** Pauses before the first readings; then STEADY_MS. */
const EARLY_MS = [0, 5, 20, 60, 150, 300];
const STEADY_MS = 1000;
/** Readings kept for late hosts: the oldest goes when a new one comes. */
export const HISTORY_MAX = 16;
/** A reading keeps the narrowest bracket of this many; each takes some 60 ns. */
const ROUNDS = 32;

export class ClockSampler {
  readonly history: ClockSample[] = [];
  readonly #set: EventSet;
  #taken = 0;
  #nextMs = 0;

  constructor(set: EventSet) {
    this.#set = set;
  }

  /** A new reading when one is due. */
  poll(nowMs: number): ClockSample | undefined {
    if (nowMs < this.#nextMs) return undefined;
    this.#taken++;
    this.#nextMs = nowMs + (EARLY_MS[this.#taken] ?? STEADY_MS);
    const sample = this.#take();
    if (this.history.length === HISTORY_MAX) this.history.shift();
    this.history.push(sample);
    return sample;
  }

  /** Milliseconds until the next reading is due. */
  dueInMs(nowMs: number): number {
    return Math.max(0, this.#nextMs - nowMs);
  }

  #take(): ClockSample {
    const realtime = clockBracket(CLOCK_REALTIME, 4);
    return {
      cpu: 0,
      epoch: 0,
      conversion: this.#conversion(),
      realtimeNs: realtime.ns,
      realtimeTsc: (realtime.tscBefore + realtime.tscAfter) / 2n,
    };
  }

  #conversion(): ClockSample["conversion"] {
    const { clock } = this.#set;
    if (clock.source === "exact") {
      const userTime = this.#set.userTime();
      if (userTime === undefined) throw new RangeError("Cannot read the clock: perf withdrew it");
      const { timeZero, timeMult: mult, timeShift: shift } = userTime;
      return { $case: "exact", value: { timeZero, mult, shift } };
    }
    const { tscBefore, ns, tscAfter } = clockBracket(clock.clockId, ROUNDS);
    return { $case: "fitted", value: { tscBefore, perfNs: ns, tscAfter } };
  }
}
