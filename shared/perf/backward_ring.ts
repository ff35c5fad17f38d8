/**
 * A perf ring of the flight recorder's kind: the kernel writes it from its end to its beginning,
 * over the oldest records, and nobody tells it how far he has read (write_backward, mapped
 * read-only).
 *
 *   data   | 6 | 5 | 4 | 3 |xx 1 xx| 9 | 8 | 7 |      the newest begins at data_head, older
 *                                    ^ data_head      ones follow; 1, the oldest, is half gone
 *
 * data_head begins at 0 and falls: its negative is the count of bytes written. Record sizes lead
 * from a record to the next older one, which is the only way to walk; unroll() gives them oldest
 * first. Offsets must match struct perf_event_mmap_page in <linux/perf_event.h>.
 */
import { PERF_RECORD_SAMPLE, RECORD_HEADER_BYTES } from "./record.ts";
import { CONTROL_BYTES } from "./ring.ts";

const DATA_HEAD_WORD = 1024 / 4;
const WORD_RANGE = 2 ** 32;
/** Types are 1 to some 20; more in a header means that it is none. */
const RECORD_TYPE_MAX = 63;
/**
 * Contexts of one CPU that may write at the same time (task, softirq, interrupt, NMI): so many
 * records may be begun beyond data_head, over the oldest ones.
 */
const NESTED_WRITERS_MAX = 4;

/** The bytes of a ring at one moment, and how many have been written into it in all. */
export interface RingCopy {
  readonly data: Uint8Array;
  readonly written: number;
}

/** What lies in a copy, from the newest record back. */
export interface Walk {
  /** Of whole records. */
  readonly bytes: number;
  readonly records: number;
  readonly samples: number;
}

export class BackwardRing {
  readonly data: Uint8Array;
  readonly #control: Uint32Array;

  /** `buffer` holds the control page and then the data. It is only read, by plain loads. */
  constructor(buffer: ArrayBuffer, ringBytes: number) {
    this.#control = new Uint32Array(buffer, 0, CONTROL_BYTES / 4);
    this.data = new Uint8Array(buffer, CONTROL_BYTES, ringBytes);
  }

  /**
   * Bytes written so far. Call it while the output is paused: its two words are read one by one.
   */
  readWritten(): number {
    const low = this.#control[DATA_HEAD_WORD]!;
    const high = this.#control[DATA_HEAD_WORD + 1]!;
    return low === 0
      ? ((WORD_RANGE - high) % WORD_RANGE) * WORD_RANGE
      : (WORD_RANGE - 1 - high) * WORD_RANGE + (WORD_RANGE - low);
  }

  /** Copies all of it to `into`, of the same size, as fast as memory goes. */
  copy(into: Uint8Array): RingCopy {
    const written = this.readWritten();
    into.set(this.data);
    return { data: into, written };
  }
}

/** Size of the record at `at`; 0 where none can be. */
function recordBytesAt(data: Uint8Array, at: number): number {
  const size = data[at + 6]! | (data[at + 7]! << 8);
  const type = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24);
  const isRecord = type > 0 && type <= RECORD_TYPE_MAX;
  return isRecord && size >= RECORD_HEADER_BYTES && size % 8 === 0 ? size : 0;
}

/** Walks back from the newest record to what was written when `since` bytes had been. */
export function walkBack({ data, written }: RingCopy, since: number): Walk {
  const limit = Math.min(written - since, data.length);
  let [bytes, records, samples, largest] = [0, 0, 0, 0];
  while (bytes < limit) {
    const at = offsetOf(written - bytes, data.length);
    const size = recordBytesAt(data, at);
    largest = Math.max(largest, size);
    const isWhole = bytes + size <= limit;
    // Only a ring that has been around can have had its oldest records overwritten.
    const isSafe = written <= data.length || bytes + size <= data.length - reserve(largest);
    if (size === 0 || !isWhole || !isSafe) break;
    bytes += size;
    records++;
    if (data[at] === PERF_RECORD_SAMPLE) samples++;
  }
  return { bytes, records, samples };
}

function reserve(largest: number): number {
  return NESTED_WRITERS_MAX * largest;
}

/** Where the record begins that was the newest when `written` bytes had been written. */
function offsetOf(written: number, ringBytes: number): number {
  return (ringBytes - (written % ringBytes)) % ringBytes;
}

/**
 * Puts the newest `walk.bytes` of a copy into the ring `to`, oldest record first, so that they end
 * at offset `end` of it (modulo its size, which must be at least that).
 */
export function unroll(copy: RingCopy, walk: Walk, to: Uint8Array, end: number): void {
  const { data, written } = copy;
  let at = end;
  for (let done = 0; done < walk.bytes; ) {
    const from = offsetOf(written - done, data.length);
    const size = recordBytesAt(data, from);
    at -= size;
    copyAround(data, from, to, ((at % to.length) + to.length) % to.length, size);
    done += size;
  }
}

/** Copies `bytes` from one ring to another, where either may begin anew at its end. */
function copyAround(
  from: Uint8Array,
  fromAt: number,
  to: Uint8Array,
  toAt: number,
  bytes: number,
): void {
  let done = 0;
  while (done < bytes) {
    const source = (fromAt + done) % from.length;
    const target = (toAt + done) % to.length;
    const piece = Math.min(bytes - done, from.length - source, to.length - target);
    to.set(from.subarray(source, source + piece), target);
    done += piece;
  }
}
