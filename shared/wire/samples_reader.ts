// readSamples(): a Samples message as numbers, without allocating.
//
//   08 01 10 c5 c6 04 18 01 22 08 ...      { cpu: 1, position: 0x12345, recordStart: true, span }
//
// The host's hot path, so it does not go through the generated decoder (which makes a BigInt and a
// view). It reads the same messages: any order of fields, the last of a repeated one wins, missing
// ones are 0, unknown ones are skipped. The bytes are a guest's: everything is checked.

import { CPUS_MAX, POSITION_MAX } from "./frame.ts";

/** What readSamples() fills. Reuse one object. */
export class SamplesView {
  cpu = 0;
  /** Ring position of the first byte of the span. */
  position = 0;
  /** A record begins at the span's first byte. */
  recordStart = false;
  /** The span is bytes[spanStart, spanEnd) of the array given to readSamples(). */
  spanStart = 0;
  spanEnd = 0;
}

const TAG_CPU = 0x08;
const TAG_POSITION = 0x10;
const TAG_RECORD_START = 0x18;
const TAG_SPAN = 0x22;

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_LENGTH = 2;
const WIRE_FIXED32 = 5;

/**
 * A cursor shared by the functions below, which run to completion one at a time: a number cannot
 * be returned together with the new place without allocating.
 */
let cursor = 0;

/**
 * Reads the message bytes[from, to) into `out`. False when it is malformed, or a cpu or position
 * is beyond CPUS_MAX or POSITION_MAX; `out` is then undefined.
 */
export function readSamples(
  bytes: Uint8Array,
  from: number,
  to: number,
  out: SamplesView,
): boolean {
  let cpu = 0;
  let position = 0;
  let recordStart = 0;
  let spanStart = to;
  let spanEnd = to;
  cursor = from;
  while (cursor < to) {
    const tag = readVarint(bytes, to);
    if (tag === TAG_CPU) cpu = readVarint(bytes, to);
    else if (tag === TAG_POSITION) position = readVarint(bytes, to);
    else if (tag === TAG_RECORD_START) recordStart = readVarint(bytes, to);
    else if (tag === TAG_SPAN) {
      const spanBytes = readVarint(bytes, to);
      spanStart = cursor;
      spanEnd = cursor + spanBytes;
      if (!(spanBytes >= 0 && spanEnd <= to)) return false;
      cursor = spanEnd;
    } else if (!skipField(bytes, tag, to)) return false;
  }
  // A failed varint is NaN, which no comparison accepts.
  if (!(cpu < CPUS_MAX && position <= POSITION_MAX && recordStart >= 0)) return false;
  out.cpu = cpu;
  out.position = position;
  out.recordStart = recordStart !== 0;
  out.spanStart = spanStart;
  out.spanEnd = spanEnd;
  return true;
}

/**
 * The varint at the cursor, which moves behind it. NaN when it is cut off at `to` or longer than
 * ten bytes; from 2^53 on it is rounded, which every limit refuses.
 */
function readVarint(bytes: Uint8Array, to: number): number {
  if (cursor < to) {
    const first = bytes[cursor]!;
    if (first < 0x80) {
      cursor++;
      return first;
    }
  }
  const end = Math.min(to, cursor + 10);
  let value = 0;
  let unit = 1;
  for (let at = cursor; at < end; at++) {
    const byte = bytes[at]!;
    value += (byte & 0x7f) * unit;
    if (byte < 0x80) {
      cursor = at + 1;
      return value;
    }
    unit *= 128;
  }
  cursor = to;
  return Number.NaN;
}

/** Moves the cursor behind an unknown field. False for groups, field number 0 and truncation. */
function skipField(bytes: Uint8Array, tag: number, to: number): boolean {
  // Field numbers have 29 bits. NaN fails here as well.
  if (!(tag >= 8 && tag < 0x100000000)) return false;
  switch (tag & 7) {
    case WIRE_VARINT:
      return !Number.isNaN(readVarint(bytes, to));
    case WIRE_FIXED64:
      cursor += 8;
      break;
    case WIRE_FIXED32:
      cursor += 4;
      break;
    case WIRE_LENGTH: {
      const length = readVarint(bytes, to);
      if (!(length <= to - cursor)) return false;
      cursor += length;
      break;
    }
    default:
      return false;
  }
  return cursor <= to;
}
