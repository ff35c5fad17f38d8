// Records made up for a format: every field filled with values that matter, dynamic ones in place.

import type { EventFormat, FormatField } from "../../../../shared/tracefs/format.ts";

/** A small generator of its own, so that a seed gives the same records on every runtime. */
export class Random {
  #state: number;
  constructor(seed: number) {
    this.#state = seed >>> 0;
  }
  /** 0 <= result < bound */
  below(bound: number): number {
    this.#state = (Math.imul(this.#state, 1664525) + 1013904223) >>> 0;
    return Math.floor((this.#state / 4294967296) * bound);
  }
}

/** How numbers are chosen: small ones hit tables, any ones find truncation. */
export type ValueStyle = "small" | "flags" | "any";

const DYNAMIC_BYTES_MAX = 40;

/** One record of the format. */
export function randomRecord(format: EventFormat, random: Random, style: ValueStyle): Uint8Array {
  const dynamic = format.fields.filter((field) => field.isDynamic);
  const record = new Uint8Array(format.fixedBytes + dynamic.length * DYNAMIC_BYTES_MAX + 8);
  const view = new DataView(record.buffer);
  view.setUint16(0, format.id, true);
  view.setUint32(4, 1000 + random.below(100), true);
  let tail = format.fixedBytes;
  for (const field of format.fields) {
    if (field.isDynamic) tail = fillDynamic(view, record, field, tail, random);
    else if (field.isArray) fillArray(record, field, random);
    else fillNumber(view, field, random, style);
  }
  return record.slice(0, (tail + 7) & ~7);
}

function fillDynamic(
  view: DataView,
  record: Uint8Array,
  field: FormatField,
  tail: number,
  random: Random,
): number {
  const element = Math.max(1, field.elementBytes);
  const isText = field.type.includes("char");
  const isMask = field.type.includes("mask") || field.type.includes("long");
  const count = isText ? 1 + random.below(20) : isMask ? 8 : random.below(4) * element;
  const offset = field.isRelative ? tail - field.offsetBytes - field.sizeBytes : tail;
  view.setUint32(field.offsetBytes, offset | (count << 16), true);
  if (isText) fillText(record, tail, count, random);
  else for (let i = 0; i < count; i++) record[tail + i] = random.below(256);
  return tail + count;
}

function fillText(record: Uint8Array, at: number, count: number, random: Random): void {
  for (let i = 0; i < count - 1; i++) record[at + i] = 0x30 + random.below(75);
  record[at + count - 1] = 0;
}

function fillArray(record: Uint8Array, field: FormatField, random: Random): void {
  const { offsetBytes, sizeBytes } = field;
  if (field.type.startsWith("char") && sizeBytes > 0) {
    fillText(record, offsetBytes, Math.min(sizeBytes, 1 + random.below(sizeBytes)), random);
    return;
  }
  for (let i = 0; i < sizeBytes; i++) record[offsetBytes + i] = random.below(256);
  // A socket address says what it is.
  if (sizeBytes === 28) record.set([random.below(2) === 0 ? 2 : 10, 0], offsetBytes);
}

function fillNumber(view: DataView, field: FormatField, random: Random, style: ValueStyle): void {
  const value = randomValue(field, random, style);
  for (let i = 0; i < field.sizeBytes; i++) {
    view.setUint8(field.offsetBytes + i, Number((value >> BigInt(8 * Math.min(i, 7))) & 0xffn));
  }
}

function randomValue(field: FormatField, random: Random, style: ValueStyle): bigint {
  if (field.isPointer || (field.isLong && random.below(3) === 0)) {
    return 0xffffffff81000000n + BigInt(random.below(0x2000000));
  }
  if (style === "small") return BigInt(random.below(24));
  if (style === "flags") return 1n << BigInt(random.below(Math.min(31, field.sizeBytes * 8 - 1)));
  const words = [0, 1, 2].map(() => BigInt(random.below(0x400000)));
  return (words[0]! << 44n) ^ (words[1]! << 22n) ^ words[2]!;
}
