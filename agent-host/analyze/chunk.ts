// Chunk: the record bytes of one ring and the columns decoded from them; ChunkPool owns them all.
//
// Everything lives in one WebAssembly.Memory, so that compiled expressions read the records and
// write the keys in place:
//
//   0           RESERVED_BYTES   never a chunk: offset 0 can mean "none"
//   64 KiB      chunk 0:  context | record bytes | time | key | pid,tid | raw offset | raw bytes
//                         | call chain | event | role
//   ...         chunk 1 ...
//
// The memory never grows, so the views below stay valid for the life of the pool. Its pages become
// resident when they are first written, and acquire() hands out the chunk released last: a quiet
// session touches a few chunks only. When no chunk is left acquire() returns undefined: the caller
// stops reading its source, and the pressure travels back to the ring that the kernel fills.

import {
  CONTEXT_CPU,
  CONTEXT_TASKS,
  CONTEXT_VCPU,
  CONTEXT_VM,
  SKIPPED_EVENT,
} from "../../shared/expr/batch_context.ts";
import { BoundRuns } from "./bound_runs.ts";

/** Record bytes that a chunk holds. A multiple of 8: records begin 8-aligned. */
export const CHUNK_BYTES = 256 * 1024;
/** Raw data up to the end of common_pid; shorter is refused, so that consumers need not check. */
export const RAW_BYTES_MIN = 8;
/** The smallest sample that is taken: header 8, time 8, raw size 4, RAW_BYTES_MIN, 8-aligned. */
export const SAMPLE_BYTES_MIN = 32;
/** Columns for the smallest records, so that bytes run out before columns do. */
export const CHUNK_RECORDS_MAX = CHUNK_BYTES / SAMPLE_BYTES_MIN;
/** Places of loss kept apart per chunk; more are merged into the last one. */
export const LOST_MARKERS_MAX = 64;
/** Chunks of the largest pool: 2.5 GB of address space. */
export const POOL_CHUNKS_MAX = 4096;
/** Chunks of a pool unless told: 157 MB of address space, resident only where used. */
export const POOL_CHUNKS_DEFAULT = 256;
/** A ring keeps the chunk that it fills, and wants others for what waits to be merged. */
const CHUNKS_PER_RING = 4;
/** In the event column: this record is to be skipped (unknown, or refused by a filter). */
export const NO_EVENT = SKIPPED_EVENT;

/** From where a copied record begins (4 mod 8) to its chain's nr (0 mod 8). */
export const CHAIN_LEAD_BYTES = 4;

const WASM_PAGE_BYTES = 65536;
const RESERVED_BYTES = WASM_PAGE_BYTES;
/** i32 words in front of each chunk that expressions read (shared/expr/batch_context.ts). */
const CONTEXT_BYTES = 64;
const RECORD_COLUMN_BYTES = 8 + 8 + 8 + 4 + 4 + 4 + 2 + 1;
const SLOT_BYTES =
  Math.ceil((CONTEXT_BYTES + CHUNK_BYTES + CHUNK_RECORDS_MAX * RECORD_COLUMN_BYTES) / 64) * 64;

/** Record bytes of one ring, in order, and their decoded columns. */
export class Chunk {
  /** The whole memory as bytes and as u32: rawOffset counts from its start. */
  readonly memory: Uint8Array;
  readonly words: Uint32Array;
  /** Where the record bytes begin in the memory; a multiple of 8. */
  readonly bytesOffset: number;
  /** The chunk's own record bytes: copy spans to here, each to a multiple of 8. */
  readonly bytes: Uint8Array;
  /** i32 words for compiled expressions, and their offset in the memory. */
  readonly context: Int32Array;
  readonly contextOffset: number;

