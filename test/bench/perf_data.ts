/**
 * Counts what `perf record` wrote, without perf: in a perf.data file the data section is a sequence
 * of records {u32 type, u16 misc, u16 size}. Must match struct perf_file_header in perf's header.h:
 *
 *   "PERFILE2"  size  attr_size  attrs{offset,size}  data{offset,size}  ...      all u64
 */

const MAGIC = "PERFILE2";
const DATA_OFFSET_AT = 40;
const DATA_SIZE_AT = 48;
const RECORD_HEADER_BYTES = 8;
/** struct lost_event {header, u64 id, u64 lost}. */
const LOST_COUNT_OFFSET = 16;
const PERF_RECORD_LOST = 2;
const PERF_RECORD_SAMPLE = 9;

export interface PerfDataCounts {
  readonly samples: number;
  readonly lost: number;
}

/** Samples and lost events in a perf.data file. Throws SyntaxError when it is none. */
export function countPerfData(bytes: Uint8Array): PerfDataCounts {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const magic = new TextDecoder().decode(bytes.subarray(0, MAGIC.length));
  if (magic !== MAGIC) throw new SyntaxError(`Cannot count perf.data: begins with "${magic}"`);
  let at = Number(view.getBigUint64(DATA_OFFSET_AT, true));
  const end = Math.min(bytes.length, at + Number(view.getBigUint64(DATA_SIZE_AT, true)));
  let samples = 0;
  let lost = 0;
  while (at + RECORD_HEADER_BYTES <= end) {
    const type = view.getUint32(at, true);
    const size = view.getUint16(at + 6, true);
    if (size < RECORD_HEADER_BYTES) {
      throw new SyntaxError(`Cannot count perf.data: record of ${size} bytes at ${at}`);
    }
    if (type === PERF_RECORD_SAMPLE) samples++;
    if (type === PERF_RECORD_LOST) lost += view.getUint32(at + LOST_COUNT_OFFSET, true);
    at += size;
  }
  return { samples, lost };
}
