/**
 * perf time to TSC where the kernel does not tell: events are stamped with CLOCK_MONOTONIC_RAW
 * (use_clockid), which runs at a constant rate against the TSC, and the relation is measured by
 * bracketed readings:
 *
 *   TSC  ----[tscBefore]-----------[tscAfter]---->      at some TSC of the bracket the clock
 *                  \  clock_gettime  /                  changed to, or still showed, `ns`
 *   RAW  --------------[ns, ns + 1)-------------->
 *
 * Each bracket is a constraint on the line TSC = a + b * ns (line_bounds.ts); with brackets of 120
 * cycles the bound settles near half a bracket plus half a nanosecond. CLOCK_MONOTONIC_RAW is never
 * slewed, so the line is straight where the clocksource is the TSC. Where it is not (a hypervisor
 * that updates the clock page of its guest by some ns, an emulator that moves its TSC on), the
 * noise found is part of the bound, and so is what one bracket can hide; a step begins a new epoch.
 */
import { type Clocksource, TSC_CLOCKSOURCE } from "./clocksource.ts";
import type { ConstraintOutcome } from "./line_tracker.ts";
import type { PerfClock } from "./perf_to_tsc.ts";
import type { TimeMap } from "./time_map.ts";
import { TrackedMap } from "./tracked_map.ts";

/** The clock showed `ns` at some TSC from tscBefore to tscAfter. */
export interface ClockBracket {
  readonly tscBefore: bigint;
  readonly ns: bigint;
  readonly tscAfter: bigint;
}

/** A measured frequency; the true one is within +-errorHz. */
export interface TscFrequency {
  readonly hz: number;
  readonly errorHz: number;
}

/** Any TSC ticks between these rates, in cycles per ns; measuring does the rest. */
const CYCLES_PER_NS_MIN = 0.05;
const CYCLES_PER_NS_MAX = 10;
/** Readings older than two of these are forgotten. */
const GENERATION_NS = 120_000_000_000;
/** Readings are renewed every second; the segment is made for two, in case one comes late. */
const HORIZON_NS = 2_000_000_000;
/** A jump shows in the narrowest of so many readings: a wider one was disturbed. */
const UNSEEN_READINGS = 4;
/** What is unseen follows the brackets' width in steps of this, so that segments last. */
const UNSEEN_STEP = 1.25;
/** More contradiction (2 us at 3 GHz) is a step of the clock and not its noise. */
const NOISE_CYCLES_MAX = 6_000;
/** A wider bracket says nothing, and only a hostile sender's arithmetic gets here. */
const BRACKET_CYCLES_MAX = 1_000_000_000n;

/** Readings before a fit is used: two make a line, the third confirms it. */
export const FIT_READINGS_MIN = 3;

const READING_DELAY_MS_FIRST = 1;
const READING_DELAY_MS_MAX = 1_000;

/** Pause before the next reading, after `count` of them: 1, 2, 4 ... 512 ms, then every second. */
export function nextReadingDelayMs(count: number): number {
  const doubled = READING_DELAY_MS_FIRST * 2 ** Math.min(Math.max(count - 1, 0), 10);
  return Math.min(doubled, READING_DELAY_MS_MAX);
}

/** The perf clock of rings opened with use_clockid, fitted to the TSC. */
export class FittedPerfClock implements PerfClock {
  readonly #tracked: TrackedMap;
  readonly #mayJump: boolean;
  /** Of the last readings, UNSEEN_READINGS at most. */
  readonly #widths: number[] = [];
  /** Of the last reading. */
  lastNs = 0n;
  /** Readings that could not be true brackets: after before before, or absurdly wide. */
  refusedCount = 0;
  readingCount = 0;
  /**
   * The TSC's rate by this clock, undefined before two readings. After a step it is what it was
   * until there are two again.
   */
  frequency: TscFrequency | undefined;

  /** Cycles count from the absolute TSC `targetAnchor`, or from an anchor of each segment. */
  constructor(targetAnchor?: bigint, clocksource: Clocksource = TSC_CLOCKSOURCE) {
    this.#mayJump = !clocksource.isTsc;
    this.#tracked = new TrackedMap({
      slopeMin: CYCLES_PER_NS_MIN,
      slopeMax: CYCLES_PER_NS_MAX,
      generationX: GENERATION_NS,
      noiseMax: NOISE_CYCLES_MAX,
      targetAnchor,
      horizonX: HORIZON_NS,
      granularityX: clocksource.granuleNs,
    });
  }

  get map(): TimeMap {
    return this.#tracked.map;
  }

  /** Steps of the relation so far: suspend, migration, another clocksource. */
  get epoch(): number {
    return this.#tracked.tracker.epoch;
  }

  /** Wander of the clock off its line found so far, in cycles. */
  get noiseCycles(): number {
    return this.#tracked.tracker.noise;
  }

  /** Adds a reading and renews the map when that makes it better. */
  add(bracket: ClockBracket): ConstraintOutcome {
    const width = BigInt.asIntN(64, bracket.tscAfter - bracket.tscBefore);
    if (width < 0n || width > BRACKET_CYCLES_MAX) {
      this.refusedCount++;
      return "agreed";
    }
    this.readingCount++;
    this.lastNs = bracket.ns;
    if (this.#mayJump) this.#noteWidth(Number(width));
    const outcome = this.#tracked.add(bracket.ns, bracket.tscBefore, bracket.tscAfter);
    this.#tracked.refresh(bracket.ns);
    // Until now nobody has used it: events from before the first reading have the better line.
    if (this.readingCount === FIT_READINGS_MIN) this.#tracked.renewPast(bracket.ns);
    this.#measure();
    return outcome;
  }

  /** Who sends the readings says that the relation stepped before the one at `ns`, added next. */
  beginEpoch(ns: bigint): void {
    this.lastNs = ns;
    this.#tracked.restart();
  }

  /** Largest |error| in cycles from the last reading to the next; Infinity before the first. */
  get boundCycles(): number {
    return this.#tracked.boundFrom(this.lastNs);
  }

  /** The clock may jump within a bracket, and none of the lines through all of them tells. */
  #noteWidth(cycles: number): void {
    this.#widths.push(cycles);
    if (this.#widths.length > UNSEEN_READINGS) this.#widths.shift();
    const { tracker } = this.#tracked;
    const narrowest = Math.min(...this.#widths);
    if (narrowest > tracker.unseen || narrowest * UNSEEN_STEP ** 2 < tracker.unseen) {
      tracker.unseen = narrowest * UNSEEN_STEP;
    }
  }

  #measure(): void {
    const { slopeMin, slopeMax, constraintCount } = this.#tracked.tracker;
    if (constraintCount < 2) return;
    const middle = (slopeMin + slopeMax) / 2;
    this.frequency = { hz: middle * 1e9, errorHz: ((slopeMax - slopeMin) / 2) * 1e9 };
  }
}
