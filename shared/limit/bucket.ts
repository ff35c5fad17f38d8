/**
 * A bucket that fills steadily, for what somebody may use up of ours: so much at once, then as much
 * as comes in.
 *
 *   max  |#####.....|     left(now): what came in since the last look, at most max
 *        |          |     take(n):   not below `least`; 0 where no debts are made
 *   0    '----------'
 */
export class Bucket {
  readonly #max: number;
  readonly #perMs: number;
  readonly #least: number;
  #left: number;
  #atMs = 0;

  /** Full at first. */
  constructor(max: number, perMs: number, least = -Infinity) {
    this.#max = max;
    this.#perMs = perMs;
    this.#least = least;
    this.#left = max;
  }

  /** What is left at `nowMs`, of a clock that only grows. */
  left(nowMs: number): number {
    this.#left = Math.min(this.#max, this.#left + (nowMs - this.#atMs) * this.#perMs);
    this.#atMs = nowMs;
    return this.#left;
  }

  /** Takes so much, there or not; gives what is left. */
  take(amount: number): number {
    this.#left = Math.max(this.#least, this.#left - amount);
    return this.#left;
  }
}
