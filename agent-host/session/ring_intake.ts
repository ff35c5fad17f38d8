/**
 * Where record bytes of one ring (machine, CPU) enter the host's pipeline:
 *
 *   span -> current chunk -> decoded columns -> programs (filters, keys) -> merger
 *
 * A chunk that waits in the merger is filled further until it is full or used up, so that a quiet
 * ring costs one chunk and not one for each wake-up. The merger may use it up at any time, for some
 * other ring's sake: what is added to it is decoded at once, and what cannot be goes elsewhere.
 */
import { CONTEXT_VCPU } from "../../shared/expr/batch_context.ts";
import {
  PERF_RECORD_LOST,
  PERF_RECORD_LOST_SAMPLES,
  PERF_RECORD_SAMPLE,
} from "../../shared/perf/record.ts";
import { CHUNK_BYTES, type Chunk, type ChunkPool } from "../analyze/chunk.ts";
import type { RingDecoder, TimeSegments } from "../analyze/decode.ts";
import type { LossLog } from "../analyze/loss_log.ts";
import type { Merger } from "../analyze/merger.ts";

/** Of the pool: what is left to others when a ring's clock is not known. */
const CLOCKLESS_SHARE = 0.5;

/** Something computed for records [from, to) of a chunk right after they were decoded. */
export interface ChunkProgram {
  run(chunk: Chunk, from: number, to: number): void;
}

export class RingIntake {
  readonly machine: number;
  readonly cpu: number;
  readonly mergerRing: number;
  readonly decoder: RingDecoder;
  /** What _vcpu says of its records: -1 where that depends on the record's thread. */
  vcpu = -1;
  /** Samples that found no chunk, or no clock before their stream ended. */
  droppedEvents = 0;
  /** Of the events noted as lost: those whose number is a guess, by the bytes that never came. */
  estimatedEvents = 0;
  /** Records handed to the merger, and those of them that it has released. */
  pushedRecords = 0;
  releasedRecords = 0;
  /** Of the first records: so many have been shown by another run. */
  shownBefore = 0;
  readonly #pool: ChunkPool;
  readonly #merger: Merger;
  readonly #programs: readonly ChunkProgram[];
  readonly #losses: LossLog;
  /** Full chunks that wait for a clock, all of their bytes. */
  #undecoded: Chunk[] = [];
  #current: Chunk | undefined;
  /** Of the current chunk: 0 while all of it waits, from then on all of its bytes. */
  #decodedBytes = 0;
  #isPushed = false;

  constructor(
    machine: number,
    cpu: number,
    mergerRing: number,
    decoder: RingDecoder,
    parts: {
      readonly pool: ChunkPool;
      readonly merger: Merger;
      readonly programs: readonly ChunkProgram[];
      readonly losses: LossLog;
    },
  ) {
    this.machine = machine;
    this.cpu = cpu;
    this.mergerRing = mergerRing;
    this.decoder = decoder;
    this.#pool = parts.pool;
    this.#merger = parts.merger;
    this.#programs = parts.programs;
    this.#losses = parts.losses;
  }

