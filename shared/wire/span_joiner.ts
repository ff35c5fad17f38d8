// SpanJoiner: the Samples spans of one CPU's ring -> spans that hold whole records only.
//
//   span at 0   [rec rec re]                    sink.span [rec rec]
//   span at 40            [c rec rec]           sink.span [rec], sink.span [rec rec]
//
// Spans are joined by ring position: what comes twice after a resume is trimmed, what is missing is
// reported with its size, a record cut in two is put together in a buffer of one record. The joiner
// can begin anywhere: it waits for a span that begins with a record.
//
// Every ring position is accounted for once: given to sink.span() or reported to sink.lost().
// The bytes are a guest's. A record header that cannot be (struct perf_event_header in
// <linux/perf_event.h>: u32 type, u16 misc, u16 size) ends the span, and the next one that begins
// with a record goes on.

/** Why bytes of a ring are not delivered. */
export const SpanLoss = {
  /** They never arrived. */
  GAP: 1,
  /** They arrived, but where their records begin is not known. */
  UNSYNCED: 2,
  /** They arrived, from a record header on that cannot be. */
  CORRUPT: 3,
} as const;

export type SpanLoss = (typeof SpanLoss)[keyof typeof SpanLoss];

/** Takes what a SpanJoiner gives. */
export interface SpanSink {
  /**
   * Whole records in bytes[start, end), `records` of them, valid during the call. The joiner's
   * `position` is that of `start`.
   */
  span(bytes: Uint8Array, start: number, end: number, records: number): void;
  /** The ring's bytes [from, to) are not delivered. */
  lost(from: number, to: number, why: SpanLoss): void;
}

/** perf_event_header: its size, and where its u16 `size` is. */
const RECORD_HEADER_BYTES = 8;
const RECORD_SIZE_OFFSET = 6;
/** Record sizes are multiples of this. */
const RECORD_ALIGN_MASK = 7;
/** The largest record: its size is a u16 and a multiple of 8. */
export const RECORD_BYTES_MAX = 0xfff8;

/** What a SpanJoiner saw, in bytes of the ring. */
export class SpanCounters {
  deliveredRecords = 0;
  deliveredBytes = 0;
  duplicateBytes = 0;
  gapBytes = 0;
  unsyncedBytes = 0;
  corruptBytes = 0;
}

export class SpanJoiner {
  readonly counters = new SpanCounters();
  readonly #spanBytesMax: number;
  /** The head of a record whose rest has not come; allocated when the first one is cut in two. */
  #carry: Uint8Array | undefined;
  #carryBytes = 0;
  #position = -1;
  /** A record begins at #position. */
  #synced = false;

  /**
   * `spanBytesMax` bounds what one sink.span() gets.
   * Throws RangeError when that is less than RECORD_BYTES_MAX.
   */
  constructor(spanBytesMax: number = RECORD_BYTES_MAX) {
    if (!(spanBytesMax >= RECORD_BYTES_MAX)) {
      throw new RangeError(
        `Cannot join spans: spanBytesMax is ${spanBytesMax}, wanted at least ${RECORD_BYTES_MAX}`,
      );
    }
    this.#spanBytesMax = spanBytesMax;
  }

  /**
   * The ring position up to which all is delivered or reported lost: what to acknowledge, and where
   * to resume. -1 before the first span.
   */
  get position(): number {
    return this.#position;
  }

  /** Whether `position` is a record's end. It is not to be acknowledged before. */
  get synced(): boolean {
    return this.#synced;
  }

  /** Bytes of an unfinished record behind `position`. */
  get pendingBytes(): number {
    return this.#carryBytes;
  }

  /** The connection ended: the guest will send again from `position` on. */
  resume(): void {
    this.#carryBytes = 0;
  }

  /** Another stream: forgets everything but the counters. Its first span may be at `position`. */
  restart(position = -1): void {
    this.#carryBytes = 0;
    this.#position = position;
    this.#synced = position >= 0;
  }

