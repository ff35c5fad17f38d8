// Pairing: events become latencies, the way of perf-prof's multi-trace.
//
//   -e A -e B,C -e D      stages 0, 1, 2       pairs A=>B, A=>C, B=>D, C=>D
//   --cycle               and from the last stage to the first: D=>A
//
// Each event first looks for its predecessor, an event of the stage before with the same key; then
// it waits as one. A newer event of the same stage and key takes the older one's place.
//
// Across machines the clocks agree only within a bound, so an effect can carry an earlier stamp
// than its cause and then comes first. Such an end is remembered without a start; when a start with
// its key follows soon, the two are a pair whose latency is negative. Within the bound it counts as
// 0; beyond it causality is violated: counted, reported, and left out.
//
//   end 10.000 us   start 10.004 us    bound 0.050 us   ->  0 (within the bound)
//   end 10.000 us   start 10.120 us    bound 0.050 us   ->  violation by 0.120 us
//
// Events arrive as runs from the merger. Nothing is allocated per event.

import { VALUE_MAX } from "../../shared/hist/histogram.ts";
import { isSameLine } from "./bound_runs.ts";
import { type Chunk, NO_EVENT } from "./chunk.ts";
import type { ClockBounds } from "./clock_bounds.ts";
import type { ClosestPairs } from "./closest_pairs.ts";
import type { DetailOptions } from "./detail.ts";
import type { Doubt } from "./doubts.ts";
import { EventArena } from "./event_arena.ts";
import { type LatencyRow, LatencyRows } from "./latency_row.ts";
import { LossLog } from "./loss_log.ts";
import { PendingEvents } from "./pending.ts";
import { type SlowPairSink, SlowPairs } from "./slow_pairs.ts";
import { Timeline } from "./timeline.ts";

/** -e options of one analysis. */
export const STAGES_MAX = 64;
/** Ends without a start that are remembered by stage: they matter for microseconds only. */
const ORPHANS_MAX = 1 << 14;
/** An end this many bounds before a start still counts as its effect, as a violation. */
const VIOLATION_BOUNDS = 4;

/** The machine number of the host. */
const HOST = 0;
/** Bits of role=, as in perf-prof: a record may start a pair, end one, or both. */
const ROLE_START = 1;
const ROLE_END = 2;
const ROLE_BOTH = ROLE_START | ROLE_END;

/** What to analyse. Cycles are host TSC cycles. */
export interface PairingOptions {
  /** Indexes of the events of each -e, in order; untraced events are in none. */
  readonly stages: readonly (readonly number[])[];
  /** Indexes of the events whose records say in which roles they act: the role column. */
  readonly withRole?: readonly number[];
  /** The last stage leads to the first. */
  readonly isCycle: boolean;
  /** Rows per key (--perins). */
  readonly isPerInstance: boolean;
  readonly bounds: ClockBounds;
  /** What the machines lost; one of its own by default. */
  readonly losses?: LossLog;
  /** Unpredictable to guests: seeds the hash tables. */
  readonly seed: number;
  /** Latencies above this go to the sink (--than); Infinity for none. */
  readonly thanCycles: number;
  /** Latencies below this go to the sink too (--lower); 0 for none. */
  readonly lowerCycles?: number;
  readonly onSlowPair?: SlowPairSink;
  /** Keeps the pairs that say most about the clocks. */
  readonly closest?: ClosestPairs;
  readonly detail?: DetailOptions;
}

/** What became of the events that found no partner. */
export interface PairingCounters {
  /** Ends without a start. */
  unmatchedEnds: number;
  /** Starts whose key came again before their end. */
  replacedStarts: number;
  /** Starts thrown out because too many waited. */
  evictedStarts: number;
  /** Starts that wait now. */
  waitingStarts: number;
  /** Start events that had to be forgotten but for their numbers: no room for their bytes. */
  refusedCopies: number;
}

