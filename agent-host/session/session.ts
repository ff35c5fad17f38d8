/**
 * What all machines of one run share: the chunk pool, the merger, the events, and the anchor from
 * which canonical time (host TSC cycles, or the guest's own where there is no host) is counted.
 */
import { onlineCpus } from "../../shared/event/machine.ts";
import { ChunkPool, poolChunksFor } from "../analyze/chunk.ts";
import { type Doubt, Doubts } from "../analyze/doubts.ts";
import { LossLog } from "../analyze/loss_log.ts";
import { Merger, type RunSink } from "../analyze/merger.ts";
import type { RingIntake } from "./ring_intake.ts";
import { SessionEvents } from "./session_event.ts";

/** Of the pool: chunks that may wait in the merger, so that its readers can go on. */
const QUEUED_SHARE = 0.75;

export class Session {
  readonly pool = new ChunkPool(poolChunksFor(onlineCpus().length));
  readonly merger: Merger;
  readonly events: SessionEvents;
  /** What was lost, as soon as it is decoded. */
  readonly losses = new LossLog();
  /** Events that memory had to be freed of before there was anybody to hand them to. */
  unheardEvents = 0;
  /** Times that were converted before a step of a guest's clocks was known. */
  readonly #doubts = new Doubts();
  /** Who has used such times and wants to know. */
  onDoubt: ((doubt: Doubt) => void) | undefined;
  /** Who takes the merged events; undefined until all clocks are known. */
  sink: RunSink | undefined;
  /** By the merger's ring number. */
  readonly #intakes: RingIntake[] = [];
  #anchor: bigint | undefined;

  constructor(defaultKey: string | undefined) {
    this.events = new SessionEvents(this.pool.memory, defaultKey);
    this.merger = new Merger({
      onRun: (chunk, from, to) => {
        if (!this.#doubts.isEmpty) this.#doubts.apply(chunk, from, to);
        const shown = this.#intakes[chunk.ring]!.noteReleased(to - from);
        if (this.sink === undefined) this.unheardEvents += to - from;
        else if (from + shown < to) this.sink(chunk, from + shown, to);
      },
      releaseChunk: (chunk) => {
        this.#intakes[chunk.ring]!.onReleased(chunk);
        this.pool.release(chunk);
      },
      queuedChunksMax: Math.floor(this.pool.capacity * QUEUED_SHARE),
    });
  }

  /** The TSC that counts 0 in canonical time. Set once, before anything is converted. */
  get anchor(): bigint {
    if (this.#anchor === undefined) throw new RangeError("Cannot convert times: no anchor yet");
    return this.#anchor;
  }

  setAnchorOnce(tsc: bigint): void {
    this.#anchor ??= tsc;
  }

  /** What has not been handed on gets the wider bound; the rest is told. */
  doubt(doubt: Doubt): void {
    this.#doubts.add(doubt);
    this.onDoubt?.(doubt);
  }

  addIntake(intake: RingIntake): void {
    this.#intakes[intake.mergerRing] = intake;
  }

  /** Whether sources should go on reading: a quarter of the pool is kept for what is on its way. */
  get hasRoom(): boolean {
    return this.pool.available > this.pool.capacity / 4;
  }
}
