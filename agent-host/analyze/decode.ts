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
// are counted; the merger copes. Where two fits of the clock meet, a later perf time may convert to
// an earlier cycle; that one is raised to its predecessor's, which stays within the wider bound.
// What the segment guarantees over the times that it converted goes along (bound_runs.ts).

import { CONTEXT_TASKS } from "../../shared/expr/batch_context.ts";
import { PERF_RECORD_SAMPLE, RECORD_HEADER_BYTES } from "../../shared/perf/record.ts";
import { boundOver, segmentDelta, type TimeSegment } from "../../shared/tsc/time_segment.ts";
import {
  CHUNK_RECORDS_MAX,
  type Chunk,
  NO_EVENT,
  RAW_BYTES_MIN,
  SAMPLE_BYTES_MIN,
} from "./chunk.ts";
import { type DecodeCounters, noCounters } from "./decode_counters.ts";
import type { EventLookup } from "./event_lookup.ts";
import type { SampleLayout } from "./sample_layout.ts";
import { SideRecords, type TaskListener } from "./side_records.ts";

const TWO_32 = 4294967296;
/** Plain sample: header 8, time 8, raw size 4, raw data. */
const PLAIN_RAW_OFFSET = 20;

/** An interrupt's records may lie this far before the record that it interrupted. */
const NESTING_NS_MAX = 1_000_000;

/** perf time to canonical time: the segment in force at a time, see TimeMap. */
export interface TimeSegments {
  at(lo: number, hi: number): TimeSegment | undefined;
}

/** Decodes one ring. Holds what must survive from span to span; no descriptor, no clock. */
export class RingDecoder {
  readonly counters: DecodeCounters = noCounters();
  /** The newest time decoded; -Infinity before the first. */
  lastCycles = Number.NEGATIVE_INFINITY;
  /** The perf time that it was converted from. */
  #lastLo = 0;
  #lastHi = 0;
  /**
   * The present plus the clock's bound: a record that was read cannot be newer. A stamp beyond it
   * is false (a hostile guest, a broken clock model) and would hold up the merger for good, so it
   * is set back to this.
   */
  latestCycles = Number.POSITIVE_INFINITY;
  readonly #lookup: EventLookup;
  readonly #layout: SampleLayout;
  readonly #sideRecords: SideRecords;
  /** Loss, of a number that may be unknown, before the first record of the next span. */
  #isLossNext = false;
  #lostBeforeNext = 0;
  #lostSinceCycles = 0;
  /** The run of records that is being converted by one segment: where it begins in the chunk. */
  #run: TimeSegment | undefined;
  #runFrom = 0;
  /** Its earliest and latest time as the segment's delta; but for those that only #lastLo knows. */
  #runLow = 0;
  #runHigh = 0;
  #isRunRaised = false;
  /** Of lastCycles: a time that is raised to it is as wrong. And what it was as the run began. */
  #lastBound = 0;
  #runLastLo = 0;
  #runLastHi = 0;

  constructor(lookup: EventLookup, layout: SampleLayout, tasks?: TaskListener) {
    this.#lookup = lookup;
    this.#layout = layout;
    this.#sideRecords = new SideRecords(this.counters, layout.trailerBytes, tasks);
  }

