// A small reader of trace.dat files, version 6 (trace-cmd record --file-version 6 -B NAME): the raw
// records of one instance, as they lay in the kernel's ring.
//
//   17 08 44 "tracing6\0" endian longs pagesize
//   "header_page\0" size text   "header_event\0" size text   formats, kallsyms, strings, comms
//   cpus "options  \0" { u16 id, u32 size, data } ... 0
//     option 3: u64 offset, name of the instance
//       -> "flyrecord\0", then { u64 offset, u64 size } a CPU
//   pages: u64 time, u64 commit, then events { u32 type_len:5, time_delta:27 } ...
//     (man trace-cmd.dat.v6; events as in the kernel's include/linux/ring_buffer.h)

import { readFileSync } from "node:fs";

const OPTION_BUFFER = 3;
const PAGE_HEADER_BYTES = 16;
const COMMIT_MASK = 0xfffff;
const TYPE_PADDING = 29;
const TYPE_TIME_EXTEND = 30;
const TYPE_TIME_STAMP = 31;
/** Absolute stamps have 59 bits; the rest comes from the page's. */
const STAMP_BITS = 59n;

/** One record, in the order of its CPU. */
export interface TraceRecord {
  readonly timeNs: bigint;
  readonly rawOffset: number;
  readonly rawBytes: number;
}

export interface TraceDat {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** By CPU. */
  readonly cpus: readonly (readonly TraceRecord[])[];
}

/** Reads a whole file. Throws RangeError for what it does not know. */
export function readTraceDat(path: string): TraceDat {
  const bytes = new Uint8Array(readFileSync(path));
  const view = new DataView(bytes.buffer);
  const cursor = new Cursor(bytes, view);
  const pageBytes = readHead(cursor, path);
  const cpuCount = cursor.u32();
  if (cursor.text(10) !== "options  \0") throw new RangeError(`Cannot read ${path}: no options`);
  let instanceAt = -1;
  for (let id = cursor.u16(); id !== 0; id = cursor.u16()) {
    const size = cursor.u32();
    if (id === OPTION_BUFFER && size > 9) instanceAt = Number(view.getBigUint64(cursor.at, true));
    cursor.at += size;
  }
  if (instanceAt < 0) throw new RangeError(`Cannot read ${path}: no instance in it`);
  cursor.at = instanceAt;
  if (cursor.text(10) !== "flyrecord\0") throw new RangeError(`Cannot read ${path}: no records`);
  const cpus = Array.from({ length: cpuCount }, () => {
    const from = cursor.u64();
    const size = cursor.u64();
    return readPages(view, from, size, pageBytes);
  });
  return { bytes, view, cpus };
}

class Cursor {
  at = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  constructor(bytes: Uint8Array, view: DataView) {
    this.#bytes = bytes;
    this.#view = view;
  }
  u8 = (): number => this.#view.getUint8(this.at++);
  u16 = (): number => this.#view.getUint16(this.#take(2), true);
  u32 = (): number => this.#view.getUint32(this.#take(4), true);
  u64 = (): number => Number(this.#view.getBigUint64(this.#take(8), true));
  text = (size: number): string =>
    new TextDecoder("latin1").decode(this.#bytes.subarray(this.#take(size), this.at));
  /** Up to and with a NUL. */
  string = (): string => this.text(this.#bytes.indexOf(0, this.at) + 1 - this.at);
  skip = (size: number): void => {
    this.#take(size);
  };
  #take(size: number): number {
    this.at += size;
    return this.at - size;
  }
}

/** Passes everything up to the number of CPUs; the size of a page. */
function readHead(cursor: Cursor, path: string): number {
  cursor.skip(3);
  const magic = cursor.string();
  if (magic !== "tracing6\0") throw new RangeError(`Cannot read ${path}: not of version 6`);
  cursor.skip(2);
  const pageBytes = cursor.u32();
  for (const title of ["header_page\0", "header_event\0"]) {
    if (cursor.string() !== title) throw new RangeError(`Cannot read ${path}: no ${title}`);
    cursor.skip(cursor.u64());
  }
  for (let left = cursor.u32(); left > 0; left--) cursor.skip(cursor.u64());
  for (let systems = cursor.u32(); systems > 0; systems--) {
    cursor.string();
    for (let left = cursor.u32(); left > 0; left--) cursor.skip(cursor.u64());
  }
  cursor.skip(cursor.u32());
  cursor.skip(cursor.u32());
  cursor.skip(cursor.u64());
  return pageBytes;
}

export function readPages(
  view: DataView,
  from: number,
  size: number,
  pageBytes: number,
): TraceRecord[] {
  const records: TraceRecord[] = [];
  for (let page = from; page + pageBytes <= from + size; page += pageBytes) {
    const commit = view.getUint32(page + 8, true) & COMMIT_MASK;
    readPage(view, page, Math.min(commit, pageBytes - PAGE_HEADER_BYTES), records);
  }
  return records;
}

function readPage(view: DataView, page: number, commit: number, records: TraceRecord[]): void {
  let timeNs = view.getBigUint64(page, true);
  let at = page + PAGE_HEADER_BYTES;
  const end = at + commit;
  while (at + 4 <= end) {
    const head = view.getUint32(at, true);
    const type = head & 31;
    const delta = head >>> 5;
    if (type === TYPE_TIME_EXTEND || type === TYPE_TIME_STAMP) {
      const wide = (BigInt(view.getUint32(at + 4, true)) << 27n) + BigInt(delta);
      if (type === TYPE_TIME_EXTEND) timeNs += wide;
      else timeNs = ((timeNs >> STAMP_BITS) << STAMP_BITS) | wide;
      at += 8;
      continue;
    }
    timeNs += BigInt(delta);
    if (type === TYPE_PADDING) {
      if (delta === 0) return;
      at += 4 + view.getUint32(at + 4, true);
      continue;
    }
    const isLong = type === 0;
    const rawBytes = isLong ? view.getUint32(at + 4, true) - 4 : type * 4;
    const rawOffset = at + (isLong ? 8 : 4);
    records.push({ timeNs, rawOffset, rawBytes });
    at = rawOffset + ((rawBytes + 3) & ~3);
  }
}
