/**
 * When a channel's clock has settled: what is known of it is not about to become much better.
 *
 *   bound |\                        method  ping  ping  emulator  emulator ...
 *         | \___                            ^ a change begins anew
 *         |     ''--.__|______      settled: the same method for SETTLE_MS, checked by round trips
 *         +--------------------->   where it can be, its bound at most BETTER_RATIO better than
 *               |<- SETTLE_MS ->|   SETTLE_MS ago
 */

/** How long it has to stand. */
export const SETTLE_MS = 2000;
/** A bound that shrank more than this in SETTLE_MS is still on its way. */
const BETTER_RATIO = 1.1;

/** What a channel looks like now. */
export interface SettlingState {
  /** Names what is in force: another one begins anew. */
  readonly method: string;
  /** Times can be converted, and what checks the method has done so. */
  readonly isReady: boolean;
  readonly boundCycles: number;
}

export class Settling {
  #method = "";
  #sinceMs = 0;
  #bound = Infinity;
  #wasReady = false;
  isSettled = false;

  /** Takes note of the state at `nowMs`; once settled it stays so while the method does. */
  note({ method, isReady, boundCycles }: SettlingState, nowMs: number): void {
    const isNew = !isReady || !this.#wasReady || method !== this.#method;
    this.#wasReady = isReady;
    if (isNew) {
      this.#method = method;
      this.isSettled = false;
      this.#begin(boundCycles, nowMs);
      return;
    }
    if (this.isSettled || nowMs - this.#sinceMs < SETTLE_MS) return;
    this.isSettled = boundCycles * BETTER_RATIO >= this.#bound;
    this.#begin(boundCycles, nowMs);
  }

  #begin(boundCycles: number, nowMs: number): void {
    this.#sinceMs = nowMs;
    this.#bound = boundCycles;
  }
}
