/**
 * The host's own clocks on its TSC: CLOCK_MONOTONIC_RAW, which gives cycles their length in seconds
 * and fits the stamps of rings that have no exact conversion, and the time of day for display.
 */

import { isolatedCpus, onlineCpus, readClocksource } from "../../shared/event/machine.ts";
import { CLOCK_MONOTONIC_RAW, CLOCK_REALTIME } from "../../shared/sys/abi.ts";
import { CpuVisitor } from "../../shared/sys/affinity.ts";
import { type ClockReading, clockBracket } from "../../shared/sys/clock.ts";
import { clocksourceOf } from "../../shared/tsc/clocksource.ts";
import { CpuSkews } from "../../shared/tsc/cpu_skews.ts";
import {
  FIT_READINGS_MIN,
  FittedPerfClock,
  nextReadingDelayMs,
  type TscFrequency,
} from "../../shared/tsc/perf_clock_fit.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import type { WallPoint } from "./guest_clock.ts";
import { isTimeLineOver } from "./time_line.ts";

/** Between two looks at the other CPUs: each visit takes a CPU from its work for some 20 us. */
const SWEEP_MS = 60_000;
/** CPUs that one look takes in; the next one goes on from there. */
const SWEEP_CPUS_MAX = 64;
/** A reading keeps the narrowest bracket of this many; each takes some 60 ns. */
const ROUNDS = 32;

export class HostClock {
  readonly fit: FittedPerfClock;
  readonly #anchor: bigint;
  #isAtEnd = false;
  /** The TSCs of the other CPUs against that of the one whose readings are fitted. */
  readonly skews = new CpuSkews();
  readonly referenceCpu: number;
  /** Grows with each reading. */
  version = 0;
  wall: WallPoint;
  /** CLOCK_MONOTONIC_RAW at some TSC: what the time column shows. */
  raw: WallPoint;
  readonly #visitor = new CpuVisitor(isolatedCpus());
  readonly #others: readonly number[];
  #nextMs = 0;
  #nextSweepMs = 0;
  /** Readings before the last step: after one the rate has to be found again, and soon. */
  #readingsBefore = 0;
  #swept = 0;

  /** Cycles count from the absolute host TSC `anchor`. */
  constructor(anchor: bigint) {
    const [reference = 0, ...others] = onlineCpus().filter((cpu) => this.#visitor.mayVisit(cpu));
    this.referenceCpu = reference;
    this.#others = others;
    this.#anchor = anchor;
    this.fit = new FittedPerfClock(anchor, clocksourceOf(readClocksource()));
    this.wall = HostClock.#point(CLOCK_REALTIME);
    this.raw = HostClock.#point(CLOCK_MONOTONIC_RAW);
  }

  static #point(clockId: number): WallPoint {
    const { tscBefore, ns, tscAfter } = clockBracket(clockId, 4);
    return { tsc: (tscBefore + tscAfter) / 2n, realtimeNs: ns };
  }

  /** The run has been as long as its times can be counted (time_line.ts): nothing is read now. */
  get isAtEnd(): boolean {
    return this.#isAtEnd;
  }

  get isReady(): boolean {
    return this.fit.readingCount >= FIT_READINGS_MIN;
  }

  /** CLOCK_MONOTONIC_RAW of any CPU to the TSC, wider where the CPUs' TSCs are apart. */
  get map(): TimeMap {
    const { skews } = this;
    return skews.mapFor(this.referenceCpu, this.fit.map, skews.spreadCycles);
  }

  /** |error| of the conversion of any CPU's stamps, in cycles. */
  get boundCycles(): number {
    return this.fit.boundCycles + this.skews.spreadCycles;
  }

  get frequency(): TscFrequency | undefined {
    return this.fit.frequency;
  }

  /** Takes a reading when one is due. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextMs) return;
    const read = (): ClockReading => clockBracket(CLOCK_MONOTONIC_RAW, ROUNDS);
    const reading = this.#visitor.visit(this.referenceCpu, read) ?? read();
    this.#isAtEnd ||= isTimeLineOver(reading.tscAfter, this.#anchor);
    if (this.#isAtEnd) return;
    const outcome = this.fit.add(reading);
    if (outcome === "step") {
      this.skews.reset();
      this.#readingsBefore = this.fit.readingCount - 1;
    } else if (this.isReady) this.skews.renew(this.fit.map);
    if (this.isReady && nowMs >= this.#nextSweepMs) this.#sweep(nowMs, read);
    this.wall = HostClock.#point(CLOCK_REALTIME);
    this.raw = HostClock.#point(CLOCK_MONOTONIC_RAW);
    this.version++;
    this.#nextMs = nowMs + nextReadingDelayMs(this.fit.readingCount - this.#readingsBefore);
  }

  /** A reading on each of the other CPUs that can be had, held against the line. */
  #sweep(nowMs: number, read: () => ClockReading): void {
    this.#nextSweepMs = nowMs + SWEEP_MS;
    const count = Math.min(this.#others.length, SWEEP_CPUS_MAX);
    for (let i = 0; i < count; i++) {
      const cpu = this.#others[this.#swept++ % this.#others.length]!;
      const bracket = this.#visitor.visit(cpu, read);
      if (bracket !== undefined) this.skews.add(cpu, bracket, this.fit.map);
    }
  }
}