  /**
   * Takes the span bytes[start, end), which lies at `position` of the ring. All numbers are checked
   * by readSamples().
   */
  push(
    bytes: Uint8Array,
    start: number,
    end: number,
    position: number,
    recordStart: boolean,
    sink: SpanSink,
  ): void {
    if (this.#position < 0) this.#position = position;
    const joined = this.#position + this.#carryBytes;
    const spanEnd = position + (end - start);
    if (position > joined) {
      this.#lose(position, SpanLoss.GAP, sink);
      this.#synced = recordStart;
    } else if (spanEnd <= joined) {
      this.counters.duplicateBytes += end - start;
      return;
    } else if (position < joined) {
      this.counters.duplicateBytes += joined - position;
      if (!this.#synced && recordStart) {
        this.#syncWithin(bytes, start, end, position, sink);
        return;
      }
      start += joined - position;
    } else if (!this.#synced) {
      this.#synced = recordStart;
    } else if (recordStart && this.#carryBytes > 0) {
      // Two claims that cannot both hold: the cut record never got its rest.
      this.#lose(position, SpanLoss.CORRUPT, sink);
      this.#synced = true;
    }
    if (this.#synced) this.#join(bytes, start, end, sink);
    else this.#lose(spanEnd, SpanLoss.UNSYNCED, sink);
  }

  /**
   * A span begins with a record, before `position` where no record is known to begin: looks for the
   * first one in it that begins at `position` or behind.
   */
  #syncWithin(
    bytes: Uint8Array,
    start: number,
    end: number,
    position: number,
    sink: SpanSink,
  ): void {
    const known = start + (this.#position - position);
    let at = start;
    while (at < known && at + RECORD_HEADER_BYTES <= end) {
      const size = recordSize(bytes, at);
      if (size === 0) break;
      at += size;
    }
    this.#synced = at >= known && at <= end;
    this.#lose(position + (this.#synced ? at : end) - start, SpanLoss.UNSYNCED, sink);
    if (this.#synced) this.#join(bytes, at, end, sink);
  }

  /** Delivers the whole records of what is behind the carry, and carries the rest. */
  #join(bytes: Uint8Array, start: number, end: number, sink: SpanSink): void {
    let at = start;
    if (this.#carryBytes > 0) {
      at = this.#finishCarry(bytes, start, end, sink);
      if (at < 0) return;
    }
    let from = at;
    let records = 0;
    while (at + RECORD_HEADER_BYTES <= end) {
      const size = recordSize(bytes, at);
      if (size === 0) {
        this.#deliver(bytes, from, at, records, sink);
        this.#corrupt(end - at, sink);
        return;
      }
      if (at + size > end) break;
      if (at + size - from > this.#spanBytesMax) {
        this.#deliver(bytes, from, at, records, sink);
        from = at;
        records = 0;
      }
      at += size;
      records++;
    }
    this.#deliver(bytes, from, at, records, sink);
    if (at < end) this.#keep(bytes, at, end);
  }

  /** Completes and delivers the cut record. Gives where the next begins, or -1 for no more. */
  #finishCarry(bytes: Uint8Array, start: number, end: number, sink: SpanSink): number {
    let at = start;
    if (this.#carryBytes < RECORD_HEADER_BYTES) {
      const to = Math.min(end, at + RECORD_HEADER_BYTES - this.#carryBytes);
      this.#keep(bytes, at, to);
      at = to;
      if (this.#carryBytes < RECORD_HEADER_BYTES) return -1;
    }
    const carry = this.#carry!;
    const size = recordSize(carry, 0);
    if (size === 0) {
      this.#corrupt(this.#carryBytes + end - at, sink);
      return -1;
    }
    const to = Math.min(end, at + size - this.#carryBytes);
    this.#keep(bytes, at, to);
    if (this.#carryBytes < size) return -1;
    this.#carryBytes = 0;
    this.#deliver(carry, 0, size, 1, sink);
    return to;
  }

  /** Appends to the carry, which never holds more than one record. */
  #keep(bytes: Uint8Array, from: number, to: number): void {
    this.#carry ??= new Uint8Array(RECORD_BYTES_MAX);
    this.#carry.set(bytes.subarray(from, to), this.#carryBytes);
    this.#carryBytes += to - from;
  }

  #deliver(bytes: Uint8Array, from: number, to: number, records: number, sink: SpanSink): void {
    if (from === to) return;
    this.counters.deliveredRecords += records;
    this.counters.deliveredBytes += to - from;
    sink.span(bytes, from, to, records);
    this.#position += to - from;
  }

  /** Gives up `bytes` from `position` on: their record header cannot be. */
  #corrupt(bytes: number, sink: SpanSink): void {
    this.#lose(this.#position + bytes, SpanLoss.CORRUPT, sink);
    this.#synced = false;
  }

  /** Gives up [position, to), with the carry. */
  #lose(to: number, why: SpanLoss, sink: SpanSink): void {
    const from = this.#position;
    this.#carryBytes = 0;
    if (from === to) return;
    if (why === SpanLoss.GAP) this.counters.gapBytes += to - from;
    else if (why === SpanLoss.UNSYNCED) this.counters.unsyncedBytes += to - from;
    else this.counters.corruptBytes += to - from;
    this.#position = to;
    sink.lost(from, to, why);
  }
}

/** The size of the record at `at`, 0 when it cannot be. */
function recordSize(bytes: Uint8Array, at: number): number {
  const size = bytes[at + RECORD_SIZE_OFFSET]! | (bytes[at + RECORD_SIZE_OFFSET + 1]! << 8);
  return size < RECORD_HEADER_BYTES || (size & RECORD_ALIGN_MASK) !== 0 ? 0 : size;
}
