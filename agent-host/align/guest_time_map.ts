/**
 * A guest CPU's perf time as canonical time over a whole session: the guest's clock (perf ns to
 * guest TSC) and the alignment (guest TSC to host cycles) chained, through the steps of either.
 *
 *   perf ns --clock--> guest TSC --alignment--> host cycles since the anchor
 *
 *   clock epoch      0 | 1             a guest's TSC is written (restore, S3): both step, and it
 *   alignment epoch  0   | 1           takes until the next reading of each before that is known
 *   chain            0     | 1         old chain until both have been heard, then the new one
 *
 * A clock that does not run on the TSC (kvm-clock, CLOCK_MONOTONIC_RAW) goes on through a written
 * TSC: the old chain stays true until both of its parts are replaced. If it is the clock that
 * stepped (suspend), the alignment's next readings confirm that nothing else did, and the new chain
 * begins. Between the last reading before and the first after a step, the bound covers the distance
 * of the two chains; where only the TSC stepped that distance is nothing.
 *
 * A clock that does run on the TSC (exact, from the mmap page) steps with it, by itself: there each
 * perf time has its own guest TSC, and the two maps compose by value.
 */
import { startTime, TimeMap } from "../../shared/tsc/time_map.ts";
import {
  boundAt,
  convert,
  segmentDelta,
  type TimeSegment,
  tryCompose,
} from "../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
import type { AlignmentMethod } from "./alignment_description.ts";
import { type ClockStep, stepBetween } from "./clock_step.ts";

/**
 * Readings of the other part after which a step is taken to be of one part alone. The alignment is
 * asked at once; the clock's next reading may have been on its way when the TSC was written.
 */
const CONFIRMING_ALIGNMENTS = 1;
const CONFIRMING_CLOCKS = 2;

/** What is known at a renewal. */
export interface ChainParts {
  /** perf ns to guest TSC. */
  readonly clock: TimeMap;
  /** The clock is the TSC itself, converted (cap_user_time_zero). */
  readonly isClockExact: boolean;
  /** Readings of the clock so far. */
  readonly clockReadings: number;
  /** Perf time of the last of them. */
  readonly clockNs: bigint;
  /** Guest TSC to canonical cycles; undefined while it is being measured (again). */
  readonly alignment: TimeMap | undefined;
  /** Where that comes from: epochs of different sources have nothing to do with each other. */
  readonly alignmentMethod: AlignmentMethod;
  /** Round trips, or readings of debugfs, so far. */
  readonly alignmentReadings: number;
}

interface Link {
  readonly method: AlignmentMethod;
  readonly inner: TimeSegment;
  readonly outer: TimeSegment;
  /** The one after the other. */
  readonly both: TimeSegment;
}

/** A step was seen that is not settled yet. */
interface PendingStep {
  readonly clockReadings: number;
  readonly alignmentReadings: number;
  hasAlignmentStepped: boolean;
  /** Perf time from which the clock's new epoch holds, once the clock has stepped. */
  clockStepNs: bigint | undefined;
}

/**
 * How long after the clock's last reading the old chain is still used: a fitted chain is renewed
 * when that reading comes, an exact clock's when the alignment is, at any time until the next one.
 */
const LATE_NS_FITTED = 100_000_000n;
const LATE_NS_EXACT = 1_100_000_000n;

/** Perf time of one guest CPU to canonical cycles. */
export class GuestTimeMap {
  /** Readings whose two parts were further apart than a double counts: one of them is false. */
  refused = 0;
  #map = new TimeMap();
  #link: Link | undefined;
  #pending: PendingStep | undefined;
  /** Perf time of the last clock reading under the chain in force ... */
  #confirmedNs = 0n;
  /** ... and of the one before the last reading of the alignment, which may be more rare. */
  #alignedNs = 0n;
  #alignmentReadings = -1;
  #clockReadings = -1;
  /** Of an exact clock: its time at the update before the last. */
  #seenNs = 0n;
  #step: ClockStep | undefined;

  /** The chain, empty until both parts are known. A new object for exact clocks at each change. */
  get map(): TimeMap {
    return this.#map;
  }

