// LossLog: when each machine lost events, and how many.
//
//   CPU 0      start A ------------> end B'        this pair may be none: the true end B and the
//   CPU 1    5     |##### lost #####|     20       start of B' may be among the lost of any CPU
//          since                        until
//
// A loss lies somewhere between two records of its ring. It is announced when these are decoded: as
// a rule before the merger hands on what lies between them. Pairs that have been made by then stay.
//
// The latest `until` of those that have begun says it all, as pairs are looked at in time order.

import type { Chunk } from "./chunk.ts";
import { MACHINES_MAX } from "./clock_bounds.ts";
import { widen } from "./widen.ts";

/** Losses ahead of the pairs that are told apart: as many as a pool's chunks have markers. */
export const LOSSES_AHEAD_MAX = 1 << 14;

/** Losses of all machines. */
export class LossLog {
  /** Where the latest loss that has begun ends; -Infinity before the first. */
  readonly #endCycles = new Float64Array(MACHINES_MAX).fill(Number.NEGATIVE_INFINITY);
  /** The same of each ring, as far as any has lost something. */
  #ringEndCycles = new Float64Array(0);
  readonly #events = new Float64Array(MACHINES_MAX);
  readonly #totals = new Float64Array(MACHINES_MAX);
  /** A binary heap of what is ahead, by `since`; made for the first loss. */
  #since = new Float64Array(0);
  #until = new Float64Array(0);
  #machine = new Uint16Array(0);
  #ring = new Uint32Array(0);
  #ahead = 0;
  /** No loss of which the time is known: the usual case, and one comparison for it. */
  isEmpty = true;
  /** Where the next loss begins that has not begun; Infinity when there is none. */
  nextCycles = Number.POSITIVE_INFINITY;

  /** Takes in the losses before records `from` and later of a chunk: they have been decoded. */
  announce(chunk: Chunk, from: number): void {
    for (let marker = 0; marker < chunk.lostCount; marker++) {
      const index = chunk.lostIndex[marker]!;
      if (index < from) continue;
      const sinceCycles = chunk.lostSinceCycles[marker]!;
      this.expect(chunk.machine, chunk.ring, sinceCycles, chunk.timeCycles[index]!);
    }
  }

  /** A ring of a machine lost events between these two times, which may be ahead. */
  expect(machine: number, ring: number, sinceCycles: number, untilCycles: number): void {
    this.isEmpty = false;
    // A stream whose clock began anew, behind the one before; or more than can be told apart.
    if (!(sinceCycles < untilCycles) || this.#ahead === LOSSES_AHEAD_MAX) {
      this.#begin(machine, ring, Math.max(sinceCycles, untilCycles));
      return;
    }
    if (this.#since.length === 0) {
      this.#since = new Float64Array(LOSSES_AHEAD_MAX);
      this.#until = new Float64Array(LOSSES_AHEAD_MAX);
      this.#machine = new Uint16Array(LOSSES_AHEAD_MAX);
      this.#ring = new Uint32Array(LOSSES_AHEAD_MAX);
    }
    const at = this.#rise(this.#ahead++, sinceCycles);
    this.#since[at] = sinceCycles;
    this.#until[at] = untilCycles;
    this.#machine[at] = machine;
    this.#ring[at] = ring;
    this.nextCycles = this.#since[0]!;
  }

  /** Pairs that end after `nextCycles` follow. */
  beginNext(): void {
    if (this.#ahead === 0) return;
    this.#begin(this.#machine[0]!, this.#ring[0]!, this.#until[0]!);
    const last = --this.#ahead;
    this.#move(last, this.#sink(last));
    this.nextCycles = this.#ahead === 0 ? Number.POSITIVE_INFINITY : this.#since[0]!;
  }

  /** `events` of a ring of a machine were lost at some time up to `untilCycles`. */
  note(machine: number, ring: number, events: number, untilCycles: number): void {
    this.isEmpty = false;
    this.#events[machine]! += events;
    this.#totals[machine]! += events;
    this.#begin(machine, ring, untilCycles);
  }

  /** `events` more were lost since the beginning, of rings and at times that nobody knows. */
  noteUnplaced(machine: number, events: number): void {
    this.#events[machine]! += events;
    this.#totals[machine]! += events;
  }

  /** Whether either machine lost events after `startCycles`. */
  spans(startMachine: number, endMachine: number, startCycles: number): boolean {
    return (
      this.#endCycles[startMachine]! > startCycles || this.#endCycles[endMachine]! > startCycles
    );
  }

  /** The same of a pair that can only be of one ring's events. */
  ringSpans(ring: number, startCycles: number): boolean {
    return ring < this.#ringEndCycles.length && this.#ringEndCycles[ring]! > startCycles;
  }

  /** Events that a machine lost since reset(). */
  events(machine: number): number {
    return this.#events[machine]!;
  }

  /** Events that a machine lost since the beginning. */
  total(machine: number): number {
    return this.#totals[machine]!;
  }

  /** Begins a new interval: counts go to 0, times and totals stay. */
  reset(): void {
    this.#events.fill(0);
  }

  #begin(machine: number, ring: number, untilCycles: number): void {
    if (untilCycles > this.#endCycles[machine]!) this.#endCycles[machine] = untilCycles;
    if (ring >= this.#ringEndCycles.length) this.#makeRoom(ring + 1);
    if (untilCycles > this.#ringEndCycles[ring]!) this.#ringEndCycles[ring] = untilCycles;
  }

  #makeRoom(rings: number): void {
    const ends = new Float64Array(2 ** Math.ceil(Math.log2(rings)));
    ends.fill(Number.NEGATIVE_INFINITY, this.#ringEndCycles.length);
    this.#ringEndCycles = widen(this.#ringEndCycles, ends);
  }

  /** Where in the heap an entry goes that is added at its end; those above have made room. */
  #rise(end: number, sinceCycles: number): number {
    let at = end;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (this.#since[parent]! <= sinceCycles) break;
      this.#move(parent, at);
      at = parent;
    }
    return at;
  }

  /** Where in the heap its last entry goes when the first is gone; those below have moved up. */
  #sink(last: number): number {
    const since = this.#since[last]!;
    let at = 0;
    for (let child = 1; child < last; child = at * 2 + 1) {
      if (child + 1 < last && this.#since[child + 1]! < this.#since[child]!) child++;
      if (since <= this.#since[child]!) break;
      this.#move(child, at);
      at = child;
    }
    return at;
  }

  #move(from: number, to: number): void {
    this.#since[to] = this.#since[from]!;
    this.#until[to] = this.#until[from]!;
    this.#machine[to] = this.#machine[from]!;
    this.#ring[to] = this.#ring[from]!;
  }
}