  /** Canonical time: host TSC cycles since the session's anchor. */
  readonly timeCycles: Float64Array;
  /** Index into the session's event table, or NO_EVENT. */
  readonly event: Uint16Array;
  /** Where the raw data (common_type at +0) lies in the memory: 4 mod 8, and its size. */
  readonly rawOffset: Uint32Array;
  readonly rawBytes: Uint32Array;
  /** Two words per record: low and high of the 64-bit key. */
  readonly key: Uint32Array;
  /** Two words per record, pid and tid; only filled when context[CONTEXT_TASKS] is not 0. */
  readonly tasks: Uint32Array;
  /** Where the u64 nr of the call chain lies in the memory; only filled when hasChains. */
  readonly chainOffset: Uint32Array;
  /** Bit 0: may start a pair, bit 1: may end one. Only filled for events with role=. */
  readonly role: Uint8Array;
  /** Offsets of the columns in the memory, for compiled expressions. */
  readonly eventColumnOffset: number;
  readonly rawColumnOffset: number;
  readonly keyColumnOffset: number;
  readonly tasksColumnOffset: number;
  readonly roleColumnOffset: number;

  /** Records decoded. */
  count = 0;
  /** Bytes of `bytes` in use. */
  usedBytes = 0;
  /** Index of the machine (0 is the host), its CPU, and the ring in the merger. */
  machine = 0;
  cpu = 0;
  ring = 0;
  hasChains = false;

  /** By how much the canonical times may be off. */
  readonly bounds = new BoundRuns();

  /**
   * Loss: before record lostIndex[i], after lostSinceCycles[i], lostEvents[i] were lost; 0 where
   * nobody knows how many.
   */
  lostCount = 0;
  readonly lostIndex = new Uint32Array(LOST_MARKERS_MAX);
  readonly lostEvents = new Float64Array(LOST_MARKERS_MAX);
  readonly lostSinceCycles = new Float64Array(LOST_MARKERS_MAX);

  /** @internal Used by ChunkPool only. */
  inUse = false;

  constructor(memory: WebAssembly.Memory, slot: number) {
    const buffer = memory.buffer;
    let offset = RESERVED_BYTES + slot * SLOT_BYTES;
    const take = (size: number): number => {
      const at = offset;
      offset += size;
      return at;
    };
    this.memory = new Uint8Array(buffer);
    this.words = new Uint32Array(buffer);
    this.contextOffset = take(CONTEXT_BYTES);
    this.context = new Int32Array(buffer, this.contextOffset, CONTEXT_BYTES / 4);
    this.bytesOffset = take(CHUNK_BYTES);
    this.bytes = new Uint8Array(buffer, this.bytesOffset, CHUNK_BYTES);
    this.timeCycles = new Float64Array(buffer, take(CHUNK_RECORDS_MAX * 8), CHUNK_RECORDS_MAX);
    this.keyColumnOffset = take(CHUNK_RECORDS_MAX * 8);
    this.key = new Uint32Array(buffer, this.keyColumnOffset, CHUNK_RECORDS_MAX * 2);
    this.tasksColumnOffset = take(CHUNK_RECORDS_MAX * 8);
    this.tasks = new Uint32Array(buffer, this.tasksColumnOffset, CHUNK_RECORDS_MAX * 2);
    this.rawColumnOffset = take(CHUNK_RECORDS_MAX * 4);
    this.rawOffset = new Uint32Array(buffer, this.rawColumnOffset, CHUNK_RECORDS_MAX);
    this.rawBytes = new Uint32Array(buffer, take(CHUNK_RECORDS_MAX * 4), CHUNK_RECORDS_MAX);
    this.chainOffset = new Uint32Array(buffer, take(CHUNK_RECORDS_MAX * 4), CHUNK_RECORDS_MAX);
    this.eventColumnOffset = take(CHUNK_RECORDS_MAX * 2);
    this.event = new Uint16Array(buffer, this.eventColumnOffset, CHUNK_RECORDS_MAX);
    this.roleColumnOffset = take(CHUNK_RECORDS_MAX);
    this.role = new Uint8Array(buffer, this.roleColumnOffset, CHUNK_RECORDS_MAX);
  }

