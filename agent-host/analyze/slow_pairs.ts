// SlowPairs: the pairs that crossed --than (or lie under --lower), handed to whoever prints them.
//
// A pair is handed on at once, or, when --detail=+N wants events that are still to come, as soon as
// an event later than that has passed.

import type { Chunk } from "./chunk.ts";
import { type DetailOptions, type DetailVisitor, visitDetails } from "./detail.ts";
import type { EventArena } from "./event_arena.ts";
import { EventView } from "./event_view.ts";
import type { PendingEvents } from "./pending.ts";
import type { Timeline } from "./timeline.ts";

/** Pairs that wait for later events. */
export const DEFERRED_PAIRS_MAX = 1024;

/** A pair to print. Valid during the call only. */
export interface SlowPair {
  /** rawBytes is 0 when there was no room to keep the bytes. */
  readonly start: EventView;
  readonly end: EventView;
  readonly latencyCycles: number;
  /** Bound of the two clocks against each other. */
  readonly boundCycles: number;
  /** Events were lost in between: the two may not belong together. */
  readonly spansLoss: boolean;
  /** Visits the events around it; undefined without --detail. Returns how many are gone. */
  readonly visitDetails: ((visit: DetailVisitor) => number) | undefined;
}

export type SlowPairSink = (pair: SlowPair) => void;

interface Deferred {
  readonly pair: SlowPair;
  readonly deadlineCycles: number;
}

/** Builds and hands on slow pairs. */
export class SlowPairs {
  readonly #sink: SlowPairSink;
  readonly #arena: EventArena;
  readonly #timeline: Timeline | undefined;
  readonly #detail: DetailOptions | undefined;
  readonly #deferred: Deferred[] = [];

  constructor(sink: SlowPairSink, arena: EventArena, timeline?: Timeline, detail?: DetailOptions) {
    this.#sink = sink;
    this.#arena = arena;
    this.#timeline = timeline;
    this.#detail = detail;
  }

  /** The event that waits as `entry`, and record `index`, the newest in the timeline. */
  add(
    pending: PendingEvents,
    entry: number,
    chunk: Chunk,
    index: number,
    facts: Pick<SlowPair, "latencyCycles" | "boundCycles" | "spansLoss">,
  ): void {
    const start = new EventView();
    const end = new EventView();
    this.#setStart(start, pending, entry);
    end.setRecord(chunk, index);
    const isDeferred = this.#detail !== undefined && this.#detail.afterCycles > 0;
    const startSequence = pending.sequence[entry]!;
    const endSequence = this.#timeline === undefined ? 0 : this.#timeline.next - 1;
    const pair = this.#pair(
      isDeferred ? start.clone() : start,
      isDeferred ? end.clone() : end,
      { startSequence, endSequence },
      facts,
    );
    if (!isDeferred) {
      this.#sink(pair);
      return;
    }
    if (this.#deferred.length >= DEFERRED_PAIRS_MAX) this.#sink(this.#deferred.shift()!.pair);
    const deadlineCycles = end.timeCycles + this.#detail!.afterCycles;
    this.#deferred.push({ pair, deadlineCycles });
  }

  /** Hands on the pairs whose later events have all passed by `nowCycles`. */
  release(nowCycles: number): void {
    while (this.#deferred.length > 0 && this.#deferred[0]!.deadlineCycles < nowCycles) {
      this.#sink(this.#deferred.shift()!.pair);
    }
  }

  #pair(
    start: EventView,
    end: EventView,
    sequences: { readonly startSequence: number; readonly endSequence: number },
    facts: Pick<SlowPair, "latencyCycles" | "boundCycles" | "spansLoss">,
  ): SlowPair {
    const timeline = this.#timeline;
    const detail = this.#detail;
    return {
      ...facts,
      start,
      end,
      visitDetails:
        timeline === undefined || detail === undefined
          ? undefined
          : (visit) => visitDetails(timeline, { start, end, ...sequences }, detail, visit),
    };
  }

  #setStart(view: EventView, pending: PendingEvents, entry: number): void {
    const offset = pending.copyOffset[entry]!;
    view.machine = pending.machine[entry]!;
    view.cpu = pending.cpu[entry]!;
    view.event = pending.event[entry]!;
    view.timeCycles = pending.timeCycles[entry]!;
    view.boundCycles = pending.boundCycles[entry]!;
    view.keyLo = pending.keyLo(entry);
    view.keyHi = pending.keyHi(entry);
    view.pid = pending.pid[entry]!;
    const { bytes } = this.#arena;
    if (offset < 0) view.setCopy(bytes, 0, 0, 0);
    else view.setCopy(bytes, offset, pending.leadBytes[entry]!, pending.rawBytes[entry]!);
  }
}
