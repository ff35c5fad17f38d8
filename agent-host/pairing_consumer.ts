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
  #nextTableCycles = Number.NaN;
  #lastCycles = 0;

  constructor(out: ByteWriter, pairing: Pairing, options: PairingConsumerOptions) {
    this.#out = out;
    this.#pairing = pairing;
    this.#options = options;
  }

  get isDone(): boolean {
    return this.#options.eventsMax > 0 && this.#events >= this.#options.eventsMax;
  }

  run(chunk: Chunk, from: number, to: number): void {
    if (this.isDone) return;
    this.#pairing.run(chunk, from, to);
    this.#events += to - from;
    this.#lastCycles = chunk.timeCycles[to - 1]!;
  }

  tick(watermarkCycles: number): void {
    this.#options.refreshBounds();
    const { intervalCycles } = this.#options;
    if (intervalCycles === 0) return;
    if (Number.isNaN(this.#nextTableCycles)) {
      this.#nextTableCycles = watermarkCycles + intervalCycles;
      return;
    }
    if (watermarkCycles < this.#nextTableCycles) {
      this.#out.flush();
      return;
    }
    const missed = Math.floor((watermarkCycles - this.#nextTableCycles) / intervalCycles);
    this.#nextTableCycles += (missed + 1) * intervalCycles;
    this.#writeTable(watermarkCycles, false);
    this.#pairing.resetInterval();
  }

  finish(): void {
    this.#options.refreshBounds();
    this.#pairing.finish();
    this.#writeTable(this.#lastCycles, true);
  }

  #writeTable(cycles: number, isLast: boolean): void {
    this.#options.writeTable(this.#out, cycles, isLast);
    this.#out.flush();
  }
}