/** Pairs events and keeps the latency rows. */
export class Pairing {
  readonly rows: LatencyRows;
  readonly losses: LossLog;
  readonly #bounds: ClockBounds;
  readonly #thanCycles: number;
  readonly #lowerCycles: number;
  readonly #closest: ClosestPairs | undefined;
  readonly #arena: EventArena | undefined;
  readonly #timeline: Timeline | undefined;
  readonly #slow: SlowPairs | undefined;
  /** Stage by event index, -1 for events that take no part. */
  readonly #stageOf = new Int8Array(NO_EVENT + 1).fill(-1);
  /** 1 by event index where the role column is filled. */
  readonly #hasRole = new Uint8Array(NO_EVENT + 1);
  /** 1 by event index where the key is the CPU. */
  readonly #isByCpu = new Uint8Array(NO_EVENT + 1);
  /** The stage before and after each, -1 where there is none. */
  readonly #before: number[] = [];
  readonly #after: number[] = [];
  /** Events that wait for their successor, by stage; empty for a last stage. */
  readonly #pending: PendingEvents[] = [];
  /** Ends that came without a start, by stage. */
  readonly #orphans: PendingEvents[] = [];
  #unmatchedEnds = 0;

  /** Throws RangeError when there are too few or too many stages, or an event is in two. */
  constructor(options: PairingOptions) {
    const count = options.stages.length;
    if (count < (options.isCycle ? 1 : 2) || count > STAGES_MAX) {
      throw new RangeError(
        `Cannot pair events: ${count} stages, wanted ${options.isCycle ? 1 : 2} to ${STAGES_MAX}`,
      );
    }
    this.#bounds = options.bounds;
    this.losses = options.losses ?? new LossLog();
    this.#closest = options.closest;
    this.#thanCycles = options.thanCycles;
    this.#lowerCycles = options.lowerCycles ?? 0;
    this.rows = new LatencyRows(options.isPerInstance, options.seed);
    if (options.onSlowPair !== undefined) {
      this.#arena = new EventArena();
      if (options.detail !== undefined) this.#timeline = new Timeline();
      this.#slow = new SlowPairs(options.onSlowPair, this.#arena, this.#timeline, options.detail);
    }
    const withRole = new Set(options.withRole);
    for (const [stage, events] of options.stages.entries()) {
      for (const event of events) this.addEvent(event, stage, withRole.has(event));
      const isFirst = stage === 0;
      const isLast = stage === count - 1;
      this.#before.push(!isFirst ? stage - 1 : options.isCycle ? count - 1 : -1);
      this.#after.push(!isLast ? stage + 1 : options.isCycle ? 0 : -1);
      this.#pending.push(new PendingEvents(options.seed + stage, this.#arena));
      this.#orphans.push(new PendingEvents(options.seed - stage, undefined, ORPHANS_MAX));
    }
  }

  get counters(): PairingCounters {
    const sum = (count: (pending: PendingEvents) => number): number =>
      this.#pending.reduce((total, pending) => total + count(pending), 0);
    return {
      unmatchedEnds: this.#unmatchedEnds,
      replacedStarts: sum((pending) => pending.replaced),
      evictedStarts: sum((pending) => pending.evicted),
      waitingStarts: sum((pending) => pending.size),
      refusedCopies: this.#arena?.refused ?? 0,
    };
  }

  /**
   * An event of a stage; `hasRole`: its records say in which roles they act; `isByCpu`: their key
   * is the CPU. Throws RangeError when it is in a stage already.
   */
  addEvent(event: number, stage: number, hasRole: boolean, isByCpu = false): void {
    if (!(event >= 0 && event < NO_EVENT) || this.#stageOf[event] !== -1) {
      throw new RangeError(
        `Cannot put event ${event} into stage ${stage}: it is no event or in a stage already, ` +
          "wanted each event once",
      );
    }
    this.#stageOf[event] = stage;
    this.#hasRole[event] = hasRole ? 1 : 0;
    this.#isByCpu[event] = isByCpu ? 1 : 0;
  }

