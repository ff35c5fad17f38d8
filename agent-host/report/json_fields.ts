// The fields of a record as one JSON object, by the event's format:
//
//   {"irq":38,"name":"virtio0-input.3"}
//
// Integers as numbers, as strings when they pass 2^53; text as strings; arrays of integers as
// arrays; everything else, and what lies outside the record, as null. A record is as long as its
// guest says, so each access is checked against it.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { EventFormat, FormatField } from "../../shared/tracefs/format.ts";
import { jsonString, writeJsonBytes } from "./json_value.ts";

/** Elements of an array and bytes of a string that are written. */
export const FIELD_ELEMENTS_MAX = 1024;

const EXACT_HIGH_MAX = 0x200000;

/** Writes the event's own fields; the record is `rawBytes` bytes from `rawOffset`. */
export function writeJsonFields(
  out: ByteWriter,
  format: EventFormat,
  bytes: Uint8Array,
  rawOffset: number,
  rawBytes: number,
): void {
  out.ascii("{");
  for (const [index, field] of format.fields.entries()) {
    if (index > 0) out.ascii(",");
    out.ascii(`${jsonString(field.name)}:`);
    writeField(out, field, bytes.subarray(rawOffset, rawOffset + rawBytes));
  }
  out.ascii("}");
}

function writeField(out: ByteWriter, field: FormatField, record: Uint8Array): void {
  let { offsetBytes: from, sizeBytes: size } = field;
  if (from + size > record.length) {
    out.ascii("null");
    return;
  }
  if (field.isDynamic && size === 4) {
    // u16 offset, u16 length; relative ones count from the end of this field.
    const offset = record[from]! | (record[from + 1]! << 8);
    size = record[from + 2]! | (record[from + 3]! << 8);
    from = field.isRelative ? from + 4 + offset : offset;
    if (from + size > record.length) {
      out.ascii("null");
      return;
    }
  }
  const isArray = field.isArray || field.isDynamic;
  if (field.isString) writeText(out, record, from, size);
  else if (isArray) writeArray(out, field, record, from, size);
  else writeInteger(out, record, from, size, field.isSigned);
}

/** Up to the first NUL. */
function writeText(out: ByteWriter, record: Uint8Array, from: number, size: number): void {
  const end = from + Math.min(size, FIELD_ELEMENTS_MAX);
  let to = from;
  while (to < end && record[to] !== 0) to++;
  writeJsonBytes(out, record, from, to);
}

function writeArray(
  out: ByteWriter,
  field: FormatField,
  record: Uint8Array,
  from: number,
  size: number,
): void {
  const { elementBytes, isSigned } = field;
  if (!isInteger(elementBytes)) {
    out.ascii("null");
    return;
  }
  const count = Math.min(Math.floor(size / elementBytes), FIELD_ELEMENTS_MAX);
  out.ascii("[");
  for (let i = 0; i < count; i++) {
    if (i > 0) out.ascii(",");
    writeInteger(out, record, from + i * elementBytes, elementBytes, isSigned);
  }
  out.ascii("]");
}

function isInteger(size: number): boolean {
  return size === 1 || size === 2 || size === 4 || size === 8;
}

function writeInteger(
  out: ByteWriter,
  record: Uint8Array,
  from: number,
  size: number,
  isSigned: boolean,
): void {
  if (!isInteger(size)) {
    out.ascii("null");
    return;
  }
  const word = (at: number, bytes: number): number => {
    let value = 0;
    for (let i = bytes - 1; i >= 0; i--) value = value * 256 + record[at + i]!;
    return value;
  };
  if (size < 8) {
    const value = word(from, size);
    const limit = 2 ** (size * 8 - 1);
    out.dec(isSigned && value >= limit ? value - 2 * limit : value);
    return;
  }
  const lo = word(from, 4);
  const hi = word(from + 4, 4);
  // As a number only where a double holds it: readers would round silently.
  const isNegative = isSigned && hi >= 0x80000000;
  const isExact = isNegative ? hi >= 2 ** 32 - EXACT_HIGH_MAX + 1 : hi < EXACT_HIGH_MAX;
  if (!isExact) out.ascii('"');
  if (isSigned) out.s64(lo, hi);
  else out.u64(lo, hi);
  if (!isExact) out.ascii('"');
}
