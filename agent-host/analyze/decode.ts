// RingDecoder: the records of one ring (machine, CPU) become columns of a chunk.
//
//   09 00 00 00 02 00 58 00   struct perf_event_header: PERF_RECORD_SAMPLE, misc, 88 bytes
//   c0 2a 5e 11 8f 03 00 00   u64 time
//   44 00 00 00               u32 size of the raw data (padded by the kernel to end 8-aligned)
//   19 01 00 01 de 25 00 00   raw data: u16 common_type, u8 flags, u8 preempt_count, s32 pid, ...
//
// The bytes come from a guest, so nothing in them is believed: a record that contradicts itself is
// counted and skipped; a length that leaves the span ends it there, since where the next record
// begins is then unknown. Nothing is read outside the span. The perf time becomes canonical time
// on the way, by the affine segment in force (see shared/tsc/time_map.ts).
//
// Times of one ring rise, but not strictly: an interrupt between the kernel's reading of the clock
// and its reservation of ring space puts a later time first. Such records keep their true time and
// are counted; the merger copes.

import {
  PERF_RECORD_COMM,
  PERF_RECORD_EXIT,
  PERF_RECORD_FORK,
  PERF_RECORD_LOST,
  PERF_RECORD_LOST_SAMPLES,
  PERF_RECORD_SAMPLE,
  PERF_RECORD_THROTTLE,
  PERF_RECORD_UNTHROTTLE,
} from "../../shared/perf/record_abi.ts";
import {
  CHUNK_RECORDS_MAX,
  type Chunk,
  CONTEXT_TASKS,
  NO_EVENT,
  RAW_BYTES_MIN,
  SAMPLE_BYTES_MIN,
} from "./chunk.ts";
import type { EventLookup } from "./event_lookup.ts";
import type { SampleLayout } from "./sample_layout.ts";

/** TASK_COMM_LEN of the kernel, with its NUL. */
export const TASK_COMM_BYTES = 16;

const TWO_32 = 4294967296;
/** Plain sample: header 8, time 8, raw size 4, raw data. */
const PLAIN_RAW_OFFSET = 20;

/** perf time to canonical time: origin + slope * (time - base), with the base as a u32 pair. */
export interface AffineTime {
  readonly baseLo: number;
  readonly baseHi: number;
  readonly originCycles: number;
  /** Host TSC cycles per unit of perf time. */
  readonly slope: number;
}

/** Told of task names and lives, rarely. The bytes are only valid during the call. */
export interface TaskListener {
  comm(
    machine: number,
    pid: number,
    tid: number,
    memory: Uint8Array,
    from: number,
    to: number,
  ): void;
  fork(machine: number, pid: number, tid: number, parentPid: number, parentTid: number): void;
  exit(machine: number, pid: number, tid: number): void;
}

/** What a ring held, to the record. */
export interface DecodeCounters {
  /** PERF_RECORD_SAMPLE records, whatever became of them. */
  samples: number;
  /** Of these: no event of the session has this type or identifier. */
  unknownEvents: number;
  /** Of these: fields that contradict the record's size. */
  malformedSamples: number;
  /** Of these: stamped before the one in front of them. */
  backwards: number;
  /** Of these: stamped after latestCycles, and set back to it. */
  fromFuture: number;
  /** Sum of PERF_RECORD_LOST and PERF_RECORD_LOST_SAMPLES. */
  lostEvents: number;
  taskRecords: number;
  throttled: number;
  /** Records of other types, and those whose size does not fit their type. */
  skippedRecords: number;
  /** Spans given up because of an impossible record size, and the bytes behind that place. */
  malformedSpans: number;
  malformedBytes: number;
}

/** Decodes one ring. Holds what must survive from span to span; no descriptor, no clock. */
export class RingDecoder {
  readonly counters: DecodeCounters = {
    samples: 0,
    unknownEvents: 0,
    malformedSamples: 0,
    backwards: 0,
    fromFuture: 0,
    lostEvents: 0,
    taskRecords: 0,
    throttled: 0,
    skippedRecords: 0,
    malformedSpans: 0,
    malformedBytes: 0,
  };
  /** The newest time decoded; -Infinity before the first. */
  lastCycles = Number.NEGATIVE_INFINITY;
  /**
   * The present plus the clock's bound: a record that was read cannot be newer. A stamp beyond it is
   * false (a hostile guest, a broken clock model) and would hold up the merger for good, so it is
   * set back to this.
   */
  latestCycles = Number.POSITIVE_INFINITY;
  readonly #lookup: EventLookup;
  readonly #layout: SampleLayout;
  readonly #tasks: TaskListener | undefined;
  /** Loss reported by the end of a span: it lies before the first record of the next one. */
  #lostBeforeNext = 0;
  #lostSinceCycles = 0;

  constructor(lookup: EventLookup, layout: SampleLayout, tasks?: TaskListener) {
    this.#lookup = lookup;
    this.#layout = layout;
    this.#tasks = tasks;
  }

