/**
 * multi-trace with --dump-on-than: events of flight recorders are printed as lines, in the order of
 * time, when their dump has come; all others are paired.
 */
import { type Chunk, NO_EVENT } from "./analyze/chunk.ts";
import { EventView } from "./analyze/event_view.ts";
import type { Consumer } from "./consumer.ts";
import type { EventWriter } from "./trace_consumer.ts";

export class DumpConsumer implements Consumer {
  readonly #inner: Consumer;
  readonly #machines: ReadonlySet<number>;
  readonly #write: EventWriter;
  readonly #view = new EventView();

  /** `machines` are the flight recorders. */
  constructor(inner: Consumer, machines: Iterable<number>, write: EventWriter) {
    this.#inner = inner;
    this.#machines = new Set(machines);
    this.#write = write;
  }

  get isDone(): boolean {
    return this.#inner.isDone;
  }

  get hasCrossed(): boolean {
    return this.#inner.hasCrossed;
  }

  prepare(): void {
    this.#inner.prepare();
  }

  run(chunk: Chunk, from: number, to: number): void {
    if (!this.#machines.has(chunk.machine)) {
      this.#inner.run(chunk, from, to);
      return;
    }
    for (let i = from; i < to; i++) {
      if (chunk.event[i] === NO_EVENT) continue;
      this.#view.setRecord(chunk, i);
      this.#write(this.#view);
    }
  }

  tick(watermarkCycles: number): void {
    this.#inner.tick(watermarkCycles);
  }

  finish(): void {
    this.#inner.finish();
  }
}
