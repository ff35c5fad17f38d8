// Merger: many rings, each in its own order, become one stream in the order of canonical time.
//
//   ring 0   10 11 12 |          40       runs handed on:   ring 0: 10 11 12
//   ring 1            | 20 21             (chunk,from,to)   ring 1: 20 21
//   ring 2            |       30          with 35 known     ring 2: 30
//                     watermark           from everybody    ... 40 waits
//
// A source (one machine's stream) says up to when it has sent everything; the least of these is the
// watermark, and only what lies before it is released. What goes on are runs, not events: the ring
// with the smallest head runs until it passes the second smallest, so the heap is touched once per
// run. Equal times go in the order of the rings.
//
// An event older than one released already is late: it is released next, in time order among the
// late ones, and counted. A ring that goes backwards in itself is not repaired: its older record is
// late. Memory is bounded by the number of queued chunks; beyond it the oldest are released
// although the watermark does not cover them, which is counted as well.

import type { Chunk } from "./chunk.ts";
import { widen } from "./widen.ts";

/** Sources of a session: the host and its guests. */
export const SOURCES_MAX = 256;
/** Rings of a session: each source has room for 1024 CPUs, whatever the others have. */
export const RINGS_MAX = 262_144;
/** Rings that there is room for at first; it doubles. */
const RINGS_MIN = 1024;

/** Takes records `from` to `to` (exclusive) of a chunk. The chunk is only valid during the call. */
export type RunSink = (chunk: Chunk, from: number, to: number) => void;

/** Settings of a merger. */
export interface MergerOptions {
  readonly onRun: RunSink;
  /** Called when the last record of a chunk has been released. */
  readonly releaseChunk: (chunk: Chunk) => void;
  /** Chunks that may wait; fewer than the pool has, so that its readers can go on. */
  readonly queuedChunksMax: number;
}

/** What the merger did. */
export interface MergerCounters {
  released: number;
  runs: number;
  /** Released after an event with a later time. */
  late: number;
}

interface Ring {
  readonly source: number;
  readonly waiting: Chunk[];
  current: Chunk | undefined;
  /** Next record of `current`. */
  position: number;
}

interface Source {
  progressCycles: number;
  isOpen: boolean;
  queuedChunks: number;
  /** What it sends is of the past: nobody is told that it comes late. */
  isPast: boolean;
}

/** Merges rings by time. Push chunks, tell progress, release. */
export class Merger {
  readonly counters: MergerCounters = {
    released: 0,
    runs: 0,
    late: 0,
  };
  /** The latest time released so far. */
  frontierCycles = Number.NEGATIVE_INFINITY;
  readonly #onRun: RunSink;
  readonly #releaseChunk: (chunk: Chunk) => void;
  readonly #queuedChunksMax: number;
  readonly #rings: Ring[] = [];
  readonly #sources: Source[] = [];
  /** A binary heap of the rings that have a record, by (head time, ring). */
  #heap = new Int32Array(RINGS_MIN);
  #heapSize = 0;
  #headCycles = new Float64Array(RINGS_MIN);
  #queuedChunks = 0;

  constructor(options: MergerOptions) {
    if (!(options.queuedChunksMax >= 1)) {
      throw new RangeError(
        `Cannot make a merger: ${options.queuedChunksMax} queued chunks, wanted at least 1`,
      );
    }
    this.#onRun = options.onRun;
    this.#releaseChunk = options.releaseChunk;
    this.#queuedChunksMax = options.queuedChunksMax;
  }

  /** Adds an open source that has made no progress. Throws RangeError beyond SOURCES_MAX. */
  addSource(): number {
    if (this.#sources.length >= SOURCES_MAX) {
      throw new RangeError(`Cannot add a source: there are ${SOURCES_MAX}, wanted fewer`);
    }
    const progressCycles = Number.NEGATIVE_INFINITY;
    return this.#sources.push({ progressCycles, isOpen: true, queuedChunks: 0, isPast: false }) - 1;
  }