  /** Takes records `from` to `to` of a chunk, in the order of the merger. A RunSink. */
  run(chunk: Chunk, from: number, to: number): void {
    let at = from;
    for (let marker = 0; marker < chunk.lostCount; marker++) {
      const index = chunk.lostIndex[marker]!;
      if (index < from || index >= to) continue;
      this.#stretch(chunk, at, index);
      const events = chunk.lostEvents[marker]!;
      this.losses.note(chunk.machine, chunk.ring, events, chunk.timeCycles[index]!);
      at = index;
    }
    this.#stretch(chunk, at, to);
    if (this.#slow !== undefined && to > from) this.#slow.release(chunk.timeCycles[to - 1]!);
  }

  /** Times that have been used already are in doubt. */
  doubt(doubt: Doubt): void {
    for (const pending of [...this.#pending, ...this.#orphans]) pending.doubt(doubt);
    for (const row of this.rows.list()) row.doubt(doubt);
  }

  /** The stream has ended: hands on the slow pairs that wait for later events. */
  finish(): void {
    this.#slow?.release(Number.POSITIVE_INFINITY);
  }

  /** Begins a new interval of the table; what waits goes on waiting. */
  resetInterval(): void {
    this.rows.reset();
    this.losses.reset();
  }

  /** Records between two losses of their own ring; those of other rings begin in between. */
  #stretch(chunk: Chunk, from: number, to: number): void {
    const { losses } = this;
    const { timeCycles } = chunk;
    let at = from;
    while (at < to && timeCycles[to - 1]! > losses.nextCycles) {
      let next = at;
      while (timeCycles[next]! <= losses.nextCycles) next++;
      this.#records(chunk, at, next);
      losses.beginNext();
      at = next;
    }
    this.#records(chunk, at, to);
  }

  #records(chunk: Chunk, from: number, to: number): void {
    const { event, key, role } = chunk;
    const stageOf = this.#stageOf;
    const hasRole = this.#hasRole;
    const timeline = this.#timeline;
    for (let i = from; i < to; i++) {
      const index = event[i]!;
      if (timeline !== undefined && index !== NO_EVENT) timeline.add(chunk, i);
      const stage = stageOf[index]!;
      if (stage < 0) continue;
      const acts = hasRole[index]! === 0 ? ROLE_BOTH : role[i]!;
      const before = this.#before[stage]!;
      if (before >= 0 && (acts & ROLE_END) !== 0) {
        const pending = this.#pending[before]!;
        const entry = pending.find(key[i * 2]!, key[i * 2 + 1]!);
        if (entry >= 0) {
          this.#match(pending, entry, chunk, i);
          pending.remove(entry);
        } else {
          this.#unmatched(stage, chunk, i);
        }
      }
      const after = this.#after[stage]!;
      if (after < 0 || (acts & ROLE_START) === 0) continue;
      if (this.#orphans[after]!.size > 0 && this.#matchOrphan(after, chunk, i)) continue;
      this.#pending[stage]!.put(chunk, i, timeline === undefined ? 0 : timeline.next - 1);
    }
  }

  /** Record `i` ends what waits as `entry`. */
  #match(pending: PendingEvents, entry: number, chunk: Chunk, i: number): void {
    const startMachine = pending.machine[entry]!;
    const endMachine = chunk.machine;
    const startCycles = pending.timeCycles[entry]!;
    const latency = chunk.timeCycles[i]! - startCycles;
    const row = this.rows.row(
      pending.event[entry]!,
      chunk.event[i]!,
      chunk.key[i * 2]!,
      chunk.key[i * 2 + 1]!,
    );
    row.noteMachines(startMachine, endMachine);
    row.latestCycles = chunk.timeCycles[i]!;
    const bound = boundOf(pending, entry, chunk, i);
    const spansLoss = !this.losses.isEmpty && this.#spansLoss(pending, entry, chunk, i);
    if (spansLoss) noteLeftOut(row, latency);
    else noteLatency(row, latency, bound);
    if (this.#closest !== undefined && startMachine !== endMachine) {
      noteClosest(this.#closest, pending, entry, chunk, i, true);
    }
    const isOver = latency > this.#thanCycles;
    if (isOver && !spansLoss) row.over++;
    if (this.#slow !== undefined && (isOver || latency < this.#lowerCycles)) {
      const facts = { latencyCycles: latency, boundCycles: bound, spansLoss };
      this.#slow.add(pending, entry, chunk, i, facts);
    }
  }

  /** Whether what ends or starts between the two may be among the lost. */
  #spansLoss(pending: PendingEvents, entry: number, chunk: Chunk, i: number): boolean {
    const start = pending.machine[entry]!;
    const cycles = pending.timeCycles[entry]!;
    const isByCpu = this.#isByCpu[pending.event[entry]!]! & this.#isByCpu[chunk.event[i]!]!;
    // Equal CPUs of one machine are one ring.
    if (isByCpu !== 0 && start === chunk.machine) return this.losses.ringSpans(chunk.ring, cycles);
    return this.losses.spans(start, chunk.machine, cycles);
  }

  /** An end without a start. Its cause may be about to come, when it is another machine's. */
  #unmatched(stage: number, chunk: Chunk, i: number): void {
    this.#unmatchedEnds++;
    if (this.#bounds.isExact(chunk.machine)) return;
    this.#orphans[stage]!.put(chunk, i, 0);
  }

  /** Whether record `i` is the cause of an end that was stamped earlier. */
  #matchOrphan(stage: number, chunk: Chunk, i: number): boolean {
    const orphans = this.#orphans[stage]!;
    const lo = chunk.key[i * 2]!;
    const hi = chunk.key[i * 2 + 1]!;
    const entry = orphans.find(lo, hi);
    if (entry < 0) return false;
    const endMachine = orphans.machine[entry]!;
    const endCycles = orphans.timeCycles[entry]!;
    const bound = boundOf(orphans, entry, chunk, i);
    const early = chunk.timeCycles[i]! - endCycles;
    const event = orphans.event[entry]!;
    if (this.#closest !== undefined && early <= bound && endMachine !== chunk.machine) {
      noteClosest(this.#closest, orphans, entry, chunk, i, false);
    }
    // Later causes are further away still: this end has had its chance.
    orphans.remove(entry);
    // The order of one machine's events is not in doubt.
    if (endMachine === chunk.machine || early > bound * VIOLATION_BOUNDS) return false;
    this.#unmatchedEnds--;
    const row = this.rows.row(chunk.event[i]!, event, lo, hi);
    row.noteMachines(chunk.machine, endMachine);
    row.latestCycles = chunk.timeCycles[i]!;
    noteLatency(row, -early, bound);
    return true;
  }
}

/**
 * |error| of the time between what waits as `entry` and record `i`: each has the error that it was
 * converted with. Two of one machine, converted by one line, are off by the same amount, but for
 * what is not known of its slope, for granules and for the clock's own wander.
 */
function boundOf(pending: PendingEvents, entry: number, chunk: Chunk, i: number): number {
  const { bounds } = chunk;
  const run = bounds.runOf(i);
  const both = pending.boundCycles[entry]! + bounds.cycles[run]!;
  if (both === 0 || pending.machine[entry] !== chunk.machine) return both;
  const segment = bounds.segments[run];
  const waiting = pending.segment[entry];
  if (segment === undefined || waiting === undefined || !isSameLine(segment, waiting)) return both;
  const latency = chunk.timeCycles[i]! - pending.timeCycles[entry]!;
  const wander = Math.max(waiting.wanderCycles, bounds.wander[run]!);
  return Math.min(both, Math.abs(latency) * bounds.drift[run]! + wander);
}

/**
 * A pair of what waits as `entry` and record `i`, of which one is the host's. `isStart`: what waits
 * is the start.
 */
function noteClosest(
  closest: ClosestPairs,
  pending: PendingEvents,
  entry: number,
  chunk: Chunk,
  i: number,
  isStart: boolean,
): void {
  const waiting = pending.machine[entry]!;
  if (waiting !== HOST && chunk.machine !== HOST) return;
  const { bounds } = chunk;
  const run = bounds.runOf(i);
  const here = chunk.timeCycles[i]!;
  const there = pending.timeCycles[entry]!;
  if (waiting === HOST) {
    const bound = pending.boundCycles[entry]!;
    const segment = bounds.segments[run];
    if (isStart) closest.noteGuestEffect(chunk.machine, there, bound, here, segment);
    else closest.noteHostEffect(chunk.machine, there, bound, here, segment);
    return;
  }
  const bound = bounds.cycles[run]!;
  const segment = pending.segment[entry];
  if (isStart) closest.noteHostEffect(waiting, here, bound, there, segment);
  else closest.noteGuestEffect(waiting, here, bound, there, segment);
}

function noteLatency(row: LatencyRow, latency: number, bound: number): void {
  if (bound > row.boundCyclesMax) row.boundCyclesMax = bound;
  if (latency < 0) {
    if (-latency > bound) {
      row.violations++;
      if (-latency > row.violationCyclesMax) row.violationCyclesMax = -latency;
      return;
    }
    row.reversed++;
  }
  if (latency < bound) row.withinBound++;
  // A hostile guest can stamp years apart; more than the histogram holds is as good as its limit.
  row.latencies.record(Math.min(Math.max(latency, 0), VALUE_MAX));
}

function noteLeftOut(row: LatencyRow, latency: number): void {
  row.leftOut++;
  if (latency > row.leftOutCyclesMax) row.leftOutCyclesMax = latency;
}
