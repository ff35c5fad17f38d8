// Doubts: times that were converted before it was known that a clock had stepped.
//
//   readings     |agrees          |agrees     x        |does not
//   events         .   .   .   .    .   .   .   *  *  *  .   .
//                                  [ doubt: from ........ to ]    off by up to `extraCycles` more
//
// A step shows at the next reading only (a ping, a clock's), and by then events of after it have
// been converted with what held before. Those that have not been handed on get a bound that covers
// the step; whoever has used one already is told (Pairing.doubt()).

import type { Chunk } from "./chunk.ts";

/** Doubts kept apart; beyond these the last one grows. */
export const DOUBTS_MAX = 64;

/**
 * Times of a machine in [fromCycles, toCycles] may be off by `extraCycles` more than said; from
 * -Infinity on for all since it began.
 */
export interface Doubt {
  readonly machine: number;
  readonly fromCycles: number;
  readonly toCycles: number;
  readonly extraCycles: number;
  /** Times of one machine are off from each other, too: its own clock has stepped. */
  readonly isWithin: boolean;
}

/** The doubts of a session. */
export class Doubts {
  readonly #list: Doubt[] = [];

  get isEmpty(): boolean {
    return this.#list.length === 0;
  }

  /** Adds a doubt, joined with what is known of the same time. */
  add(doubt: Doubt): void {
    const list = this.#list;
    const at = list.findIndex(
      (known) =>
        known.machine === doubt.machine &&
        known.fromCycles <= doubt.toCycles &&
        known.toCycles >= doubt.fromCycles,
    );
    if (at >= 0) list[at] = join(list[at]!, doubt);
    else if (list.length < DOUBTS_MAX) list.push(doubt);
    else this.#squeezeIn(doubt);
  }

  /** There is no room: the machine's last doubt grows, or one of another machine makes room. */
  #squeezeIn(doubt: Doubt): void {
    const last = this.#list.findLastIndex(({ machine }) => machine === doubt.machine);
    if (last < 0) this.#list[0] = doubt;
    else this.#list[last] = join(this.#list[last]!, doubt);
  }

  /** Widens the bounds of records [from, to) of a chunk as far as they are in doubt. */
  apply(chunk: Chunk, from: number, to: number): void {
    const { timeCycles, bounds } = chunk;
    for (const doubt of this.#list) {
      if (doubt.machine !== chunk.machine || to <= from) continue;
      if (timeCycles[from]! > doubt.toCycles || timeCycles[to - 1]! < doubt.fromCycles) continue;
      const last = bounds.runOf(to - 1);
      for (let run = bounds.runOf(from); run <= last; run++) {
        bounds.widen(run, doubt.extraCycles, doubt.isWithin);
      }
    }
  }
}

function join(a: Doubt, b: Doubt): Doubt {
  return {
    machine: a.machine,
    fromCycles: Math.min(a.fromCycles, b.fromCycles),
    toCycles: Math.max(a.toCycles, b.toCycles),
    extraCycles: Math.max(a.extraCycles, b.extraCycles),
    isWithin: a.isWithin || b.isWithin,
  };
}