  /** The alignment that the chain in force was made with: what is known by now may be newer. */
  get alignmentInForce(): TimeSegment | undefined {
    return this.#link?.outer;
  }

  /** A step of one part waits for the other's readings. */
  get isPending(): boolean {
    return this.#pending !== undefined;
  }

  /** The step that the last update() took into the chain, once. */
  takeStep(): ClockStep | undefined {
    const step = this.#step;
    this.#step = undefined;
    return step;
  }

  /** Takes what is new into the chain; true if anything was. */
  update(parts: ChainParts): boolean {
    const { clock, alignment, isClockExact } = parts;
    const inner = clock.newest;
    const outer = alignment?.newest;
    const old = this.#link;
    if (inner === undefined) return false;
    const isRefuted = old !== undefined && outer !== undefined && refutes(inner, outer, old, parts);
    if (old !== undefined && !isClockExact && !isRefuted) this.#noteSteps(inner, outer, old, parts);
    if (alignment === undefined || outer === undefined) return false;
    const pending = isRefuted ? undefined : this.#pending;
    if (pending !== undefined && !isSettled(inner, old!, parts, pending)) return false;
    const both = tryCompose(inner, outer);
    if (both === undefined) return this.#refuse(parts);
    const link = { method: parts.alignmentMethod, inner, outer, both };
    if (isRefuted) return this.#replace(link, old, parts, alignment);
    if (old === undefined || isClockExact) {
      return this.#renewExact(link, old, parts, alignment);
    }
    if (pending === undefined) return this.#refine(link, old, parts);
    const { clockStepNs, hasAlignmentStepped } = pending;
    const confirmed = hasAlignmentStepped ? this.#alignedNs : this.#confirmedNs;
    this.#step = stepOf(old, link, confirmed, parts.clockNs, false);
    this.#map.pushStep(both, confirmed, clockStepNs ?? parts.clockNs);
    return this.#adopt(link, parts);
  }

  /** What held goes on until the two parts are near each other again. */
  #refuse({ clockReadings }: ChainParts): boolean {
    if (clockReadings !== this.#clockReadings) this.refused++;
    this.#clockReadings = clockReadings;
    return false;
  }

  /** What the old chain's source said was never true: all that it has converted is in doubt. */
  #replace(link: Link, old: Link, parts: ChainParts, alignment: TimeMap): boolean {
    const { clock, clockNs, isClockExact } = parts;
    const step = stepOf(old, link, startTime(clock.segments[0]!), clockNs, isClockExact);
    // Its CPUs may have been off from each other.
    this.#step = { ...step, fromCycles: -Infinity, isWithin: true };
    this.#map = clock.compose(alignment);
    return this.#adopt(link, parts);
  }

  /** A clock that is the TSC is confirmed by the alignment, up to its time before a reading. */
  #renewExact(link: Link, old: Link | undefined, parts: ChainParts, alignment: TimeMap): boolean {
    const { inner, outer } = link;
    const confirmed = this.#confirmedNs;
    const hasStepped =
      old !== undefined &&
      (inner.epoch !== old.inner.epoch || hasAlignmentStepped(inner, outer, old, parts));
    if (parts.alignmentReadings !== this.#alignmentReadings) {
      this.#alignmentReadings = parts.alignmentReadings;
      this.#confirmedNs = this.#seenNs;
    }
    this.#seenNs = parts.clockNs;
    if (old?.inner === inner && old.outer === outer) return false;
    if (hasStepped) this.#step = stepOf(old, link, confirmed, parts.clockNs, true);
    this.#map = parts.clock.compose(alignment);
    this.#link = link;
    return true;
  }

  #noteSteps(
    inner: TimeSegment,
    outer: TimeSegment | undefined,
    old: Link,
    parts: ChainParts,
  ): void {
    const { clockReadings, alignmentReadings } = parts;
    const hasClockStepped = inner.epoch !== old.inner.epoch;
    const isOuter = outer !== undefined && hasAlignmentStepped(inner, outer, old, parts);
    if (!hasClockStepped && !isOuter) return;
    this.#pending ??= {
      clockReadings,
      alignmentReadings,
      hasAlignmentStepped: isOuter,
      clockStepNs: undefined,
    };
    this.#pending.hasAlignmentStepped ||= isOuter;
    if (hasClockStepped) this.#pending.clockStepNs ??= startTime(inner);
  }

  /**
   * Better fits of the same two lines, taken when the clock has been read again: a trip may have
   * followed a written TSC that its delays hide, and the clock's next reading tells.
   */
  #refine(link: Link, old: Link, parts: ChainParts): boolean {
    if (parts.clockReadings === this.#clockReadings) return false;
    const isNew = link.inner !== old.inner || link.outer !== old.outer;
    if (isNew) this.#map.push(link.both, this.#confirmedNs);
    this.#adopt(link, parts);
    return isNew;
  }

  #adopt(link: Link, parts: ChainParts): boolean {
    // A trip since the clock's last reading tells that the alignment held after that one, but not
    // that it still did at this one: the guest may have been stopped in between.
    if (parts.alignmentReadings !== this.#alignmentReadings) {
      this.#alignmentReadings = parts.alignmentReadings;
      this.#alignedNs = this.#link === undefined ? parts.clockNs : this.#confirmedNs;
    }
    this.#link = link;
    this.#pending = undefined;
    this.#confirmedNs = parts.clockNs;
    this.#clockReadings = parts.clockReadings;
    return true;
  }
}

