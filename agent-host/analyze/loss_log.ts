// LossLog: when each machine last lost events, and how many.
//
//   start A -----------------------------> end B     this pair may not be one: between them
//                  |## lost ##|                      an end and another start may be gone
//
// One entry per machine is enough, since pairs are looked at in time order: if any loss lies
// between a pair's events, the latest one ended after the start.

import { MACHINES_MAX } from "./clock_bounds.ts";

/** Losses of all machines. */
export class LossLog {
  /** Where the latest loss ended; -Infinity before the first. */
  readonly #endCycles = new Float64Array(MACHINES_MAX).fill(Number.NEGATIVE_INFINITY);
  readonly #events = new Float64Array(MACHINES_MAX);
  readonly #totals = new Float64Array(MACHINES_MAX);
  /** No loss at all so far: the usual case, and one comparison for it. */
  isEmpty = true;

  /** `events` of a machine were lost at some time up to `untilCycles`. */
  note(machine: number, events: number, untilCycles: number): void {
    this.isEmpty = false;
    this.#events[machine]! += events;
    this.#totals[machine]! += events;
    if (untilCycles > this.#endCycles[machine]!) this.#endCycles[machine] = untilCycles;
  }

  /** Whether either machine lost events after `startCycles`. */
  spans(startMachine: number, endMachine: number, startCycles: number): boolean {
    return (
      this.#endCycles[startMachine]! >= startCycles || this.#endCycles[endMachine]! >= startCycles
    );
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
}
