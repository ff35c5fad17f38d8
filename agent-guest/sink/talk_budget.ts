/**
 * How much time one host may take with what it says. A host that behaves says little: it attaches,
 * asks, acknowledges, pings. One that sends nothing but Attach would have the agent build streams
 * all day, while rings are not served. So there is a bucket that fills steadily, and a turn of the
 * loop gives a host no more than a slice, at a time:
 *
 *   a turn          10 ms at most, the rest of what was read in the next one
 *   all turns       200 ms at once, then 10 % of the time; beyond that it is not read for a moment
 *
 * To look events up and to open them takes as long as it takes: requests have a bucket of their
 * own, with more in it, and what one took beyond that is waited for before the next.
 */
import { Bucket } from "../../shared/limit/bucket.ts";

/** Of one turn of the loop. */
export const SLICE_MS = 10;
/** What may have been saved up, and what is regained of each millisecond. */
export const TALK_MS_MAX = 200;
const TALK_SHARE = 0.1;
/** The same of requests, and what may be owed: the next one waits ten times that. */
export const REQUEST_MS_MAX = 1000;
export const REQUEST_OWED_MS_MAX = 100;

export class TalkBudget {
  readonly #bucket: Bucket;
  /** It was used up, and has not been regained as far as is worth a turn. */
  #isExhausted = false;

  /** No debt is made where others may have had the CPU too. */
  constructor(msMax: number = TALK_MS_MAX, owedMsMax = 0, share = TALK_SHARE) {
    this.#bucket = new Bucket(msMax, share, -owedMsMax);
  }

  /** Whether the host is to be listened to, at a clock that only grows. */
  isLeft(nowMs: number): boolean {
    if (this.#bucket.left(nowMs) >= SLICE_MS) this.#isExhausted = false;
    return !this.#isExhausted;
  }

  /** Takes what was spent on it from `fromMs` to `toMs`. */
  take(fromMs: number, toMs: number): void {
    if (this.#bucket.take(toMs - fromMs) <= 0) this.#isExhausted = true;
  }
}

/** Time awake for pings that hosts announce: so much at once, regained at a share of the time. */
const AWAKE_MS_MAX = 500;
const AWAKE_SHARE = 0.05;

export class AwakeBudget {
  readonly #bucket = new Bucket(AWAKE_MS_MAX, AWAKE_SHARE);

  /** Whether `ms` are left, at a clock that only grows. */
  has(ms: number, nowMs: number): boolean {
    return this.#bucket.left(nowMs) >= ms;
  }

  take(ms: number): void {
    this.#bucket.take(ms);
  }
}

/** What hosts may take together that are nobody's in particular, as all clients of a broadcast. */
export class PeerBudget {
  readonly talk = new TalkBudget();
  readonly awake = new AwakeBudget();
}
