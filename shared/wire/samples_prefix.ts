// writeSamplesHeader(): what goes before the ring's bytes in a Samples frame.
//
// The guest's hot path: frame header and protobuf prefix go into a small buffer of the caller, and
// writev() sends it together with one or two pieces of the mapped ring, which are not copied. All
// numbers are doubles and 32-bit integers: nothing is allocated, no BigInt is made.
//
//   08 cpu 10 position 18 record_start 22 spanBytes        then the span, the last field

import {
  CPUS_MAX,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FrameType,
  POSITION_MAX,
  payloadTooLarge,
  writeFrameHeader,
} from "./frame.ts";

const TAG_CPU = 0x08;
const TAG_POSITION = 0x10;
const TAG_RECORD_START = 0x18;
const TAG_SPAN = 0x22;

/** The longest prefix: cpu below 8192 (2 bytes), position (8), span length (4), and four tags. */
export const SAMPLES_PREFIX_BYTES_MAX = 1 + 2 + 1 + 8 + 2 + 1 + 4;
/** Room that writeSamplesHeader() needs. */
export const SAMPLES_HEADER_BYTES_MAX = FRAME_HEADER_BYTES + SAMPLES_PREFIX_BYTES_MAX;
/** The longest span of one frame. */
export const SAMPLES_SPAN_BYTES_MAX = FRAME_PAYLOAD_BYTES_MAX - SAMPLES_PREFIX_BYTES_MAX;

/**
 * Writes the frame header and the message up to the span at `at`, and gives their length. The
 * caller sends `spanBytes` of the ring right after it.
 *
 * Throws RangeError for a cpu, position or span outside its limit: a bug of the caller.
 */
export function writeSamplesHeader(
  out: Uint8Array,
  at: number,
  cpu: number,
  position: number,
  recordStart: boolean,
  spanBytes: number,
  sequence: number,
  flags: number,
): number {
  if (spanBytes > SAMPLES_SPAN_BYTES_MAX) throw payloadTooLarge(spanBytes);
  if (!(cpu >= 0 && cpu < CPUS_MAX && position >= 0 && position <= POSITION_MAX)) {
    throw new RangeError(
      `Cannot write a Samples frame: cpu ${cpu} at position ${position}, ` +
        `wanted a cpu below ${CPUS_MAX} and a position up to 2^52`,
    );
  }
  const begin = at + FRAME_HEADER_BYTES;
  let end = begin;
  out[end++] = TAG_CPU;
  end = writeVarint32(out, end, cpu);
  out[end++] = TAG_POSITION;
  end = writeVarint53(out, end, position);
  out[end++] = TAG_RECORD_START;
  out[end++] = recordStart ? 1 : 0;
  out[end++] = TAG_SPAN;
  end = writeVarint32(out, end, spanBytes);
  writeFrameHeader(out, at, FrameType.SAMPLES, flags, end - begin + spanBytes, sequence);
  return end - at;
}

/** A varint of a number below 2^31. */
function writeVarint32(out: Uint8Array, at: number, value: number): number {
  while (value > 0x7f) {
    out[at++] = (value & 0x7f) | 0x80;
    value >>>= 7;
  }
  out[at++] = value;
  return at;
}

/** A varint of a number below 2^53. */
function writeVarint53(out: Uint8Array, at: number, value: number): number {
  if (value < 0x80000000) return writeVarint32(out, at, value);
  // 28 bits are four whole groups. Both halves are exact: the value has at most 53 bits.
  const high = Math.floor(value / 0x10000000);
  const low = value - high * 0x10000000;
  out[at++] = (low & 0x7f) | 0x80;
  out[at++] = ((low >>> 7) & 0x7f) | 0x80;
  out[at++] = ((low >>> 14) & 0x7f) | 0x80;
  out[at++] = (low >>> 21) | 0x80;
  return writeVarint32(out, at, high);
}