/** How far the old chain is from the new one, from `confirmedNs` until the new one is in use. */
function stepOf(
  old: Link,
  link: Link,
  confirmedNs: bigint,
  lastNs: bigint,
  isExact: boolean,
): ClockStep {
  const lateNs = isExact ? LATE_NS_EXACT : LATE_NS_FITTED;
  const isWithin = isExact || link.inner.epoch !== old.inner.epoch;
  return stepBetween(old.both, link.both, { confirmedNs, lastNs, lateNs }, isWithin);
}

/** Whether it is known which parts have stepped: both, or one and the other has been heard. */
function isSettled(
  inner: TimeSegment,
  old: Link,
  parts: ChainParts,
  pending: PendingStep,
): boolean {
  const hasClockStepped = inner.epoch !== old.inner.epoch;
  if (hasClockStepped && pending.hasAlignmentStepped) return true;
  return hasClockStepped
    ? parts.alignmentReadings - pending.alignmentReadings >= CONFIRMING_ALIGNMENTS
    : parts.clockReadings - pending.clockReadings >= CONFIRMING_CLOCKS;
}

/**
 * Another source of the alignment contradicts what debugfs said, which then was never true. What
 * round trips give, and bear out, was true until they say otherwise: a step.
 */
function refutes(inner: TimeSegment, outer: TimeSegment, old: Link, parts: ChainParts): boolean {
  if (old.method !== "kvm" || parts.alignmentMethod === "kvm") return false;
  return isApart(inner, outer, old.outer, parts.clockNs);
}

/** Whether the alignment has stepped; an emulator's clock is left when a trip contradicts it. */
function hasAlignmentStepped(
  inner: TimeSegment,
  outer: TimeSegment,
  old: Link,
  { alignmentMethod, clockNs }: ChainParts,
): boolean {
  if (alignmentMethod === old.method) return outer.epoch !== old.outer.epoch;
  return old.method === "emulator" || isApart(inner, outer, old.outer, clockNs);
}

/** Whether two alignments are further apart than both may be off, at perf time `ns`. */
function isApart(inner: TimeSegment, a: TimeSegment, b: TimeSegment, ns: bigint): boolean {
  const cycles = Math.round(convert(inner, lowHalf(ns), highHalf(ns)));
  const tsc = inner.targetAnchor + BigInt(cycles);
  const [lo, hi] = [lowHalf(tsc), highHalf(tsc)];
  const bound = (line: TimeSegment): number => boundAt(line, segmentDelta(line, lo, hi));
  return Math.abs(convert(a, lo, hi) - convert(b, lo, hi)) > bound(a) + bound(b);
}