  /**
   * Decodes the records in bytes `fromByte` to `toByte` of the chunk, appending to its columns, and
   * returns how many bytes it walked: all of them unless a record's size was impossible. Throws
   * RangeError when the range is not 8-aligned or does not fit the chunk.
   */
  decodeSpan(chunk: Chunk, fromByte: number, toByte: number, time: AffineTime): number {
    const spanBytes = toByte - fromByte;
    const isAligned = ((fromByte | toByte) & 7) === 0;
    const room = (CHUNK_RECORDS_MAX - chunk.count) * SAMPLE_BYTES_MIN;
    if (!isAligned || fromByte < 0 || spanBytes < 0 || toByte > chunk.bytes.length) {
      throw new RangeError(
        `Cannot decode bytes ${fromByte} to ${toByte}: wanted a range of multiples of 8 within ` +
          `${chunk.bytes.length} bytes`,
      );
    }
    if (spanBytes > room) {
      throw new RangeError(
        `Cannot decode ${spanBytes} bytes: the columns have room for ${room}, wanted each byte once`,
      );
    }
    if (this.#lostBeforeNext > 0) {
      chunk.addLost(this.#lostBeforeNext, this.#lostSinceCycles);
      this.#lostBeforeNext = 0;
    }
    chunk.hasChains = this.#layout.hasChain;
    chunk.context[CONTEXT_TASKS] = this.#layout.tasksOffset < 0 ? 0 : chunk.tasksColumnOffset;
    const from = (chunk.bytesOffset + fromByte) >>> 2;
    const to = from + (spanBytes >>> 2);
    const stop = this.#layout.isPlain
      ? this.#walkPlain(chunk, from, to, time)
      : this.#walk(chunk, from, to, time);
    if (stop < to) {
      this.counters.malformedSpans++;
      this.counters.malformedBytes += (to - stop) * 4;
    }
    this.#keepTrailingLoss(chunk);
    return (stop - from) * 4;
  }

  /** TIME and RAW only. Positions are words; returns where it stopped. */
  #walkPlain(chunk: Chunk, from: number, to: number, time: AffineTime): number {
    const { words, timeCycles, event, rawOffset, rawBytes } = chunk;
    const byType = this.#lookup.byType;
    const { baseLo, baseHi, originCycles, slope } = time;
    const counters = this.counters;
    const latest = this.latestCycles;
    let last = this.lastCycles;
    let count = chunk.count;
    let at = from;
    while (at < to) {
      const size = words[at + 1]! >>> 16;
      const next = at + (size >>> 2);
      // Below 8 it would not advance; other sizes than multiples of 8 the kernel never writes.
      if (size < 8 || (size & 7) !== 0 || next > to) break;
      if (words[at] !== PERF_RECORD_SAMPLE) {
        chunk.count = count;
        this.lastCycles = last;
        this.#other(chunk, at, size);
        at = next;
        continue;
      }
      counters.samples++;
      const raw = words[at + 4]!;
      if (size < SAMPLE_BYTES_MIN || raw < RAW_BYTES_MIN || raw > size - PLAIN_RAW_OFFSET) {
        counters.malformedSamples++;
        at = next;
        continue;
      }
      const index = byType[words[at + 5]! & 0xffff]!;
      if (index === NO_EVENT) {
        counters.unknownEvents++;
        at = next;
        continue;
      }
      const delta = (words[at + 3]! - baseHi) * TWO_32 + (words[at + 2]! - baseLo);
      let cycles = originCycles + slope * delta;
      if (cycles > latest) {
        counters.fromFuture++;
        cycles = latest;
      }
      if (cycles < last) counters.backwards++;
      else last = cycles;
      timeCycles[count] = cycles;
      event[count] = index;
      rawOffset[count] = at * 4 + PLAIN_RAW_OFFSET;
      rawBytes[count] = raw;
      count++;
      at = next;
    }
    chunk.count = count;
    this.lastCycles = last;
    return at;
  }

