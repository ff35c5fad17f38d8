// ClockBounds: by how much the order of two machines' events may be wrong.
//
// The engine keeps it up to date from the time maps in force; the analysis only reads. Two events
// of one machine share their clock's error, so between them it is 0.

/** Machines of a session: the host and its guests. */
export const MACHINES_MAX = 256;

/** Error bounds of the difference of two canonical times, by machine. */
export class ClockBounds {
  readonly #cycles = new Map<number, number>();
  /** Machines that have a bound above 0 against some other. */
  readonly #inexact = new Set<number>();

  /**
   * Sets |error| of a time of machine `a` minus one of another machine `b`, in cycles. Throws
   * RangeError.
   */
  set(a: number, b: number, cycles: number): void {
    const isMachine = (machine: number): boolean =>
      Number.isInteger(machine) && machine >= 0 && machine < MACHINES_MAX;
    if (!isMachine(a) || !isMachine(b) || a === b || !(cycles >= 0)) {
      throw new RangeError(
        `Cannot set the clock bound of machines ${a} and ${b} to ${cycles}: wanted two machines ` +
          `below ${MACHINES_MAX} and a bound >= 0`,
      );
    }
    this.#cycles.set(a * MACHINES_MAX + b, cycles);
    this.#cycles.set(b * MACHINES_MAX + a, cycles);
    if (cycles > 0) this.#inexact.add(a).add(b);
  }

  /** The bound in cycles; 0 when none was set. */
  between(a: number, b: number): number {
    return this.#cycles.get(a * MACHINES_MAX + b) ?? 0;
  }

  /** Whether no event of the machine can be stamped before its cause. */
  isExact(machine: number): boolean {
    return this.#inexact.size === 0 || !this.#inexact.has(machine);
  }
}
