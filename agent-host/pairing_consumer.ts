/**
 * multi-trace: latencies between stages, as a table for each interval and at the end. An event with
 * `trigger` closes an interval, too: its table is printed, and below it the event.
 */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import { type Chunk, NO_EVENT } from "./analyze/chunk.ts";
import { EventView } from "./analyze/event_view.ts";
import type { Pairing } from "./analyze/pairing.ts";
import type { Consumer } from "./consumer.ts";

/** Prints a table of what has been measured since the last one. */
export type TableWriter = (out: ByteWriter, cycles: number, isLast: boolean) => void;

export interface PairingConsumerOptions {
  /** 0: one table, at the end. */
  readonly intervalCycles: number;
  /** 0: no limit. */
  readonly eventsMax: number;
  /** Brings the clocks' bounds up to date. */
  readonly refreshBounds: () => void;
  readonly writeTable: TableWriter;
  /** Indexes of the events that close an interval, and how one of them is printed. */
  readonly triggers?: ReadonlySet<number>;
  readonly writeEvent?: (view: EventView) => void;
}

export class PairingConsumer implements Consumer {
  hasCrossed = false;
  readonly #out: ByteWriter;
  readonly #pairing: Pairing;
  readonly #options: PairingConsumerOptions;
  #events = 0;
  /** End of the interval; NaN before the first event. */
  #nextTableCycles = Number.NaN;
  readonly #view = new EventView();
  /** How far time is, for the date of the last table. */
  #lastCycles = Number.NEGATIVE_INFINITY;

  constructor(out: ByteWriter, pairing: Pairing, options: PairingConsumerOptions) {
    this.#out = out;
    this.#pairing = pairing;
    this.#options = options;
  }

  get isDone(): boolean {
    return this.#options.eventsMax > 0 && this.#events >= this.#options.eventsMax;
  }

  prepare(): void {
    this.#options.refreshBounds();
  }

  run(chunk: Chunk, from: number, to: number): void {
    const { intervalCycles } = this.#options;
    const { timeCycles } = chunk;
    const end = this.#limit(chunk, from, to);
    if (end <= from) return;
    if (intervalCycles > 0) this.#beginIntervals(timeCycles[from]!);
    let at = from;
    // A run may be longer than an interval: recordings are read faster than they were made.
    while (intervalCycles > 0 && timeCycles[end - 1]! >= this.#nextTableCycles) {
      let next = at;
      while (timeCycles[next]! < this.#nextTableCycles) next++;
      if (next > at) this.#pair(chunk, at, next);
      this.#closeInterval(timeCycles[next]!);
      at = next;
    }
    this.#pair(chunk, at, end);
    this.#lastCycles = Math.max(this.#lastCycles, timeCycles[end - 1]!);
  }

  /** Where the last event of -N lies; what a filter kept out does not count. */
  #limit(chunk: Chunk, from: number, to: number): number {
    const { eventsMax } = this.#options;
    if (eventsMax === 0) return to;
    let end = from;
    while (end < to && this.#events < eventsMax) {
      if (chunk.event[end] !== NO_EVENT) this.#events++;
      end++;
    }
    return end;
  }

  /** Pairs records, with a table before each that triggers one. */
  #pair(chunk: Chunk, from: number, to: number): void {
    const { triggers, writeEvent, refreshBounds } = this.#options;
    let at = from;
    if (triggers !== undefined && triggers.size > 0) {
      for (let i = from; i < to; i++) {
        if (!triggers.has(chunk.event[i]!)) continue;
        if (i > at) this.#pairing.run(chunk, at, i);
        at = i;
        refreshBounds();
        this.#writeTable(chunk.timeCycles[i]!, false);
        this.#pairing.resetInterval();
        this.#view.setRecord(chunk, i);
        writeEvent?.(this.#view);
      }
    }
    if (to > at) this.#pairing.run(chunk, at, to);
  }

  tick(watermarkCycles: number): void {
    this.#lastCycles = Math.max(this.#lastCycles, watermarkCycles);
    const { intervalCycles } = this.#options;
    if (intervalCycles > 0) {
      this.#beginIntervals(watermarkCycles);
      if (watermarkCycles >= this.#nextTableCycles) this.#closeInterval(watermarkCycles);
    }
    // Slow pairs are shown at once: the user watches.
    this.#out.flush();
  }

  finish(): void {
    this.#options.refreshBounds();
    this.#pairing.finish();
    this.#writeTable(Number.isFinite(this.#lastCycles) ? this.#lastCycles : 0, true);
  }

  #beginIntervals(cycles: number): void {
    if (!Number.isNaN(this.#nextTableCycles)) return;
    this.#nextTableCycles = cycles + this.#options.intervalCycles;
  }

  /** Prints the interval that ends at or before `cycles`; empty ones behind it are skipped. */
  #closeInterval(cycles: number): void {
    const { intervalCycles, refreshBounds } = this.#options;
    const endCycles = this.#nextTableCycles;
    const passed = Math.floor((cycles - endCycles) / intervalCycles);
    this.#nextTableCycles = endCycles + (passed + 1) * intervalCycles;
    refreshBounds();
    this.#writeTable(endCycles, false);
    this.#pairing.resetInterval();
  }

  #writeTable(cycles: number, isLast: boolean): void {
    this.#options.writeTable(this.#out, cycles, isLast);
    this.#out.flush();
  }
}
