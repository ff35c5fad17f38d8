// KeyTable: a hash from 64-bit keys (low and high word) to entry numbers, allocation-free per key.
//
//   slots   . 3 . 1 0 . 2 .      open addressing with linear probing: entry number + 1, 0 is empty
//   lo, hi  by entry             the owner keeps its own columns by entry number beside these
//
// Entry numbers are dense, reused, and stable while the key stays. Keys come from guests, so
// probing is bounded: a key whose neighbourhood is full is refused like one that finds the table
// full. The seed keeps a guest from aiming at that.

import { widen } from "./widen.ts";

/** Slots that a key may be away from its home. */
export const PROBES_MAX = 64;
/** Entries to begin with. */
export const KEY_TABLE_ENTRIES_MIN = 256;

/** Maps keys to entry numbers from 0 to entriesMax - 1. */
export class KeyTable {
  /** Keys in the table. */
  size = 0;
  /** Words of the key by entry. */
  lo: Uint32Array;
  hi: Uint32Array;
  /** Whether the last put() added its key. */
  isNew = false;
  readonly #entriesMax: number;
  readonly #seed: number;
  readonly #onGrow: (entries: number) => void;
  #slots: Int32Array;
  /** Entries given back, the last one first. */
  #free: Int32Array;
  #freeCount = 0;
  /** Entries ever handed out. */
  #made = 0;
  /** Where the last find() or put() ended. */
  #lastSlot = 0;

  /**
   * `onGrow` is called with the number of entries that the owner's columns must have, the first
   * time from here. Throws RangeError when entriesMax is below 1.
   */
  constructor(entriesMax: number, seed: number, onGrow: (entries: number) => void) {
    if (!(entriesMax >= 1)) {
      throw new RangeError(`Cannot make a key table: ${entriesMax} entries, wanted at least 1`);
    }
    this.#entriesMax = entriesMax;
    this.#seed = seed | 0;
    this.#onGrow = onGrow;
    const entries = Math.min(KEY_TABLE_ENTRIES_MIN, entriesMax);
    this.lo = new Uint32Array(entries);
    this.hi = new Uint32Array(entries);
    this.#free = new Int32Array(entries);
    this.#slots = new Int32Array(slotsFor(entries));
    onGrow(entries);
  }

  /** The entry of a key, or -1. */
  find(lo: number, hi: number): number {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#hash(lo, hi) & mask;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const entry = slots[slot]! - 1;
      if (entry < 0) return -1;
      if (this.lo[entry] === lo && this.hi[entry] === hi) {
        this.#lastSlot = slot;
        return entry;
      }
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  /** The entry of a key, added when it is not there (see isNew); -1 when there is no room. */
  put(lo: number, hi: number): number {
    if (this.size === this.lo.length && this.size < this.#entriesMax) this.#grow();
    const slots = this.#slots;
    const mask = slots.length - 1;
    let slot = this.#hash(lo, hi) & mask;
    for (let probe = 0; probe < PROBES_MAX; probe++) {
      const entry = slots[slot]! - 1;
      if (entry < 0) return this.#add(slot, lo, hi);
      if (this.lo[entry] === lo && this.hi[entry] === hi) {
        this.#lastSlot = slot;
        this.isNew = false;
        return entry;
      }
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  /** The entry that sits where this key would, or -1: one to evict when put() found no room. */
  entryInTheWay(lo: number, hi: number): number {
    return this.#slots[this.#hash(lo, hi) & (this.#slots.length - 1)]! - 1;
  }

  /** Removes an entry that is in the table. */
  remove(entry: number): void {
    const slots = this.#slots;
    const mask = slots.length - 1;
    let hole = this.#lastSlot;
    if (slots[hole] !== entry + 1) {
      hole = this.#hash(this.lo[entry]!, this.hi[entry]!) & mask;
      while (slots[hole] !== entry + 1) hole = (hole + 1) & mask;
    }
    // Later keys of the same cluster move up, so that no search ends at the hole too early.
    for (let slot = (hole + 1) & mask; slots[slot] !== 0; slot = (slot + 1) & mask) {
      const other = slots[slot]! - 1;
      const home = this.#hash(this.lo[other]!, this.hi[other]!) & mask;
      if (((slot - home) & mask) >= ((slot - hole) & mask)) {
        slots[hole] = other + 1;
        hole = slot;
      }
    }
    slots[hole] = 0;
    this.#free[this.#freeCount++] = entry;
    this.size--;
  }

  /** Forgets all keys. */
  clear(): void {
    this.#slots.fill(0);
    this.size = 0;
    this.#freeCount = 0;
    this.#made = 0;
  }

  #add(slot: number, lo: number, hi: number): number {
    if (this.size === this.lo.length) return -1;
    const entry = this.#freeCount > 0 ? this.#free[--this.#freeCount]! : this.#made++;
    this.lo[entry] = lo;
    this.hi[entry] = hi;
    this.#slots[slot] = entry + 1;
    this.#lastSlot = slot;
    this.isNew = true;
    this.size++;
    return entry;
  }

  /** Twice the entries; only called when all are in use. */
  #grow(): void {
    const entries = Math.min(this.lo.length * 2, this.#entriesMax);
    this.lo = widen(this.lo, new Uint32Array(entries));
    this.hi = widen(this.hi, new Uint32Array(entries));
    this.#free = new Int32Array(entries);
    const slots = new Int32Array(slotsFor(entries));
    const mask = slots.length - 1;
    for (let entry = 0; entry < this.size; entry++) {
      let slot = this.#hash(this.lo[entry]!, this.hi[entry]!) & mask;
      // A key that ends up too far away here is not found any more, as if it had been evicted; with
      // at most half the slots in use that takes aimed keys and the seed.
      while (slots[slot] !== 0) slot = (slot + 1) & mask;
      slots[slot] = entry + 1;
    }
    this.#slots = slots;
    this.#onGrow(entries);
  }

  #hash(lo: number, hi: number): number {
    let hash = Math.imul(lo ^ this.#seed, 0x9e3779b1);
    hash ^= hash >>> 15;
    hash = Math.imul(hash ^ hi, 0x85ebca6b);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2ae35);
    return (hash ^ (hash >>> 16)) >>> 0;
  }
}

/** At most half of the slots are in use. */
function slotsFor(entries: number): number {
  return 2 ** Math.ceil(Math.log2(entries * 2));
}
