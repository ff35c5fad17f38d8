/**
 * struct perf_event_header {u32 type, u16 misc, u16 size} and the record types that a tracer meets;
 * must match enum perf_event_type in <linux/perf_event.h>.
 */
import type { Ring } from "./ring.ts";

export const PERF_RECORD_LOST = 2;
export const PERF_RECORD_COMM = 3;
export const PERF_RECORD_EXIT = 4;
export const PERF_RECORD_THROTTLE = 5;
export const PERF_RECORD_UNTHROTTLE = 6;
export const PERF_RECORD_FORK = 7;
export const PERF_RECORD_SAMPLE = 9;
export const PERF_RECORD_MMAP2 = 10;
export const PERF_RECORD_LOST_SAMPLES = 13;

/** misc of a COMM record: the new name is that of a program that was just begun. */
export const PERF_RECORD_MISC_COMM_EXEC = 1 << 13;

export const RECORD_HEADER_BYTES = 8;
const RECORD_ALIGN_BYTES = 8;

/** Size of the record at `position`; the kernel's records are 8-aligned, so no header wraps. */
function recordBytes(ring: Ring, position: number): number {
  const at = ring.offsetOf(position);
  const size = ring.data[at + 6]! | (ring.data[at + 7]! << 8);
  if (size >= RECORD_HEADER_BYTES && size % RECORD_ALIGN_BYTES === 0) return size;
  throw new RangeError(`Cannot walk a ring: record of ${size} bytes`);
}

/**
 * How many samples lie in [from, to) of a ring, by walking the headers from a record's start. For
 * the loss path only: what a client missed is counted exactly, what is delivered is never walked.
 * Throws RangeError where no record can be.
 */
export function countSamples(ring: Ring, from: number, to: number): number {
  let samples = 0;
  for (let position = from; position < to; position += recordBytes(ring, position)) {
    if (ring.data[ring.offsetOf(position)] === PERF_RECORD_SAMPLE) samples++;
  }
  return samples;
}

/**
 * Where the record begins that holds `position`, or `position` itself when one begins there. Walks
 * from `from`, a record's start at or before it. Throws RangeError where no record can be.
 */
export function recordStartAt(ring: Ring, from: number, position: number): number {
  let start = from;
  while (start < position) {
    const end = start + recordBytes(ring, start);
    if (end > position) return start;
    start = end;
  }
  return start;
}
