/**
 * What was not recorded while the rings' output was paused, to the event, and at which place of the
 * ledger it belongs. A paused ring takes nothing, while perf goes on to count: each event has its
 * own number of records that found no room (Linux 6.0), which is exact however many CPUs race with
 * the pause. Older kernels count only what was produced: exact but for the moments of change.
 *
 *   pause("shed by --max-cpu")   lost of CPU 0: 17
 *   resume()                     lost of CPU 0: 5017, of which 5000 were shed
 */
import type { EventSet } from "../shared/event/event_set.ts";
import type { Ledger } from "./ledger.ts";

export class ShedCount {
  /** Why output is paused; empty while it is not. */
  place = "";
  readonly #set: EventSet;
  /** By ring: the count that pauses let grow, when it was read last. */
  #counted: bigint[] = [];
  /** By ring: events shed since the pause began. */
  readonly #events: Float64Array;

  constructor(set: EventSet) {
    this.#set = set;
    this.#events = new Float64Array(set.rings.length);
  }

  /** Throws SysError where the kernel cannot (before 4.7). */
  pause(place: string): void {
    if (this.place !== "") return;
    this.#counted = this.#counts();
    this.#events.fill(0);
    this.place = place;
    for (const ring of this.#set.rings) ring.pause(true);
  }

  /** Lets records be written again. What was shed goes into `ledgers`; gives it by ring. */
  resume(ledgers: readonly Ledger[]): Float64Array {
    for (const ring of this.#set.rings) ring.pause(false);
    this.settle(ledgers);
    this.place = "";
    return this.#events;
  }

  /** Counts what was shed since the last time. */
  settle(ledgers: readonly Ledger[]): void {
    if (this.place === "") return;
    const counts = this.#counts();
    counts.forEach((count, index) => {
      const events = Number(count - this.#counted[index]!);
      this.#events[index]! += events;
      if (events > 0) for (const ledger of ledgers) ledger.shed(index, this.place, events);
    });
    this.#counted = counts;
  }

  #counts(): bigint[] {
    return this.#set.rings.map((ring) => {
      const { produced, lost } = this.#set.count(ring);
      return this.#set.hasLost ? lost : produced;
    });
  }
}
