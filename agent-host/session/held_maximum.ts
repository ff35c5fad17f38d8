/**
 * The largest of the values noted within the last while: two buckets that take turns.
 *
 *   noted    9 .. 5 .. 4 |  3 .. 3 .. 2 |  2 ..
 *   held     9    9    9 |  9    9    9 |  3
 */
export class HeldMaximum {
  readonly #holdMs: number;
  #endMs = Number.NEGATIVE_INFINITY;
  #current = Number.NEGATIVE_INFINITY;
  #previous = Number.NEGATIVE_INFINITY;

  /** Values are held for `holdMs` at least, and twice as long at most. */
  constructor(holdMs: number) {
    this.#holdMs = holdMs;
  }

  note(value: number, nowMs: number): void {
    if (nowMs >= this.#endMs) {
      this.#previous = nowMs < this.#endMs + this.#holdMs ? this.#current : value;
      this.#current = value;
      this.#endMs = nowMs + this.#holdMs;
    } else if (value > this.#current) this.#current = value;
  }

  /** -Infinity before the first value. */
  get value(): number {
    return Math.max(this.#current, this.#previous);
  }
}
