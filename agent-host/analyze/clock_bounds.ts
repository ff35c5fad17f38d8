// ClockBounds: by how much two machines' times may disagree, as far as is known now. It is what the
// line under a table says, and which machines' events may be stamped before their cause.
//
//   0 (host), 1 (a guest by ping)   84,000 cycles        1, 2 (two guests)   168,000 cycles
//
// A pair of events is judged by the bounds that its two events were converted with (bound_runs.ts).

/** Machines of a session: the host and its guests. */
export const MACHINES_MAX = 256;

/** Error bounds of the difference of two canonical times, by machine. */
export class ClockBounds {
  readonly #cycles = new Map<number, number>();
  /** Machines that have had a bound above 0 against some other. */
  readonly #inexact = new Set<number>();

  /** Sets |error| of a time of machine `a` minus one of `b`, in cycles. Throws RangeError. */
  set(a: number, b: number, cycles: number): void {
    const isMachine = (machine: number): boolean =>
      Number.isInteger(machine) && machine >= 0 && machine < MACHINES_MAX;
    if (!isMachine(a) || !isMachine(b) || a === b || !(cycles >= 0)) {
      throw new RangeError(
        `Cannot set the clock bound of machines ${a} and ${b} to ${cycles}: wanted two machines ` +
          `below ${MACHINES_MAX} and a bound >= 0`,
      );
    }
    this.#cycles.set(pairOf(a, b), cycles);
    if (cycles > 0) this.#inexact.add(a).add(b);
  }

  /** The bound set last, in cycles; 0 when none was. */
  between(a: number, b: number): number {
    return this.#cycles.get(pairOf(a, b)) ?? 0;
  }

  /** Whether no event of the machine can be stamped before its cause. */
  isExact(machine: number): boolean {
    return this.#inexact.size === 0 || !this.#inexact.has(machine);
  }
}

function pairOf(a: number, b: number): number {
  return a < b ? a * MACHINES_MAX + b : b * MACHINES_MAX + a;
}