  /** Empties the chunk and says whose records come next. */
  begin(machine: number, cpu: number, ring: number): void {
    this.count = 0;
    this.usedBytes = 0;
    this.lostCount = 0;
    this.bounds.clear();
    this.hasChains = false;
    this.machine = machine;
    this.cpu = cpu;
    this.ring = ring;
    this.context.fill(0);
    this.context[CONTEXT_CPU] = cpu;
    this.context[CONTEXT_VM] = machine;
    this.context[CONTEXT_VCPU] = -1;
  }

  /** The process id of a record, or -1 when the ring's records carry none. */
  pidOf(index: number): number {
    return this.context[CONTEXT_TASKS] === 0 ? -1 : this.tasks[index * 2]!;
  }

  /**
   * Bytes of a record's call chain, for who copies it: a lead in front of the raw data, which
   * begins at 4 mod 8 as raw data does, four bytes before nr. 0 when there is no chain.
   */
  leadBytesOf(index: number): number {
    if (!this.hasChains) return 0;
    const chain = this.chainOffset[index]!;
    return this.words[chain >>> 2] === 0 ? 0 : this.rawOffset[index]! - chain + CHAIN_LEAD_BYTES;
  }

  /** Notes that `events` were lost before the record that comes next. */
  addLost(events: number, sinceCycles: number): void {
    let marker = this.lostCount - 1;
    if (this.lostCount < LOST_MARKERS_MAX && this.lostIndex[marker] !== this.count) {
      marker = this.lostCount++;
      this.lostEvents[marker] = 0;
      this.lostSinceCycles[marker] = sinceCycles;
    }
    // A merged marker spans from the first loss to the last: wider than the truth, never narrower.
    this.lostIndex[marker] = this.count;
    this.lostEvents[marker]! += events;
  }
}

/**
 * Chunks for a machine of so many CPUs, whose rings are read by its own events or by its guests' in
 * all: too few would have to be handed on before their order is known.
 */
export function poolChunksFor(cpus: number): number {
  return Math.min(Math.max(POOL_CHUNKS_DEFAULT, CHUNKS_PER_RING * cpus), POOL_CHUNKS_MAX);
}

/** A fixed number of chunks in one memory. */
export class ChunkPool {
  /** Import this into compiled expressions. */
  readonly memory: WebAssembly.Memory;
  readonly capacity: number;
  readonly #free: Chunk[] = [];
  #made = 0;

  /** Throws RangeError unless 1 <= chunkCount <= POOL_CHUNKS_MAX. */
  constructor(chunkCount: number = POOL_CHUNKS_DEFAULT) {
    if (!Number.isInteger(chunkCount) || chunkCount < 1 || chunkCount > POOL_CHUNKS_MAX) {
      throw new RangeError(
        `Cannot make a chunk pool: ${chunkCount} chunks, wanted 1 to ${POOL_CHUNKS_MAX}`,
      );
    }
    this.capacity = chunkCount;
    const pages = Math.ceil((RESERVED_BYTES + chunkCount * SLOT_BYTES) / WASM_PAGE_BYTES);
    this.memory = new WebAssembly.Memory({ initial: pages, maximum: pages });
  }

  /** Chunks that acquire() can still hand out. */
  get available(): number {
    return this.#free.length + this.capacity - this.#made;
  }

  /** An empty chunk, or undefined when all are in use. */
  acquire(machine: number, cpu: number, ring: number): Chunk | undefined {
    let chunk = this.#free.pop();
    if (chunk === undefined) {
      if (this.#made === this.capacity) return undefined;
      chunk = new Chunk(this.memory, this.#made++);
    }
    chunk.inUse = true;
    chunk.begin(machine, cpu, ring);
    return chunk;
  }

  /** Takes a chunk back. Throws RangeError when it was not handed out. */
  release(chunk: Chunk): void {
    if (!chunk.inUse) throw new RangeError("Cannot release a chunk: it is not in use");
    chunk.inUse = false;
    this.#free.push(chunk);
  }
}