  /** Bytes taken in and not decoded yet. */
  get hasUndecoded(): boolean {
    return (
      this.#undecoded.length > 0 ||
      (this.#current !== undefined && this.#decodedBytes < this.#current.usedBytes)
    );
  }

  /** Samples among these: dropped, once no clock can come for them any more. */
  get undecodedEvents(): number {
    let events = 0;
    for (const { bytes, usedBytes } of this.#undecoded) events += countSamples(bytes, 0, usedBytes);
    const current = this.#current;
    if (current === undefined) return events;
    return events + countSamples(current.bytes, this.#decodedBytes, current.usedBytes);
  }

  /** Takes whole records bytes[start, end). Without `time` they wait, as far as there is room. */
  append(bytes: Uint8Array, start: number, end: number, time: TimeSegments | undefined): void {
    let from = start;
    while (from < end) {
      const chunk = this.#roomFor(bytes, from, time);
      if (chunk === undefined) {
        const dropped = countSamples(bytes, from, end);
        this.droppedEvents += dropped;
        // Names and mappings that found no room are no events.
        if (dropped > 0 || tellsOfLoss(bytes, from, end)) this.noteLost(dropped, time);
        return;
      }
      const to = wholeRecords(bytes, from, end, CHUNK_BYTES - chunk.usedBytes);
      chunk.bytes.set(bytes.subarray(from, to), chunk.usedBytes);
      chunk.usedBytes += to - from;
      from = to;
      if (this.#decodedBytes > 0 && time !== undefined) this.decode(time);
    }
  }

  /** Decodes what was taken in, and hands it to the merger. */
  decode(time: TimeSegments): void {
    for (const chunk of this.#undecoded) {
      this.#decodeInto(chunk, 0, time);
      this.#merger.push(chunk);
    }
    this.#undecoded = [];
    const chunk = this.#current;
    if (chunk === undefined || this.#decodedBytes === chunk.usedBytes) return;
    this.#decodeInto(chunk, this.#decodedBytes, time);
    this.#decodedBytes = chunk.usedBytes;
    if (this.#isPushed || chunk.count === 0) return;
    this.#isPushed = true;
    this.#merger.push(chunk);
  }

  /** Events before what is appended next were lost, `events` of them. */
  noteLost(events: number, time: TimeSegments | undefined): void {
    // Decoded first, so that the decoder meets the loss in its place. Without a clock that place is
    // unknown, and the loss is noted before all that waits.
    if (time !== undefined) this.decode(time);
    this.decoder.noteLost(events);
  }

  /**
   * After `sinceCycles` and before what is appended next events are missing, nobody knows how many:
   * another stream begins, or another dump. The machine's other rings have come to `newestCycles`.
   */
  noteBreak(sinceCycles: number, newestCycles: number): void {
    const since = Math.max(sinceCycles, this.decoder.lastCycles);
    if (since < newestCycles) {
      this.#losses.expect(this.machine, this.mergerRing, since, newestCycles);
    }
    this.decoder.noteLost(0, sinceCycles);
  }

  /** Forgets what waits for a clock that will not come: the stream has ended. */
  discardUndecoded(): void {
    const dropped = this.undecodedEvents;
    for (const chunk of this.#undecoded) this.#pool.release(chunk);
    this.#undecoded = [];
    if (this.#current !== undefined && !this.#isPushed) {
      this.#pool.release(this.#current);
      this.#current = undefined;
    }
    if (this.#current !== undefined) this.#decodedBytes = this.#current.usedBytes;
    this.droppedEvents += dropped;
    if (dropped > 0) this.decoder.noteLost(dropped);
  }

  /** The merger releases `records`; gives how many of them have been shown before. */
  noteReleased(records: number): number {
    const left = this.shownBefore - this.releasedRecords;
    this.releasedRecords += records;
    return left <= 0 ? 0 : Math.min(left, records);
  }

  /** Records that have been shown, by this run or before it. */
  get shownRecords(): number {
    return Math.max(this.shownBefore, this.releasedRecords);
  }

  /** The merger has used the chunk up: it must not be filled further. */
  onReleased(chunk: Chunk): void {
    if (chunk === this.#current) this.#current = undefined;
  }

  /** Gives back what will not be used: at the end of a stream. */
  close(): void {
    for (const chunk of this.#undecoded) this.#pool.release(chunk);
    this.#undecoded = [];
    if (this.#current !== undefined && !this.#isPushed) this.#pool.release(this.#current);
    this.#current = undefined;
  }

  #decodeInto(chunk: Chunk, fromByte: number, time: TimeSegments): void {
    const from = chunk.count;
    this.decoder.decodeSpan(chunk, fromByte, chunk.usedBytes, time);
    if (chunk.count === from) return;
    this.pushedRecords += chunk.count - from;
    if (chunk.lostCount > 0) this.#losses.announce(chunk, from);
    chunk.context[CONTEXT_VCPU] = this.vcpu;
    for (const program of this.#programs) program.run(chunk, from, chunk.count);
  }

  /** A chunk with room for the record at `at`, or undefined when there is none. */
  #roomFor(bytes: Uint8Array, at: number, time: TimeSegments | undefined): Chunk | undefined {
    const size = bytes[at + 6]! | (bytes[at + 7]! << 8);
    const current = this.#current;
    const isOpen = time !== undefined || this.#decodedBytes === 0;
    if (current !== undefined && isOpen && current.usedBytes + size <= CHUNK_BYTES) return current;
    if (current !== undefined) this.#retire(current, time);
    this.#current =
      time === undefined && this.#pool.available <= this.#pool.capacity * CLOCKLESS_SHARE
        ? undefined
        : this.#pool.acquire(this.machine, this.cpu, this.mergerRing);
    if (this.#current === undefined && time !== undefined) {
      // Events of other rings wait for slower ones: release the oldest, which the merger counts.
      this.#merger.forceRelease(this.#merger.queuedChunks() >>> 1);
      this.#current = this.#pool.acquire(this.machine, this.cpu, this.mergerRing);
    }
    this.#decodedBytes = 0;
    this.#isPushed = false;
    return this.#current;
  }

  /** The current chunk is full, or has begun to be decoded and there is no clock to go on with. */
  #retire(chunk: Chunk, time: TimeSegments | undefined): void {
    if (time === undefined && this.#decodedBytes === 0) {
      this.#undecoded.push(chunk);
      return;
    }
    if (time !== undefined) this.decode(time);
    if (!this.#isPushed && this.#current === chunk) this.#pool.release(chunk);
  }
}

/** End of the last whole record of bytes[from, end) that fits into `room`. */
function wholeRecords(bytes: Uint8Array, from: number, end: number, room: number): number {
  if (end - from <= room) return end;
  let at = from;
  for (;;) {
    const next = at + (bytes[at + 6]! | (bytes[at + 7]! << 8));
    if (next - from > room) return at;
    at = next;
  }
}

/** Samples among the whole records of bytes[from, end). */
function countSamples(bytes: Uint8Array, from: number, end: number): number {
  return countRecords(bytes, from, end, PERF_RECORD_SAMPLE);
}

function tellsOfLoss(bytes: Uint8Array, from: number, end: number): boolean {
  const lost = countRecords(bytes, from, end, PERF_RECORD_LOST);
  return lost + countRecords(bytes, from, end, PERF_RECORD_LOST_SAMPLES) > 0;
}

function countRecords(bytes: Uint8Array, from: number, end: number, type: number): number {
  let count = 0;
  for (let at = from; at < end; ) {
    if (bytes[at] === type) count++;
    at += bytes[at + 6]! | (bytes[at + 7]! << 8);
  }
  return count;
}
