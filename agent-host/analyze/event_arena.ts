// EventArena: copies of records that outlive their chunk, for the start events of slow pairs.
//
// One buffer, cut into blocks of powers of two; a freed block goes to the list of its size. Records
// live as long as their partner takes, in no order, so a ring would not do. A copy begins at
// 4 mod 8 as raw data does in a chunk: its 64-bit fields are aligned as they were.

/** Bytes of all copies together. */
export const ARENA_BYTES_MAX = 64 * 1024 * 1024;
/** The largest record: a u16 size. */
const BLOCK_BYTES_MAX = 128 * 1024;
const BLOCK_BYTES_MIN = 32;
const LEAD_BYTES = 4;
const ARENA_BYTES_FIRST = 64 * 1024;

/** Keeps copies of byte ranges. */
export class EventArena {
  /** Grows: take it anew after each copy(). */
  bytes = new Uint8Array(0);
  /** Copies that found no room. */
  refused = 0;
  readonly #bytesMax: number;
  #used = 0;
  /** Offsets of free blocks, by the power of two of their size. */
  readonly #free: number[][] = Array.from({ length: 18 }, () => []);

  constructor(bytesMax: number = ARENA_BYTES_MAX) {
    this.#bytesMax = bytesMax;
  }

  /** Copies `size` bytes of `source`; returns the copy's offset, or -1 when there is no room. */
  copy(source: Uint8Array, from: number, size: number): number {
    const power = powerOf(size);
    const block = this.#free[power]?.pop() ?? this.#take(2 ** power);
    if (block < 0) {
      this.refused++;
      return -1;
    }
    const at = block + LEAD_BYTES;
    const bytes = this.bytes;
    for (let i = 0; i < size; i++) bytes[at + i] = source[from + i]!;
    return at;
  }

  /** Gives a copy of `size` bytes back; -1 is ignored. */
  free(offset: number, size: number): void {
    if (offset >= 0) this.#free[powerOf(size)]!.push(offset - LEAD_BYTES);
  }

  #take(blockBytes: number): number {
    if (blockBytes > BLOCK_BYTES_MAX) return -1;
    const end = this.#used + blockBytes;
    if (end > this.bytes.length && !this.#grow(end)) return -1;
    const block = this.#used;
    this.#used = end;
    return block;
  }

  #grow(least: number): boolean {
    if (least > this.#bytesMax) return false;
    const wanted = Math.max(least, this.bytes.length * 2, ARENA_BYTES_FIRST);
    const grown = new Uint8Array(Math.min(this.#bytesMax, wanted));
    grown.set(this.bytes);
    this.bytes = grown;
    return true;
  }
}

function powerOf(size: number): number {
  return 32 - Math.clz32(Math.max(BLOCK_BYTES_MIN, size + LEAD_BYTES) - 1);
}
