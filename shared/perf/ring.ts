/**
 * The perf ring buffer as positions on one endless byte stream. Built from an ArrayBuffer, so tests
 * need no kernel.
 *
 *   control page (4096 bytes)             data (a power of two)
 *   | ... data_head 1024, data_tail 1032 | ....record record record record....|
 *                                               ^ tail                  ^ head
 *
 * Offsets must match struct perf_event_mmap_page in <linux/perf_event.h>. Positions are 64-bit
 * counts that only grow; as doubles they are exact up to 2^53 bytes.
 */

export const CONTROL_BYTES = 4096;
const DATA_HEAD_WORD = 1024 / 4;
const DATA_TAIL_WORD = 1032 / 4;
/** Ring sizes: perf wants a power of two pages; 1 GiB keeps 32-bit distances unambiguous. */
export const RING_BYTES_MIN = 4096;
export const RING_BYTES_MAX = 1 << 30;

export class Ring {
  /** The data area's size. */
  readonly bytes: number;
  readonly data: Uint8Array;
  readonly #control: Uint32Array;
  #head = 0;
  #tail = 0;

  /** `buffer` holds the control page and then the data. */
  constructor(buffer: ArrayBuffer, ringBytes: number) {
    const isInRange = ringBytes >= RING_BYTES_MIN && ringBytes <= RING_BYTES_MAX;
    if (!isInRange || (ringBytes & (ringBytes - 1)) !== 0) {
      throw new RangeError(`Cannot use a ring of ${ringBytes} bytes: wants a power of two`);
    }
    this.bytes = ringBytes;
    this.#control = new Uint32Array(buffer, 0, CONTROL_BYTES / 4);
    this.data = new Uint8Array(buffer, CONTROL_BYTES, ringBytes);
  }

  /** Everything before this position has been given back to the kernel. */
  get tail(): number {
    return this.#tail;
  }

  /** The head as last read; see refreshHead. */
  get head(): number {
    return this.#head;
  }

  /**
   * Reads data_head and returns it; it always ends a record. The kernel stores it after the bytes
   * before it (store-release) and x86 does not reorder loads, so those bytes may be read now. The
   * low word is enough: the ring is far smaller than 4 GiB. Call it once after a poll(): the engine
   * may keep a plain load in a register where no native call separates two of them.
   */
  refreshHead(): number {
    const low = this.#control[DATA_HEAD_WORD]!;
    this.#head += (low - (this.#head % 0x1_0000_0000)) >>> 0;
    return this.#head;
  }

  /**
   * Gives the bytes before `position` back to the kernel, which may overwrite them at once: whoever
   * read them has finished (write(2) has copied them). Two stores for one 64-bit word are enough:
   * the kernel computes the free space modulo the ring's size, where the high word has no part.
   */
  setTail(position: number): void {
    if (position < this.#tail || position > this.#head) {
      throw new RangeError(
        `Cannot move the tail to ${position}: wants ${this.#tail} to ${this.#head}`,
      );
    }
    this.#tail = position;
    const low = position % 0x1_0000_0000;
    const high = (position - low) / 0x1_0000_0000;
    if (this.#control[DATA_TAIL_WORD + 1] !== high) this.#control[DATA_TAIL_WORD + 1] = high;
    this.#control[DATA_TAIL_WORD] = low;
  }

  /** Offset in `data` of a position. */
  offsetOf(position: number): number {
    return position % this.bytes;
  }
}
