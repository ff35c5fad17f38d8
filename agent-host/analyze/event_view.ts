// EventView: one event as printers see it, wherever its bytes are: in a chunk, in the timeline, or
// in a copy. Views are filled anew for each event, so keep none.

import { CHAIN_LEAD_BYTES, type Chunk } from "./chunk.ts";

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
  /**
   * Where in `bytes` the call chain lies, at 0 mod 8: u64 nr, then nr addresses and markers, all
   * of them in `bytes`. 0 when the event has none.
   */
  chainOffset = 0;

  /** common_pid, the kernel's thread id; -1 when the bytes are gone. */
  get tid(): number {
    if (this.rawBytes === 0) return -1;
    const { bytes } = this;
    const at = this.rawOffset + 4;
    return bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
  }

  /** Points at bytes that Chunk.leadBytesOf() measured and somebody copied to `at`. */
  setCopy(bytes: Uint8Array, at: number, leadBytes: number, rawBytes: number): void {
    this.bytes = bytes;
    this.rawOffset = at + leadBytes;
    this.rawBytes = rawBytes;
    this.chainOffset = leadBytes === 0 ? 0 : at + CHAIN_LEAD_BYTES;
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
    this.chainOffset = chunk.leadBytesOf(index) === 0 ? 0 : chunk.chainOffset[index]!;
  }

  /** The same event with bytes of its own. */
  clone(): EventView {
    const copy = Object.assign(new EventView(), this);
    const { chainOffset, rawOffset, rawBytes } = this;
    const leadBytes = chainOffset === 0 ? 0 : rawOffset - chainOffset + CHAIN_LEAD_BYTES;
    // At 4 mod 8 as in a chunk, see EventArena.
    const bytes = new Uint8Array(4 + leadBytes + rawBytes);
    bytes.set(this.bytes.subarray(rawOffset - leadBytes, rawOffset + rawBytes), 4);
    copy.setCopy(bytes, 4, leadBytes, rawBytes);
    return copy;
  }
}
