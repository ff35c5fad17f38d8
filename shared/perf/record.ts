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
export const PERF_RECORD_LOST_SAMPLES = 13;

export const RECORD_HEADER_BYTES = 8;

/**
 * How many samples lie in [from, to) of a ring, by walking the headers. For the loss path only: what
 * a client missed is counted exactly, and what is delivered is never walked.
 */
export function countSamples(ring: Ring, from: number, to: number): number {
  const { data } = ring;
  let samples = 0;
  // Records are 8-aligned, so a header never wraps.
  for (let position = from; position < to; ) {
    const at = ring.offsetOf(position);
    if (data[at] === PERF_RECORD_SAMPLE) samples++;
    const size = data[at + 6]! | (data[at + 7]! << 8);
    if (size < RECORD_HEADER_BYTES) throw new RangeError(`Cannot walk a ring: record of ${size} B`);
    position += size;
  }
  return samples;
}
