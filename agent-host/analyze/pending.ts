// PendingEvents: the events of one stage that wait for their successor, one per key.
//
// Columns by entry of a KeyTable. When the limit is reached the oldest of a few is evicted: looking
// for the very oldest would cost more than the event is worth. The record's bytes are only kept
// when somebody may print them (--than, --detail).

import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import type { Chunk } from "./chunk.ts";
import type { Doubt } from "./doubts.ts";
import type { EventArena } from "./event_arena.ts";
import { KeyTable } from "./key_table.ts";
import { widen } from "./widen.ts";

/** Events that wait in one stage: 19 MB of columns. */
export const PENDING_MAX = 1 << 18;
/** Entries compared when one must go. */
const EVICTION_CANDIDATES = 8;

/** Start events of one stage by key. */
export class PendingEvents {
  timeCycles = new Float64Array(0);
  /** |error| of the time, and what it was converted with (see BoundRuns). */
  boundCycles = new Float64Array(0);
  readonly segment: (TimeSegment | undefined)[] = [];
  event = new Uint16Array(0);
  machine = new Uint16Array(0);
  cpu = new Uint32Array(0);
  /** Process id, or -1 when the records carry none. */
  pid = new Float64Array(0);
  /** Where the timeline stood when the event came. */
  sequence = new Float64Array(0);
  /** The copy of the raw data in the arena, -1 when there is none, and its size. */
  copyOffset = new Int32Array(0);
  rawBytes = new Uint32Array(0);
  /** Of the copy: the call chain in front of the raw data, see Chunk.leadBytesOf(). */
  leadBytes = new Uint32Array(0);
  /** Events whose key came again before their successor. */
  replaced = 0;
  /** Events thrown out because there was no room. */
  evicted = 0;
  readonly #table: KeyTable;
  readonly #arena: EventArena | undefined;
  #hand = 0;

  /** With an arena, the events' bytes are kept there. */
  constructor(seed: number, arena?: EventArena, entriesMax: number = PENDING_MAX) {
    this.#arena = arena;
    this.#table = new KeyTable(entriesMax, seed, (entries) => this.#grow(entries));
  }

  get size(): number {
    return this.#table.size;
  }

  /** The entry that waits under a key, or -1. */
  find(lo: number, hi: number): number {
    return this.#table.find(lo, hi);
  }

  /** The words of an entry's key. */
  keyLo(entry: number): number {
    return this.#table.lo[entry]!;
  }
  keyHi(entry: number): number {
    return this.#table.hi[entry]!;
  }

  /** Record `index` of the chunk waits from now on, instead of an older one with its key. */
  put(chunk: Chunk, index: number, sequence: number): void {
    const lo = chunk.key[index * 2]!;
    const hi = chunk.key[index * 2 + 1]!;
    const table = this.#table;
    let entry = table.put(lo, hi);
    if (entry < 0) {
      this.#evictFor(lo, hi);
      entry = table.put(lo, hi);
      // Still no place within reach: the newcomer is the one that goes.
      if (entry < 0) {
        this.evicted++;
        return;
      }
    }
    const arena = this.#arena;
    if (!table.isNew) {
      this.replaced++;
      arena?.free(this.copyOffset[entry]!, this.#copiedBytes(entry));
    }
    this.timeCycles[entry] = chunk.timeCycles[index]!;
    const { bounds } = chunk;
    const run = bounds.runOf(index);
    this.boundCycles[entry] = bounds.cycles[run]!;
    this.segment[entry] = bounds.segments[run];
    this.event[entry] = chunk.event[index]!;
    this.machine[entry] = chunk.machine;
    if (arena === undefined) return;
    const rawBytes = chunk.rawBytes[index]!;
    const lead = chunk.leadBytesOf(index);
    this.cpu[entry] = chunk.cpu;
    this.pid[entry] = chunk.pidOf(index);
    this.sequence[entry] = sequence;
    this.rawBytes[entry] = rawBytes;
    this.leadBytes[entry] = lead;
    const from = chunk.rawOffset[index]! - lead;
    this.copyOffset[entry] = arena.copy(chunk.memory, from, lead + rawBytes);
  }

  /** Events of a machine that wait since `fromCycles` are off by up to `extraCycles` more. */
  doubt({ machine, fromCycles, extraCycles, isWithin }: Doubt): void {
    const { timeCycles, boundCycles } = this;
    for (let entry = 0; entry < timeCycles.length; entry++) {
      if (this.machine[entry] !== machine || timeCycles[entry]! < fromCycles) continue;
      boundCycles[entry]! += extraCycles;
      if (isWithin) this.segment[entry] = undefined;
    }
  }

  /** The entry waits no more. */
  remove(entry: number): void {
    this.#arena?.free(this.copyOffset[entry]!, this.#copiedBytes(entry));
    this.#table.remove(entry);
  }

  #copiedBytes(entry: number): number {
    return this.leadBytes[entry]! + this.rawBytes[entry]!;
  }

  /** All entries are in use here, or the key's neighbourhood is. */
  #evictFor(lo: number, hi: number): void {
    this.evicted++;
    const entries = this.timeCycles.length;
    if (this.#table.size < entries) {
      const entry = this.#table.entryInTheWay(lo, hi);
      if (entry >= 0) this.remove(entry);
      return;
    }
    let oldest = this.#hand;
    for (let i = 0; i < EVICTION_CANDIDATES; i++) {
      if (this.timeCycles[this.#hand]! < this.timeCycles[oldest]!) oldest = this.#hand;
      this.#hand = (this.#hand + 1) % entries;
    }
    this.remove(oldest);
  }

  #grow(entries: number): void {
    this.timeCycles = widen(this.timeCycles, new Float64Array(entries));
    this.boundCycles = widen(this.boundCycles, new Float64Array(entries));
    while (this.segment.length < entries) this.segment.push(undefined);
    this.event = widen(this.event, new Uint16Array(entries));
    this.machine = widen(this.machine, new Uint16Array(entries));
    if (this.#arena === undefined) return;
    this.cpu = widen(this.cpu, new Uint32Array(entries));
    this.pid = widen(this.pid, new Float64Array(entries));
    this.sequence = widen(this.sequence, new Float64Array(entries));
    this.leadBytes = widen(this.leadBytes, new Uint32Array(entries));
    this.copyOffset = widen(this.copyOffset, new Int32Array(entries));
    this.rawBytes = widen(this.rawBytes, new Uint32Array(entries));
  }
}
