// EventView: one event as printers see it, wherever its bytes are: in a chunk, in the timeline, or
// in a copy. Views are filled anew for each event, so keep none.

import type { Chunk } from "./chunk.ts";

/** One event. */
export class EventView {
  machine = 0;
  cpu = 0;
  /** Index into the session's event table. */
  event = 0;
  timeCycles = 0;
  /** |error| of that time. */
  boundCycles = 0;
  keyLo = 0;
  keyHi = 0;
  /** Process id, -1 when the records carry none. */
  pid = -1;
  /** The raw data: `rawBytes` bytes of `bytes` from `rawOffset`, at least RAW_BYTES_MIN. */
  bytes: Uint8Array = new Uint8Array(0);
  rawOffset = 0;
  /** 0 when the bytes are gone: only the numbers above are known. */
  rawBytes = 0;

  /** common_pid, the kernel's thread id; -1 when the bytes are gone. */
  get tid(): number {
    if (this.rawBytes === 0) return -1;
    const { bytes } = this;
    const at = this.rawOffset + 4;
    return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  }

  /** Points at a record of a chunk. */
  setRecord(chunk: Chunk, index: number): void {
    this.machine = chunk.machine;
    this.cpu = chunk.cpu;
    this.event = chunk.event[index]!;
    this.timeCycles = chunk.timeCycles[index]!;
    this.boundCycles = chunk.bounds.cycles[chunk.bounds.runOf(index)]!;
    this.keyLo = chunk.key[index * 2]!;
    this.keyHi = chunk.key[index * 2 + 1]!;
    this.pid = chunk.pidOf(index);
    this.bytes = chunk.memory;
    this.rawOffset = chunk.rawOffset[index]!;
    this.rawBytes = chunk.rawBytes[index]!;
  }

  /** The same event with bytes of its own. */
  clone(): EventView {
    const copy = Object.assign(new EventView(), this);
    // At 4 mod 8 as in a chunk, see EventArena.
    copy.bytes = new Uint8Array(4 + this.rawBytes);
    copy.bytes.set(this.bytes.subarray(this.rawOffset, this.rawOffset + this.rawBytes), 4);
    copy.rawOffset = 4;
    return copy;
  }
}
