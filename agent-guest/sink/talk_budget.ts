/**
 * How much time one host may take with what it says. A host that behaves says little: it attaches,
 * asks, acknowledges, pings. One that sends nothing but Attach would have the agent build streams
 * all day, while rings are not served. So there is a bucket that fills steadily, and a turn of the
 * loop gives a host no more than a slice, at a time:
 *
 *   a turn          10 ms at most, the rest of what was read in the next one
 *   all turns       200 ms at once, then 10 % of the time; beyond that it is not read for a moment
 */

/** Of one turn of the loop. */
export const SLICE_MS = 10;
/** What may have been saved up, and what is regained of each millisecond. */
export const TALK_MS_MAX = 200;
const TALK_SHARE = 0.1;

export class TalkBudget {
  #leftMs = TALK_MS_MAX;
  #atMs = 0;
  /** It was used up, and has not been regained as far as is worth a turn. */
  #isExhausted = false;

  /** Whether the host is to be listened to, at a clock that only grows. */
  isLeft(nowMs: number): boolean {
    this.#leftMs = Math.min(TALK_MS_MAX, this.#leftMs + (nowMs - this.#atMs) * TALK_SHARE);
    this.#atMs = nowMs;
    if (this.#leftMs >= SLICE_MS) this.#isExhausted = false;
    return !this.#isExhausted;
  }

  /**
   * Takes what was spent on it from `fromMs` to `toMs`; no debt is made, as others had the CPU too.
   */
  take(fromMs: number, toMs: number): void {
    this.#leftMs = Math.max(0, this.#leftMs - (toMs - fromMs));
    if (this.#leftMs === 0) this.#isExhausted = true;
  }
}