  /**
   * `events` were lost before the record that is decoded next, and no record says so: bytes of the
   * ring never came, or found no room. 0 where nobody can say how many. `sinceCycles`: nothing was
   * lost before that.
   */
  noteLost(events: number, sinceCycles = this.lastCycles): void {
    if (!this.#isLossNext) this.#lostSinceCycles = Math.max(sinceCycles, this.lastCycles);
    this.#isLossNext = true;
    this.#lostBeforeNext += events;
  }

  /** What was decoded last is off by up to `cycles` more: a time that is raised to it is, too. */
  doubt(cycles: number): void {
    this.#lastBound += cycles;
  }

  /**
   * Decodes the records in bytes `fromByte` to `toByte` of the chunk, appending to its columns, and
   * returns how many bytes it walked: all of them unless a record's size was impossible. Throws
   * RangeError when the range is not 8-aligned or does not fit the chunk, or `time` has no segment.
   */
  decodeSpan(chunk: Chunk, fromByte: number, toByte: number, time: TimeSegments): number {
    checkRange(chunk, fromByte, toByte);
    const layout = this.#layout;
    if (this.#isLossNext) {
      chunk.addLost(this.#lostBeforeNext, this.#lostSinceCycles);
      this.#isLossNext = false;
      this.#lostBeforeNext = 0;
    }
    chunk.hasChains = layout.hasChain;
    chunk.context[CONTEXT_TASKS] = layout.tasksOffset < 0 ? 0 : chunk.tasksColumnOffset;
    const from = (chunk.bytesOffset + fromByte) >>> 2;
    const to = (chunk.bytesOffset + toByte) >>> 2;
    const stop = layout.isPlain
      ? this.#walkPlain(chunk, from, to, time)
      : this.#walk(chunk, from, to, time);
    if (stop < to) {
      this.counters.malformedSpans++;
      this.counters.malformedBytes += (to - stop) * 4;
    }
    this.#endRun(chunk, chunk.count);
    this.#keepTrailingLoss(chunk);
    return (stop - from) * 4;
  }

  /** TIME and RAW only. Positions are words; returns where it stopped. */
  #walkPlain(chunk: Chunk, from: number, to: number, time: TimeSegments): number {
    const { words, timeCycles, event, rawOffset, rawBytes } = chunk;
    const byType = this.#lookup.byType;
    const counters = this.counters;
    const latest = this.latestCycles;
    // No segment yet: the empty range makes the first record ask for one.
    let { baseLo, baseHi, originCycles, slope, deltaFrom, deltaTo } = NO_SEGMENT;
    let { lastCycles } = this;
    let lastLo = this.#lastLo;
    let lastHi = this.#lastHi;
    let count = chunk.count;
    let at = from;
    while (at < to) {
      const size = words[at + 1]! >>> 16;
      const next = at + (size >>> 2);
      // Below 8 it would not advance; other sizes than multiples of 8 the kernel never writes.
      if (size < RECORD_HEADER_BYTES || (size & 7) !== 0 || next > to) break;
      if (words[at] !== PERF_RECORD_SAMPLE) {
        chunk.count = count;
        this.#advance(lastCycles, lastLo, lastHi);
        this.#side(chunk, at, size, time);
        at = next;
        continue;
      }
      counters.samples++;
      const raw = words[at + 4]!;
      const index = byType[words[at + 5]! & 0xffff]!;
      // The words behind a record too short for them are the chunk's own: read, not believed.
      if (size < SAMPLE_BYTES_MIN || raw < RAW_BYTES_MIN || raw > size - PLAIN_RAW_OFFSET) {
        counters.malformedSamples++;
      } else if (index === NO_EVENT) {
        counters.unknownEvents++;
      } else {
        const lo = words[at + 2]!;
        const hi = words[at + 3]!;
        let delta = ((hi - baseHi) | 0) * TWO_32 + (lo - baseLo);
        if (!(delta >= deltaFrom && delta < deltaTo)) {
          this.#advance(lastCycles, lastLo, lastHi);
          const segment = this.#turnRun(chunk, count, time, lo, hi);
          ({ baseLo, baseHi, originCycles, slope, deltaFrom, deltaTo } = segment);
          delta = ((hi - baseHi) | 0) * TWO_32 + (lo - baseLo);
        }
        let cycles = originCycles + slope * delta;
        if (cycles < lastCycles || cycles > latest) {
          this.#advance(lastCycles, lastLo, lastHi);
          cycles = this.#mend(cycles, lo, hi);
          lastCycles = this.lastCycles;
          lastLo = this.#lastLo;
          lastHi = this.#lastHi;
        } else {
          lastCycles = cycles;
          lastLo = lo;
          lastHi = hi;
        }
        timeCycles[count] = cycles;
        event[count] = index;
        rawOffset[count] = at * 4 + PLAIN_RAW_OFFSET;
        rawBytes[count] = raw;
        count++;
      }
      at = next;
    }
    chunk.count = count;
    this.#advance(lastCycles, lastLo, lastHi);
    return at;
  }

  #advance(cycles: number, lo: number, hi: number): void {
    this.lastCycles = cycles;
    this.#lastLo = lo;
    this.#lastHi = hi;
  }

  /** Record `count` is converted by the segment in force at its time, from here on. */
  #turnRun(chunk: Chunk, count: number, time: TimeSegments, lo: number, hi: number): TimeSegment {
    const segment = segmentAt(time, lo, hi);
    if (segment === this.#run) return segment;
    this.#endRun(chunk, count);
    this.#run = segment;
    this.#runFrom = count;
    this.#runLow = segmentDelta(segment, lo, hi);
    this.#runHigh = this.#runLow;
    this.#runLastLo = this.#lastLo;
    this.#runLastHi = this.#lastHi;
    return segment;
  }

