// SampleLayout: where the fields of a sample lie, for one perf_event_attr.sample_type.
//
//   struct {                                        the order of <linux/perf_event.h>
//     struct perf_event_header header;              8 bytes
//     u64 sample_id;      PERF_SAMPLE_IDENTIFIER
//     u64 ip;             PERF_SAMPLE_IP
//     u32 pid, tid;       PERF_SAMPLE_TID
//     u64 time;           PERF_SAMPLE_TIME
//     u64 addr;           PERF_SAMPLE_ADDR
//     u64 id;             PERF_SAMPLE_ID
//     u64 stream_id;      PERF_SAMPLE_STREAM_ID
//     u32 cpu, res;       PERF_SAMPLE_CPU
//     u64 period;         PERF_SAMPLE_PERIOD
//     struct read_format; PERF_SAMPLE_READ          not supported: its size depends on more
//     u64 nr; u64 ips[];  PERF_SAMPLE_CALLCHAIN
//     u32 size; char data[size];  PERF_SAMPLE_RAW
//     ...                                           what follows is of no use here
//   };
//
// Other records end with the sample id fields when sample_id_all is set:
//   TID, TIME, ID, STREAM_ID, CPU, IDENTIFIER       8 bytes each

import { RECORD_HEADER_BYTES } from "../../shared/perf/record.ts";
import {
  PERF_SAMPLE_ADDR,
  PERF_SAMPLE_CALLCHAIN,
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_ID,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_IP,
  PERF_SAMPLE_PERIOD,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_READ,
  PERF_SAMPLE_STREAM_ID,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../../shared/perf/sample_type.ts";

/** Fields of eight bytes each that stand before the call chain, in their order. */
const FIXED_FIELDS = [
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_IP,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
  PERF_SAMPLE_ADDR,
  PERF_SAMPLE_ID,
  PERF_SAMPLE_STREAM_ID,
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_PERIOD,
] as const;
const TRAILER_FIELDS = [
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
  PERF_SAMPLE_ID,
  PERF_SAMPLE_STREAM_ID,
  PERF_SAMPLE_CPU,
  PERF_SAMPLE_IDENTIFIER,
] as const;

/** Offsets in bytes from the record's header; -1 where the sample has no such field. */
export interface SampleLayout {
  readonly sampleType: number;
  readonly timeOffset: number;
  readonly tasksOffset: number;
  /** IDENTIFIER, or ID when there is no IDENTIFIER. */
  readonly idOffset: number;
  /** Where the fixed fields end: the call chain, or the raw data's size. */
  readonly fixedBytes: number;
  readonly hasChain: boolean;
  /** TIME and RAW and nothing else: the decoder's short way. */
  readonly isPlain: boolean;
  /** Bytes of the sample id fields behind other records, 0 without sample_id_all. */
  readonly trailerBytes: number;
  /** Time in the trailer, counted back from the record's end; 0 when it has none. */
  readonly trailerTimeBack: number;
}

/**
 * The layout of samples of `sampleType`. Throws RangeError when it lacks TIME or RAW, or has READ
 * or bits that this decoder cannot place.
 */
export function sampleLayout(sampleType: number, sampleIdAll: boolean): SampleLayout {
  const need = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
  const known = FIXED_FIELDS.reduce<number>((all, bit) => all | bit, need | PERF_SAMPLE_CALLCHAIN);
  const isInteger = Number.isInteger(sampleType) && sampleType >= 0 && sampleType <= 0x7fffffff;
  if (!isInteger || (sampleType & need) !== need || (sampleType & ~known) !== 0) {
    const why =
      isInteger && (sampleType & PERF_SAMPLE_READ) !== 0 ? " (READ is not supported)" : "";
    throw new RangeError(
      `Cannot decode samples: sample_type is 0x${sampleType.toString(16)}${why}, ` +
        `wanted 0x${need.toString(16)} and bits of 0x${known.toString(16)}`,
    );
  }
  const offsets = new Map<number, number>();
  let offset: number = RECORD_HEADER_BYTES;
  for (const bit of FIXED_FIELDS) {
    if ((sampleType & bit) === 0) continue;
    offsets.set(bit, offset);
    offset += 8;
  }
  const trailer = sampleIdAll ? TRAILER_FIELDS.filter((bit) => (sampleType & bit) !== 0) : [];
  return {
    sampleType,
    timeOffset: offsets.get(PERF_SAMPLE_TIME)!,
    tasksOffset: offsets.get(PERF_SAMPLE_TID) ?? -1,
    idOffset: offsets.get(PERF_SAMPLE_IDENTIFIER) ?? offsets.get(PERF_SAMPLE_ID) ?? -1,
    fixedBytes: offset,
    hasChain: (sampleType & PERF_SAMPLE_CALLCHAIN) !== 0,
    isPlain: sampleType === need,
    trailerBytes: trailer.length * 8,
    trailerTimeBack: sampleIdAll ? (trailer.length - trailer.indexOf(PERF_SAMPLE_TIME)) * 8 : 0,
  };
}
