/**
 * The clock of a flight recorder: read for as long as it records, and told to each receiver from
 * where that one has it.
 *
 *   ready      1st 2nd 3rd ...        close to each other, until they make a line
 *   recording  every 10 s             a dump reaches back over them
 *   dump       one more               its newest events lie before it
 */
import type { EventSet } from "../../shared/event/event_set.ts";
import type { ClockSample } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { type ClockSampler, clockSamplerOf } from "../clock_samples.ts";
import { ClockHistory } from "./clock_history.ts";

/** Pause between readings, once there are enough for a line. */
const CLOCK_MS = 10_000;

export class FlightClock {
  readonly #sampler: ClockSampler;
  readonly #history = new ClockHistory();
  #nextMs = 0;

  constructor(set: EventSet) {
    this.#sampler = clockSamplerOf(set);
  }

  /** Milliseconds until tick() has something to do. */
  dueInMs(nowMs: number): number {
    return Math.max(0, this.#nextMs - nowMs);
  }

  /**
   * Reads it when that is due. Gives whether receivers are to be told at once: one that came early
   * needs enough of them for a line, or it is not ready for a dump.
   */
  tick(nowMs: number): boolean {
    if (nowMs < this.#nextMs) return false;
    const wasSettled = this.#sampler.isSettled;
    for (const sample of this.#sampler.poll(nowMs)) {
      // Of the other CPUs only what the sampler itself keeps: the line is the reference's.
      if (sample.cpu === this.#sampler.reference) this.#history.add(sample);
    }
    this.#nextMs = nowMs + (this.#sampler.isSettled ? CLOCK_MS : this.#sampler.dueInMs(nowMs));
    return !wasSettled;
  }

  /** Reads it, for a dump of what was recorded until now. */
  readNow(nowMs: number): void {
    this.#nextMs = nowMs + CLOCK_MS;
    for (const sample of this.#sampler.takeNow()) this.#history.add(sample);
  }

  /** The readings after this TSC that are kept. */
  since(tsc: bigint): readonly ClockSample[] {
    return this.#history.since(tsc);
  }
}
