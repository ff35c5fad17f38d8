/** multi-trace: latencies between stages, as a table for each interval and at the end. */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import type { Chunk } from "./analyze/chunk.ts";
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
}

export class PairingConsumer implements Consumer {
  hasCrossed = false;
  readonly #out: ByteWriter;
  readonly #pairing: Pairing;
  readonly #options: PairingConsumerOptions;
  #events = 0;
  /** End of the interval; NaN before the first event. */
  #nextTableCycles = Number.NaN;
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
    const { intervalCycles, eventsMax } = this.#options;
    const { timeCycles } = chunk;
    const end = eventsMax === 0 ? to : Math.min(to, from + eventsMax - this.#events);
    if (end <= from) return;
    this.#events += end - from;
    if (intervalCycles > 0) this.#beginIntervals(timeCycles[from]!);
    let at = from;
    // A run may be longer than an interval: recordings are read faster than they were made.
    while (intervalCycles > 0 && timeCycles[end - 1]! >= this.#nextTableCycles) {
      let next = at;
      while (timeCycles[next]! < this.#nextTableCycles) next++;
      if (next > at) this.#pairing.run(chunk, at, next);
      this.#closeInterval(timeCycles[next]!);
      at = next;
    }
    this.#pairing.run(chunk, at, end);
    this.#lastCycles = Math.max(this.#lastCycles, timeCycles[end - 1]!);
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
