/** trace: every event of the session as one line, in time order. */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import { type Chunk, NO_EVENT } from "./analyze/chunk.ts";
import { EventView } from "./analyze/event_view.ts";
import type { Consumer } from "./consumer.ts";

/** Writes one event into the output: a line of text, or of JSON. */
export type EventWriter = (view: EventView) => void;

export class TraceConsumer implements Consumer {
  readonly hasCrossed = false;
  readonly #out: ByteWriter;
  readonly #write: EventWriter;
  readonly #eventsMax: number;
  readonly #view = new EventView();
  #printed = 0;

  /** `eventsMax` 0 means all. */
  constructor(out: ByteWriter, write: EventWriter, eventsMax: number) {
    this.#out = out;
    this.#write = write;
    this.#eventsMax = eventsMax === 0 ? Number.POSITIVE_INFINITY : eventsMax;
  }

  get isDone(): boolean {
    return this.#printed >= this.#eventsMax;
  }

  prepare(): void {}

  run(chunk: Chunk, from: number, to: number): void {
    const { event } = chunk;
    for (let i = from; i < to; i++) {
      if (event[i] === NO_EVENT) continue;
      if (this.#printed >= this.#eventsMax) return;
      this.#view.setRecord(chunk, i);
      this.#write(this.#view);
      this.#printed++;
    }
  }

  /** What was released is shown at once: the user watches. */
  tick(): void {
    this.#out.flush();
  }

  finish(): void {
    this.#out.flush();
  }
}
