/**
 * A ring buffer in plain memory, with the kernel's part played by the test: records are written at
 * the head, as perf_output_copy() would, and the head is stored behind them.
 */
import { CONTROL_BYTES, Ring } from "../../../shared/perf/ring.ts";

const DATA_HEAD_AT = 1024;
const DATA_TAIL_AT = 1032;

export class FakeRing {
  readonly buffer: ArrayBuffer;
  readonly ring: Ring;
  readonly #control: DataView;
  #head: number;

  /** A ring whose head and tail stand at `start`, in memory of its own or given. */
  constructor(ringBytes: number, start = 0, buffer = new ArrayBuffer(CONTROL_BYTES + ringBytes)) {
    this.buffer = buffer;
    this.#control = new DataView(this.buffer);
    this.#head = start;
    this.#storeHead();
    this.ring = new Ring(this.buffer, ringBytes);
    // Ring follows the head in steps below 4 GiB, as it would in life.
    const STEP = 2 ** 31;
    for (let at = 0; at < start; at += STEP) {
      this.#head = Math.min(start, at + STEP);
      this.#storeHead();
      this.ring.setTail(this.ring.refreshHead());
    }
  }

  /** What the agent has stored into data_tail. */
  get storedTail(): bigint {
    return this.#control.getBigUint64(DATA_TAIL_AT, true);
  }

  /** Writes one record of `size` bytes: header, then bytes that count up from `fill`. */
  write(type: number, size: number, fill = 0): void {
    const record = new Uint8Array(size);
    const view = new DataView(record.buffer);
    view.setUint32(0, type, true);
    view.setUint16(6, size, true);
    for (let i = 8; i < size; i++) record[i] = fill + i;
    for (let i = 0; i < size; i++) {
      this.ring.data[(this.#head + i) % this.ring.bytes] = record[i]!;
    }
    this.#head += size;
    this.#storeHead();
  }

  #storeHead(): void {
    this.#control.setBigUint64(DATA_HEAD_AT, BigInt(this.#head), true);
  }
}
