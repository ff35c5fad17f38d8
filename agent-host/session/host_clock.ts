/**
 * The host's own clocks on its TSC: CLOCK_MONOTONIC_RAW, which gives cycles their length in seconds
 * and fits the stamps of rings that have no exact conversion, and the time of day for display.
 */
import { CLOCK_MONOTONIC_RAW, CLOCK_REALTIME } from "../../shared/sys/abi.ts";
import { clockBracket } from "../../shared/sys/clock.ts";
import {
  FittedPerfClock,
  nextReadingDelayMs,
  type TscFrequency,
} from "../../shared/tsc/perf_clock_fit.ts";
import type { WallPoint } from "./guest_clock.ts";

/** A reading keeps the narrowest bracket of this many; each takes some 60 ns. */
const ROUNDS = 32;
/** Readings before the fit is used. */
const READINGS_MIN = 3;

export class HostClock {
  readonly fit: FittedPerfClock;
  /** Grows with each reading. */
  version = 0;
  wall: WallPoint;
  /** CLOCK_MONOTONIC_RAW at some TSC: what the time column shows. */
  raw: WallPoint;
  #nextMs = 0;

  /** Cycles count from the absolute host TSC `anchor`. */
  constructor(anchor: bigint) {
    this.fit = new FittedPerfClock(anchor);
    this.wall = HostClock.#point(CLOCK_REALTIME);
    this.raw = HostClock.#point(CLOCK_MONOTONIC_RAW);
  }

  static #point(clockId: number): WallPoint {
    const { tscBefore, ns, tscAfter } = clockBracket(clockId, 4);
    return { tsc: (tscBefore + tscAfter) / 2n, realtimeNs: ns };
  }

  get isReady(): boolean {
    return this.fit.readingCount >= READINGS_MIN;
  }

  get frequency(): TscFrequency | undefined {
    return this.fit.frequency;
  }

  /** Takes a reading when one is due. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    this.fit.add(clockBracket(CLOCK_MONOTONIC_RAW, ROUNDS));
    this.wall = HostClock.#point(CLOCK_REALTIME);
    this.raw = HostClock.#point(CLOCK_MONOTONIC_RAW);
    this.version++;
    this.#nextMs = nowMs + nextReadingDelayMs(this.fit.readingCount);
  }
}
