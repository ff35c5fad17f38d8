// ClockBounds: by how much the order of two machines' events may be wrong.
//
// The engine keeps it up to date from the time maps in force; the analysis only reads. Two events
// of one machine share their clock's error, so between them it is 0.
//
// A bound mostly shrinks while clocks are measured, and an event keeps the error that it was
// converted with. So bounds have a history, and a pair is judged by the greatest since its start:
//
//   bound |____                     set at 0, 10, 30 s; a pair from 12 s on has the bound of 10 s
//         |    |______                (in force at 12 s), one from 31 s on that of 30 s
//         |           |________
//         +---0----10---30--> canonical time

/** Machines of a session: the host and its guests. */
export const MACHINES_MAX = 256;

/** Changes of one pair's bound that are kept; beyond it neighbours are taken together. */
const HISTORY_MAX = 256;

/** The greatest bound since a time, for times in the past. */
class BoundHistory {
  /** From when on, and the greatest from then on: times rise, bounds fall. */
  readonly #from: number[] = [];
  readonly #cycles: number[] = [];

  set(cycles: number, from: number): void {
    let start = from;
    // A smaller bound before a greater one says nothing: whoever asks for then gets the greater.
    while (this.#cycles.length > 0 && this.#cycles[this.#cycles.length - 1]! <= cycles) {
      this.#cycles.pop();
      start = this.#from.pop()!;
    }
    this.#from.push(start);
    this.#cycles.push(cycles);
    if (this.#cycles.length <= HISTORY_MAX) return;
    // The oldest but one joins the oldest, whose bound is greater: wider, never narrower.
    this.#from.splice(1, 1);
    this.#cycles.splice(1, 1);
  }

  since(cycles: number): number {
    let i = this.#from.length - 1;
    while (i > 0 && this.#from[i]! > cycles) i--;
    return this.#cycles[i]!;
  }
}

/** Error bounds of the difference of two canonical times, by machine. */
export class ClockBounds {
  readonly #histories = new Map<number, BoundHistory>();
  /** Machines that have a bound above 0 against some other. */
  readonly #inexact = new Set<number>();

  /**
   * Sets |error| of a time of machine `a` minus one of another machine `b`, in cycles, for events
   * that happen from `fromCycles` (canonical time) on. Throws RangeError.
   */
  set(a: number, b: number, cycles: number, fromCycles = Number.NEGATIVE_INFINITY): void {
    const isMachine = (machine: number): boolean =>
      Number.isInteger(machine) && machine >= 0 && machine < MACHINES_MAX;
    if (!isMachine(a) || !isMachine(b) || a === b || !(cycles >= 0)) {
      throw new RangeError(
        `Cannot set the clock bound of machines ${a} and ${b} to ${cycles}: wanted two machines ` +
          `below ${MACHINES_MAX} and a bound >= 0`,
      );
    }
    const pair = pairOf(a, b);
    let history = this.#histories.get(pair);
    if (history === undefined) {
      history = new BoundHistory();
      this.#histories.set(pair, history);
    }
    history.set(cycles, fromCycles);
    if (cycles > 0) this.#inexact.add(a).add(b);
  }

  /** The greatest bound since canonical time `sinceCycles`, in cycles; 0 when none was set. */
  between(a: number, b: number, sinceCycles = Number.POSITIVE_INFINITY): number {
    return this.#histories.get(pairOf(a, b))?.since(sinceCycles) ?? 0;
  }

  /** Whether no event of the machine can be stamped before its cause. */
  isExact(machine: number): boolean {
    return this.#inexact.size === 0 || !this.#inexact.has(machine);
  }
}

function pairOf(a: number, b: number): number {
  return a < b ? a * MACHINES_MAX + b : b * MACHINES_MAX + a;
}
