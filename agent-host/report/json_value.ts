// JSON written as bytes: what the JSON renderers share.
//
// Strings come out as ASCII: controls, DEL and everything above as \uNNNN, because JSON lets C1
// controls through, and terminals obey those. Integers that may pass 2^53 are strings.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";

export { jsonString } from "../../shared/text/json_string.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const ESCAPED_BYTES_MAX = 6;
const STEP = 512;

/** A finite number rounded to `decimals`; null for NaN and Infinity, which JSON does not know. */
export function jsonNumber(value: number, decimals: number): string {
  if (!Number.isFinite(value)) return "null";
  const scale = 10 ** decimals;
  const rounded = Math.round(value * scale) / scale;
  return String(Number.isFinite(rounded) ? rounded : value);
}

/** Members whose values are JSON already. */
export function jsonObject(members: Readonly<Record<string, string>>): string {
  return `{${Object.entries(members)
    .map(([name, value]) => `"${name}":${value}`)
    .join(",")}}`;
}

/** Writes bytes[from, to) as a JSON string, each byte a character (Latin-1). */
export function writeJsonBytes(
  out: ByteWriter,
  source: Uint8Array,
  from: number,
  to: number,
): void {
  out.u8(QUOTE);
  for (let at = from; at < to; ) {
    const stop = Math.min(to, at + STEP);
    out.reserve((stop - at) * ESCAPED_BYTES_MAX);
    for (; at < stop; at++) {
      const byte = source[at]!;
      if (byte < 0x20 || byte >= 0x7f) {
        out.ascii("\\u00");
        out.hexPadded(byte, 0, 2);
      } else {
        if (byte === QUOTE || byte === BACKSLASH) out.bytes[out.length++] = BACKSLASH;
        out.bytes[out.length++] = byte;
      }
    }
  }
  out.u8(QUOTE);
}