  /** Adds a ring of a source. Throws RangeError beyond RINGS_MAX. */
  addRing(source: number): number {
    this.#source(source);
    if (this.#rings.length >= RINGS_MAX) {
      throw new RangeError(`Cannot add a ring: there are ${RINGS_MAX}, wanted fewer`);
    }
    if (this.#rings.length === this.#heap.length) this.#makeRoom();
    return this.#rings.push({ source, waiting: [], current: undefined, position: 0 }) - 1;
  }

  /** Chunks waiting, of one source or of all. */
  queuedChunks(source?: number): number {
    return source === undefined ? this.#queuedChunks : this.#source(source).queuedChunks;
  }

  /** All records of the source before `cycles` have been pushed. Going back is ignored. */
  setProgress(source: number, cycles: number): void {
    const state = this.#source(source);
    if (cycles > state.progressCycles) state.progressCycles = cycles;
  }

  /** The source holds nobody up any more; what it pushed is released in its turn. */
  closeSource(source: number): void {
    this.#source(source).isOpen = false;
  }

  /** The source is a flight recorder: what it sends happened before it was asked. */
  expectPast(source: number): void {
    this.#source(source).isPast = true;
  }

  /** The source is back (a guest that reconnected) and counts for the watermark again. */
  reopenSource(source: number): void {
    this.#source(source).isOpen = true;
  }

  /** Before this everything is known; Infinity when no source is open. */
  watermarkCycles(): number {
    let least = Number.POSITIVE_INFINITY;
    for (const source of this.#sources) {
      if (source.isOpen && source.progressCycles < least) least = source.progressCycles;
    }
    return least;
  }

  /** Takes a decoded chunk of ring `chunk.ring`, newer than those pushed before for that ring. */
  push(chunk: Chunk): void {
    const ring = this.#rings[chunk.ring];
    if (ring === undefined) {
      throw new RangeError(`Cannot merge a chunk of ring ${chunk.ring}: wanted one from addRing()`);
    }
    if (chunk.count === 0) {
      this.#releaseChunk(chunk);
      return;
    }
    this.#queuedChunks++;
    this.#source(ring.source).queuedChunks++;
    if (ring.current === undefined) {
      this.#start(chunk.ring, ring, chunk);
      this.#insert(chunk.ring);
    } else {
      ring.waiting.push(chunk);
    }
    if (this.#queuedChunks > this.#queuedChunksMax) this.forceRelease(this.#queuedChunksMax);
  }

  /** Releases what lies before the watermark; returns the number of events. */
  release(): number {
    return this.#releaseBefore(this.watermarkCycles(), -1);
  }

  /** Releases everything, in order, as at the end of a session; returns the number of events. */
  flush(): number {
    return this.#releaseBefore(Number.POSITIVE_INFINITY, -1);
  }

  /** Releases the oldest events, watermark or not, until at most `chunksMax` chunks wait. */
  forceRelease(chunksMax: number): number {
    if (this.#queuedChunks <= chunksMax) return 0;
    return this.#releaseBefore(Number.POSITIVE_INFINITY, chunksMax);
  }

  #makeRoom(): void {
    this.#heap = widen(this.#heap, new Int32Array(2 * this.#heap.length));
    this.#headCycles = widen(this.#headCycles, new Float64Array(2 * this.#headCycles.length));
  }

  #source(source: number): Source {
    const state = this.#sources[source];
    if (state === undefined) {
      throw new RangeError(`Cannot find source ${source}: wanted one from addSource()`);
    }
    return state;
  }

  #start(index: number, ring: Ring, chunk: Chunk): void {
    ring.current = chunk;
    ring.position = 0;
    this.#headCycles[index] = chunk.timeCycles[0]!;
  }

  /** Runs until the heads reach `limit`, or at most `chunksMax` chunks wait. */
  #releaseBefore(limit: number, chunksMax: number): number {
    const before = this.counters.released;
    const heads = this.#headCycles;
    const heap = this.#heap;
    while (this.#heapSize > 0 && this.#queuedChunks > chunksMax) {
      const index = heap[0]!;
      if (!(heads[index]! < limit)) break;
      const second = this.#second();
      const secondCycles = second < 0 ? Number.POSITIVE_INFINITY : heads[second]!;
      // Equal times go in the order of the rings, so the first ring takes its equals along.
      const isInclusive = secondCycles < limit && index < second;
      this.#run(index, Math.min(limit, secondCycles), isInclusive);
    }
    return this.counters.released - before;
  }

  /** Hands on records of the ring in front up to `until`; at least one. */
  #run(index: number, until: number, isInclusive: boolean): void {
    const ring = this.#rings[index]!;
    const chunk = ring.current!;
    const { timeCycles, count } = chunk;
    const from = ring.position;
    let to = from;
    while (to < count && (timeCycles[to]! < until || (isInclusive && timeCycles[to] === until))) {
      to++;
    }
    const counters = this.counters;
    if (timeCycles[from]! < this.frontierCycles && !this.#sources[ring.source]!.isPast) {
      counters.late += this.#countLate(chunk, from, to);
    }
    counters.released += to - from;
    counters.runs++;
    const lastCycles = timeCycles[to - 1]!;
    if (lastCycles > this.frontierCycles) this.frontierCycles = lastCycles;
    this.#onRun(chunk, from, to);
    if (to < count) {
      ring.position = to;
      this.#headCycles[index] = timeCycles[to]!;
    } else {
      this.#finish(index, ring, chunk);
    }
    this.#sink();
  }

  /** Back to the pool with the current chunk, on to the next one of the ring. */
  #finish(index: number, ring: Ring, chunk: Chunk): void {
    this.#queuedChunks--;
    this.#sources[ring.source]!.queuedChunks--;
    const next = ring.waiting.shift();
    if (next !== undefined) {
      this.#start(index, ring, next);
    } else {
      ring.current = undefined;
      // The last of the heap takes the place in front; sink() then finds where it belongs.
      this.#heap[0] = this.#heap[--this.#heapSize]!;
    }
    this.#releaseChunk(chunk);
  }

  #countLate(chunk: Chunk, from: number, to: number): number {
    let late = 0;
    for (let i = from; i < to; i++) if (chunk.timeCycles[i]! < this.frontierCycles) late++;
    return late;
  }

  /** The ring with the second smallest head, or -1: one of the two children of the root. */
  #second(): number {
    const size = this.#heapSize;
    if (size < 2) return -1;
    const left = this.#heap[1]!;
    if (size < 3) return left;
    const right = this.#heap[2]!;
    return this.#isBefore(right, left) ? right : left;
  }

  #isBefore(a: number, b: number): boolean {
    const headA = this.#headCycles[a]!;
    const headB = this.#headCycles[b]!;
    return headA < headB || (headA === headB && a < b);
  }

  /** Adds a ring at the end of the heap and lets it rise. */
  #insert(index: number): void {
    const heap = this.#heap;
    let at = this.#heapSize++;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#isBefore(index, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = index;
  }

  /** The root's head has changed: lets it sink. */
  #sink(): void {
    const heap = this.#heap;
    const size = this.#heapSize;
    if (size < 2) return;
    const index = heap[0]!;
    let at = 0;
    for (;;) {
      let child = at * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && this.#isBefore(heap[child + 1]!, heap[child]!)) child++;
      if (!this.#isBefore(heap[child]!, index)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = index;
  }
}
