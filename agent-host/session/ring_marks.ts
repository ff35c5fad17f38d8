/**
 * Up to where a ring's records have been used up: read, merged in time order, printed. What has
 * come lies in the merger for a while, so the place where its bytes ended is noted with the number
 * of records so far; once as many have been released, that place has been reached.
 *
 *   note 120 records, position 9600   note 150, 12000          released 130: position 9600
 */

/** A place in one ring, and the ledger of what lies before it. */
export interface RingMark {
  /** Records handed to the merger up to there. */
  readonly records: number;
  readonly position: number;
  readonly samples: number;
  readonly lostEvents: number;
  readonly droppedEvents: number;
  readonly gapBytes: number;
}

/** Places that wait; more are taken together. */
export const MARKS_MAX = 64;

export class RingMarks {
  readonly #waiting: RingMark[] = [];
  #reached: RingMark | undefined;

  /** Goes on from a place that another run has reached. */
  start(mark: RingMark): void {
    this.#reached = mark;
  }

  /** Notes a place further on than those before it. */
  note(mark: RingMark): void {
    const last = this.#waiting.at(-1) ?? this.#reached;
    if (last !== undefined && mark.position <= last.position) return;
    if (this.#waiting.length === MARKS_MAX) this.#waiting.pop();
    this.#waiting.push(mark);
  }

  /** The furthest place whose records are among the `released` first ones; undefined for none. */
  reached(released: number): RingMark | undefined {
    while (this.#waiting.length > 0 && this.#waiting[0]!.records <= released) {
      this.#reached = this.#waiting.shift();
    }
    return this.#reached;
  }

  /**
   * A stream begins, after `records` of others: its positions are its own. Where it begins has been
   * reached from the first; -1 when the guest does not say.
   */
  begin(records: number, position = -1): void {
    this.#waiting.length = 0;
    const counts = { samples: 0, lostEvents: 0, droppedEvents: 0, gapBytes: 0 };
    this.#reached = position < 0 ? undefined : { records, position, ...counts };
  }
}