  /** Any layout. Positions are words; returns where it stopped. */
  #walk(chunk: Chunk, from: number, to: number, time: AffineTime): number {
    const words = chunk.words;
    let at = from;
    while (at < to) {
      const size = words[at + 1]! >>> 16;
      const next = at + (size >>> 2);
      if (size < 8 || (size & 7) !== 0 || next > to) break;
      if (words[at] === PERF_RECORD_SAMPLE) {
        this.counters.samples++;
        this.#sample(chunk, at, size, time);
      } else {
        this.#other(chunk, at, size);
      }
      at = next;
    }
    return at;
  }

  #sample(chunk: Chunk, at: number, size: number, time: AffineTime): void {
    const { words } = chunk;
    const { timeOffset, tasksOffset, idOffset, fixedBytes, hasChain } = this.#layout;
    let rawAt = fixedBytes;
    if (hasChain && rawAt + 8 <= size) {
      const word = at + (rawAt >>> 2);
      const chainLength = words[word]!;
      // Checked before it is multiplied: at most as many entries as the record has room for.
      if (words[word + 1] !== 0 || chainLength > (size - rawAt) >>> 3) rawAt = size;
      else rawAt += 8 + chainLength * 8;
    }
    // Order matters: the raw size is only read when it lies within the record.
    if (rawAt + 4 + RAW_BYTES_MIN > size) {
      this.counters.malformedSamples++;
      return;
    }
    const raw = words[at + (rawAt >>> 2)]!;
    if (raw < RAW_BYTES_MIN || raw > size - rawAt - 4) {
      this.counters.malformedSamples++;
      return;
    }
    const dataAt = at + (rawAt >>> 2) + 1;
    const id = at + (idOffset >>> 2);
    const index =
      idOffset >= 0
        ? this.#lookup.identifier(words[id]!, words[id + 1]!)
        : this.#lookup.byType[words[dataAt]! & 0xffff]!;
    if (index === NO_EVENT) {
      this.counters.unknownEvents++;
      return;
    }
    const timeAt = at + (timeOffset >>> 2);
    const delta = (words[timeAt + 1]! - time.baseHi) * TWO_32 + (words[timeAt]! - time.baseLo);
    let cycles = time.originCycles + time.slope * delta;
    if (cycles > this.latestCycles) {
      this.counters.fromFuture++;
      cycles = this.latestCycles;
    }
    if (cycles < this.lastCycles) this.counters.backwards++;
    else this.lastCycles = cycles;
    const count = chunk.count++;
    chunk.timeCycles[count] = cycles;
    chunk.event[count] = index;
    chunk.rawOffset[count] = dataAt * 4;
    chunk.rawBytes[count] = raw;
    chunk.chainOffset[count] = hasChain ? at * 4 + fixedBytes : 0;
    if (tasksOffset >= 0) {
      const tasksAt = at + (tasksOffset >>> 2);
      chunk.tasks[count * 2] = words[tasksAt]!;
      chunk.tasks[count * 2 + 1] = words[tasksAt + 1]!;
    }
  }

  /** Everything but samples; rare. */
  #other(chunk: Chunk, at: number, size: number): void {
    const { words } = chunk;
    const body = size - this.#layout.trailerBytes;
    switch (words[at]) {
      case PERF_RECORD_LOST:
        // u64 id, u64 lost
        if (body < 24) break;
        this.#lost(chunk, words[at + 4]!, words[at + 5]!);
        return;
      case PERF_RECORD_LOST_SAMPLES:
        // u64 lost
        if (body < 16) break;
        this.#lost(chunk, words[at + 2]!, words[at + 3]!);
        return;
      case PERF_RECORD_COMM:
        // u32 pid, tid; char comm[], NUL-terminated and padded
        if (body < 24) break;
        this.#comm(chunk, at, Math.min(body - 16, TASK_COMM_BYTES));
        return;
      case PERF_RECORD_FORK:
      case PERF_RECORD_EXIT:
        // u32 pid, ppid, tid, ptid; u64 time
        if (body < 32) break;
        this.counters.taskRecords++;
        if (words[at] === PERF_RECORD_EXIT) {
          this.#tasks?.exit(chunk.machine, words[at + 2]!, words[at + 4]!);
        } else {
          this.#tasks?.fork(
            chunk.machine,
            words[at + 2]!,
            words[at + 4]!,
            words[at + 3]!,
            words[at + 5]!,
          );
        }
        return;
      case PERF_RECORD_THROTTLE:
        this.counters.throttled++;
        return;
      case PERF_RECORD_UNTHROTTLE:
        return;
    }
    this.counters.skippedRecords++;
  }

  #lost(chunk: Chunk, lo: number, hi: number): void {
    // A count above 2^53 is no count: taken as it is, sums only become inexact, never negative.
    const events = hi * TWO_32 + lo;
    this.counters.lostEvents += events;
    if (events > 0) chunk.addLost(events, this.lastCycles);
  }

  #comm(chunk: Chunk, at: number, bytesMax: number): void {
    this.counters.taskRecords++;
    const { words, memory } = chunk;
    const from = at * 4 + 16;
    let to = from;
    while (to < from + bytesMax && memory[to] !== 0) to++;
    this.#tasks?.comm(chunk.machine, words[at + 2]!, words[at + 3]!, memory, from, to);
  }

  /** Loss that no record of this chunk follows belongs in front of the next chunk's first one. */
  #keepTrailingLoss(chunk: Chunk): void {
    const marker = chunk.lostCount - 1;
    if (marker < 0 || chunk.lostIndex[marker] !== chunk.count) return;
    this.#lostBeforeNext = chunk.lostEvents[marker]!;
    this.#lostSinceCycles = chunk.lostSinceCycles[marker]!;
    chunk.lostCount = marker;
  }
}