  /** The run ends before record `count`: its bound is that of the times that it met. */
  #endRun(chunk: Chunk, count: number): void {
    const segment = this.#run;
    this.#run = undefined;
    if (segment === undefined || count === this.#runFrom) return;
    const last = segmentDelta(segment, this.#lastLo, this.#lastHi);
    const low = Math.min(this.#runLow, last);
    const bound = boundOver(segment, low, Math.max(this.#runHigh, last));
    const greatest = Math.max(bound, this.#lastBound);
    const isRaised = this.#isRunRaised;
    this.#isRunRaised = false;
    const hasAdvanced = this.#lastLo !== this.#runLastLo || this.#lastHi !== this.#runLastHi;
    this.#lastBound = hasAdvanced && !isRaised ? bound : greatest;
    chunk.bounds.add(this.#runFrom, isRaised ? greatest : bound, isRaised ? undefined : segment);
  }

  /** A time that is older than the one before, or later than the present. */
  #mend(cycles: number, lo: number, hi: number): number {
    const { counters, latestCycles } = this;
    let mended = cycles;
    if (this.#run !== undefined) {
      const delta = segmentDelta(this.#run, lo, hi);
      this.#runLow = Math.min(this.#runLow, delta);
      this.#runHigh = Math.max(this.#runHigh, delta);
    }
    if (mended > latestCycles) {
      counters.fromFuture++;
      mended = latestCycles;
    }
    if (mended < this.lastCycles) {
      const step = ((hi - this.#lastHi) | 0) * TWO_32 + (lo - this.#lastLo);
      if (step < 0 || this.lastCycles > latestCycles) {
        counters.backwards++;
        if (step < -NESTING_NS_MAX) counters.farBackwards++;
        return mended;
      }
      counters.raised++;
      this.#isRunRaised = true;
      mended = this.lastCycles;
    }
    this.#advance(mended, lo, hi);
    return mended;
  }

  /** Any layout. Positions are words; returns where it stopped. */
  #walk(chunk: Chunk, from: number, to: number, time: TimeSegments): number {
    const words = chunk.words;
    let at = from;
    while (at < to) {
      const size = words[at + 1]! >>> 16;
      const next = at + (size >>> 2);
      if (size < RECORD_HEADER_BYTES || (size & 7) !== 0 || next > to) break;
      if (words[at] === PERF_RECORD_SAMPLE) {
        this.counters.samples++;
        this.#sample(chunk, at, size, time);
      } else {
        this.#side(chunk, at, size, time);
      }
      at = next;
    }
    return at;
  }

  #sample(chunk: Chunk, at: number, size: number, time: TimeSegments): void {
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
    const cycles = this.#convert(chunk, words[timeAt]!, words[timeAt + 1]!, time);
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

  #convert(chunk: Chunk, lo: number, hi: number, time: TimeSegments): number {
    const segment = this.#turnRun(chunk, chunk.count, time, lo, hi);
    const delta = ((hi - segment.baseHi) | 0) * TWO_32 + (lo - segment.baseLo);
    const cycles = segment.originCycles + segment.slope * delta;
    if (cycles < this.lastCycles || cycles > this.latestCycles) return this.#mend(cycles, lo, hi);
    this.#advance(cycles, lo, hi);
    return cycles;
  }

  #side(chunk: Chunk, at: number, size: number, time: TimeSegments): void {
    const cycles = this.#sideCycles(chunk.words, at, size, time);
    const lost = this.#sideRecords.read(chunk, at, size, cycles);
    if (lost > 0) chunk.addLost(lost, this.lastCycles);
  }

  /** When a record that is no sample was written: by its trailer, or after the last sample. */
  #sideCycles(words: Uint32Array, at: number, size: number, time: TimeSegments): number {
    const { trailerBytes, trailerTimeBack } = this.#layout;
    if (trailerTimeBack === 0 || size < RECORD_HEADER_BYTES + trailerBytes) return this.lastCycles;
    const word = at + ((size - trailerTimeBack) >>> 2);
    const [lo, hi] = [words[word]!, words[word + 1]!];
    const segment = segmentAt(time, lo, hi);
    const delta = ((hi - segment.baseHi) | 0) * TWO_32 + (lo - segment.baseLo);
    return segment.originCycles + segment.slope * delta;
  }

  /** Loss that no record of this chunk follows belongs in front of the next chunk's first one. */
  #keepTrailingLoss(chunk: Chunk): void {
    const marker = chunk.lostCount - 1;
    if (marker < 0 || chunk.lostIndex[marker] !== chunk.count) return;
    this.#isLossNext = true;
    this.#lostBeforeNext = chunk.lostEvents[marker]!;
    this.#lostSinceCycles = chunk.lostSinceCycles[marker]!;
    chunk.lostCount = marker;
  }
}

const NO_SEGMENT = {
  baseLo: 0,
  baseHi: 0,
  originCycles: 0,
  slope: 0,
  deltaFrom: Number.POSITIVE_INFINITY,
  deltaTo: Number.NEGATIVE_INFINITY,
};

function segmentAt(time: TimeSegments, lo: number, hi: number): TimeSegment {
  const segment = time.at(lo, hi);
  if (segment === undefined) {
    throw new RangeError("Cannot decode samples: the clock has no segment yet, wanted one before");
  }
  return segment;
}

/** The caller's mistakes; what is in the bytes is checked record by record. */
function checkRange(chunk: Chunk, fromByte: number, toByte: number): void {
  const isAligned = ((fromByte | toByte) & 7) === 0;
  if (!isAligned || fromByte < 0 || toByte < fromByte || toByte > chunk.bytes.length) {
    throw new RangeError(
      `Cannot decode bytes ${fromByte} to ${toByte}: wanted a range of multiples of 8 within ` +
        `${chunk.bytes.length} bytes`,
    );
  }
  const roomBytes = (CHUNK_RECORDS_MAX - chunk.count) * SAMPLE_BYTES_MIN;
  if (toByte - fromByte > roomBytes) {
    throw new RangeError(
      `Cannot decode ${toByte - fromByte} bytes: the columns have room for ${roomBytes}, ` +
        "wanted each byte once",
    );
  }
}
