// Timeline: the recent events of all machines in order, for --detail.
//
//   sequence   ... 1000 1001 1002 1003 ...   counts all events that passed
//   entry      sequence modulo entries       columns
//   bytes      one ring of record bytes      an event lives until its bytes are overwritten
//
// Slow pairs ask for what lies between their events. What is no longer here was further back than
// the memory allows; that is counted by who asks.

import type { Chunk } from "./chunk.ts";
import type { EventView } from "./event_view.ts";

/** Events and bytes of records that are kept. */
export const TIMELINE_EVENTS = 1 << 18;
export const TIMELINE_BYTES = 32 * 1024 * 1024;

/** The newest events. */
export class Timeline {
  /** Sequence of the next event. */
  next = 0;
  readonly #entries: number;
  readonly #timeCycles: Float64Array;
  readonly #boundCycles: Float64Array;
  readonly #event: Uint16Array;
  readonly #machine: Uint16Array;
  readonly #cpu: Uint32Array;
  readonly #pid: Float64Array;
  readonly #key: Uint32Array;
  readonly #rawBytes: Uint32Array;
  /** The call chain in front of the raw data, see Chunk.leadBytesOf(). */
  readonly #leadBytes: Uint32Array;
  /** Count of all bytes written before the entry's own, gaps at the end of the ring included. */
  readonly #position: Float64Array;
  readonly #bytes: Uint8Array;
  #written = 0;

  constructor(entries: number = TIMELINE_EVENTS, bytes: number = TIMELINE_BYTES) {
    this.#entries = entries;
    this.#timeCycles = new Float64Array(entries);
    this.#boundCycles = new Float64Array(entries);
    this.#event = new Uint16Array(entries);
    this.#machine = new Uint16Array(entries);
    this.#cpu = new Uint32Array(entries);
    this.#pid = new Float64Array(entries);
    this.#key = new Uint32Array(entries * 2);
    this.#rawBytes = new Uint32Array(entries);
    this.#leadBytes = new Uint32Array(entries);
    this.#position = new Float64Array(entries);
    this.#bytes = new Uint8Array(bytes);
  }

  /** Appends a record of a chunk. */
  add(chunk: Chunk, index: number): void {
    const entry = this.next++ % this.#entries;
    const rawBytes = Math.min(chunk.rawBytes[index]!, this.#bytes.length);
    const rawOffset = chunk.rawOffset[index]!;
    const chainBytes = chunk.leadBytesOf(index);
    const lead = chainBytes + rawBytes > this.#bytes.length ? 0 : chainBytes;
    const at = this.#reserve(lead + rawBytes);
    this.#timeCycles[entry] = chunk.timeCycles[index]!;
    this.#boundCycles[entry] = chunk.bounds.cycles[chunk.bounds.runOf(index)]!;
    this.#event[entry] = chunk.event[index]!;
    this.#machine[entry] = chunk.machine;
    this.#cpu[entry] = chunk.cpu;
    this.#pid[entry] = chunk.pidOf(index);
    this.#key[entry * 2] = chunk.key[index * 2]!;
    this.#key[entry * 2 + 1] = chunk.key[index * 2 + 1]!;
    this.#rawBytes[entry] = rawBytes;
    this.#leadBytes[entry] = lead;
    this.#bytes.set(chunk.memory.subarray(rawOffset - lead, rawOffset + rawBytes), at);
    this.#position[entry] = this.#written - lead - rawBytes;
  }

  /** The oldest sequence that may still be here. */
  get oldest(): number {
    return Math.max(0, this.next - this.#entries);
  }

  /** The time of an event that has() says is here. */
  timeCycles(sequence: number): number {
    return this.#timeCycles[sequence % this.#entries]!;
  }

  /** Whether an event is still here with its bytes. */
  has(sequence: number): boolean {
    if (sequence < this.oldest || sequence >= this.next) return false;
    return this.#written - this.#position[sequence % this.#entries]! <= this.#bytes.length;
  }

  /** Points the view at an event that has() says is here. */
  view(sequence: number, view: EventView): void {
    const entry = sequence % this.#entries;
    view.machine = this.#machine[entry]!;
    view.cpu = this.#cpu[entry]!;
    view.event = this.#event[entry]!;
    view.timeCycles = this.#timeCycles[entry]!;
    view.boundCycles = this.#boundCycles[entry]!;
    view.keyLo = this.#key[entry * 2]!;
    view.keyHi = this.#key[entry * 2 + 1]!;
    view.pid = this.#pid[entry]!;
    const at = this.#position[entry]! % this.#bytes.length;
    view.setCopy(this.#bytes, at, this.#leadBytes[entry]!, this.#rawBytes[entry]!);
  }

  /** Room for a record in one piece, at 4 mod 8 as in a chunk; returns where. */
  #reserve(size: number): number {
    const capacity = this.#bytes.length;
    let start = Math.ceil((this.#written - 4) / 8) * 8 + 4;
    if ((start % capacity) + size > capacity) start = Math.ceil(start / capacity) * capacity + 4;
    this.#written = start + size;
    return start % capacity;
  }
}
