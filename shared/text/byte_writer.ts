// ByteWriter: text written as bytes, for output that runs at hundreds of thousands of lines a
// second.
//
// A fixed buffer and a flush callback: nothing grows, nothing is allocated per line, no BigInt is
// made for 64-bit numbers (they come as lo/hi u32 pairs, as typed arrays hold them).
//
//   const out = new ByteWriter(64 * 1024, (bytes) => writeAll(fd, bytes));
//   out.reserve(LINE_BYTES_MAX);           // the line now stays in one piece (see padFrom)
//   out.ascii("irq="); out.dec(38);        // "irq=38"
//   out.hex64(0xdeadbeef, 1);              // "1deadbeef"
//   out.decPadded(7, 3, 0x30);             // "007"
//   out.untrusted(record, from, to);       // "virtio0\x1b[2J" arrives as the text \x1b[2J
//   out.flush();
//
// Only untrusted() and untrustedText() escape; ascii() and raw() are for our own text.

import { writeHex64, writeHexByte, writeOct64, writeSafe, writeU64 } from "./digits.ts";

/** Called with the bytes so far; the view is reused after the call returns. */
export type FlushBytes = (bytes: Uint8Array) => void;

/** Most bytes that a single number, escape or padded field may take at once. */
export const FIELD_BYTES_MAX = 4096;
/** The least capacity: every single write must fit into an empty buffer. */
export const WRITER_BYTES_MIN = FIELD_BYTES_MAX;

const BACKSLASH = 0x5c;
const SPACE = 0x20;
const ZERO = 0x30;
const MINUS = 0x2d;

/** A fixed-size byte buffer that is handed to `flush` whenever it is full. */
export class ByteWriter {
  /** The buffer. Hot callers may write at `length` themselves after reserve(). */
  readonly bytes: Uint8Array;
  /** Bytes written and not flushed yet. */
  length = 0;
  /** Bytes handed to the flush callback so far. */
  flushedBytes = 0;
  readonly #flush: FlushBytes | undefined;

  /**
   * Without a flush callback a full buffer is an error of the caller (RangeError).
   * Throws RangeError when `capacityBytes` is below WRITER_BYTES_MIN.
   */
  constructor(capacityBytes: number, flush?: FlushBytes) {
    if (!Number.isSafeInteger(capacityBytes) || capacityBytes < WRITER_BYTES_MIN) {
      throw new RangeError(
        `Cannot make a byte writer: capacity is ${capacityBytes}, ` +
          `wanted at least ${WRITER_BYTES_MIN}`,
      );
    }
    this.bytes = new Uint8Array(capacityBytes);
    this.#flush = flush;
  }

  /** Hands over what has been written and starts again at the front of the buffer. */
  flush(): void {
    if (this.length === 0) return;
    const count = this.length;
    // Reset first: a flush that throws must not send the same bytes again.
    this.length = 0;
    this.flushedBytes += count;
    this.#flush?.(this.bytes.subarray(0, count));
  }

  /** Drops what has been written and not flushed. */
  clear(): void {
    this.length = 0;
  }

  /** Makes `byteCount` bytes of room without a flush in between (at most the capacity). */
  reserve(byteCount: number): void {
    if (this.length + byteCount <= this.bytes.length) return;
    if (this.#flush === undefined || byteCount > this.bytes.length) {
      throw new RangeError(
        `Cannot write ${byteCount} bytes: the buffer holds ${this.length} of ${this.bytes.length}`,
      );
    }
    this.flush();
  }

  /** A place to pad from; see padFrom(). */
  mark(): number {
    return this.flushedBytes + this.length;
  }

  /**
   * Pads what was written since mark() to `width` bytes: on the left, or on the right when `left`.
   * Needs the text since the mark in the buffer: reserve() enough first. When a flush took the mark
   * away the text stays as it is, since padding is only looks.
   */
  padFrom(mark: number, width: number, left: boolean, fill: number = SPACE): void {
    const start = mark - this.flushedBytes;
    if (start < 0) return;
    const missing = Math.min(width, FIELD_BYTES_MAX) - (this.length - start);
    if (missing <= 0 || this.length + missing > this.bytes.length) return;
    if (left) {
      this.bytes.fill(fill, this.length, this.length + missing);
    } else {
      this.bytes.copyWithin(start + missing, start, this.length);
      this.bytes.fill(fill, start, start + missing);
    }
    this.length += missing;
  }

  /** Cuts what was written since mark() down to `bytesMax` bytes (printf precision). */
  truncateFrom(mark: number, bytesMax: number): void {
    const start = mark - this.flushedBytes;
    if (start >= 0 && this.length - start > bytesMax) this.length = start + bytesMax;
  }

  u8(byte: number): void {
    if (this.length === this.bytes.length) this.reserve(1);
    this.bytes[this.length++] = byte;
  }

  /** One byte `count` times. */
  fill(byte: number, count: number): void {
    let left = count;
    while (left > 0) {
      const step = Math.min(left, FIELD_BYTES_MAX);
      this.reserve(step);
      this.bytes.fill(byte, this.length, this.length + step);
      this.length += step;
      left -= step;
    }
  }

  /** Our own text, ASCII (a code above 0x7f comes out as `?`). */
  ascii(text: string): void {
    const count = text.length;
    if (count > FIELD_BYTES_MAX) {
      for (let at = 0; at < count; at += FIELD_BYTES_MAX) {
        this.ascii(text.slice(at, at + FIELD_BYTES_MAX));
      }
      return;
    }
    this.reserve(count);
    const bytes = this.bytes;
    let at = this.length;
    for (let i = 0; i < count; i++) {
      const code = text.charCodeAt(i);
      bytes[at++] = code < 0x80 ? code : 0x3f;
    }
    this.length = at;
  }

  /** Our own text, padded on the left to `width`. */
  asciiPadStart(text: string, width: number): void {
    if (text.length < width) this.fill(SPACE, width - text.length);
    this.ascii(text);
  }

  /** Our own text, padded on the right to `width`. */
  asciiPadEnd(text: string, width: number): void {
    this.ascii(text);
    if (text.length < width) this.fill(SPACE, width - text.length);
  }

  /** Bytes as they are: only for bytes that did not come from a guest or from user space. */
  raw(source: Uint8Array, from = 0, to: number = source.length): void {
    let at = from;
    while (at < to) {
      const step = Math.min(to - at, FIELD_BYTES_MAX);
      this.reserve(step);
      const bytes = this.bytes;
      let length = this.length;
      // A plain loop: for the usual dozen bytes set(subarray()) costs an object and a call.
      if (step <= 64) {
        for (let i = 0; i < step; i++) bytes[length++] = source[at + i]!;
      } else {
        bytes.set(source.subarray(at, at + step), length);
        length += step;
      }
      this.length = length;
      at += step;
    }
  }

  /**
   * Bytes that came from a guest or a user program: printable ASCII as it is, everything else
   * (controls, DEL, bytes >= 0x80) as \xNN, so that no byte can steer the terminal or forge a line.
   */
  untrusted(source: Uint8Array, from: number, to: number): void {
    const end = Math.min(to, source.length);
    let at = Math.max(0, from);
    while (at < end) {
      // Each byte takes at most four.
      const stop = Math.min(end, at + FIELD_BYTES_MAX / 4);
      this.reserve((stop - at) * 4);
      const bytes = this.bytes;
      let length = this.length;
      for (; at < stop; at++) {
        const byte = source[at]!;
        if (byte >= SPACE && byte < 0x7f) {
          bytes[length++] = byte;
        } else {
          bytes[length] = BACKSLASH;
          bytes[length + 1] = 0x78;
          length = writeHexByte(bytes, length + 2, byte);
        }
      }
      this.length = length;
    }
  }

  /** untrusted() up to the first NUL, at most to `to`; returns where it stopped. */
  untrustedString(source: Uint8Array, from: number, to: number): number {
    let end = from;
    while (end < to && source[end] !== 0) end++;
    this.untrusted(source, from, end);
    return end;
  }

  /** untrusted() for text already decoded: a character above 0x7e is escaped as its UTF-16 unit. */
  untrustedText(text: string): void {
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code >= SPACE && code < 0x7f) {
        this.u8(code);
      } else if (code < 0x100) {
        this.ascii("\\x");
        this.hexPadded(code, 0, 2, ZERO);
      } else {
        this.ascii("\\u");
        this.hexPadded(code, 0, 4, ZERO);
      }
    }
  }

  /** A safe integer in decimal. */
  dec(value: number): void {
    this.reserve(24);
    let magnitude = value;
    if (value < 0) {
      this.bytes[this.length++] = MINUS;
      magnitude = -value;
    }
    this.length = writeSafe(this.bytes, this.length, magnitude);
  }

  /** A safe integer in decimal, padded on the left to `width` (zeros go behind the sign). */
  decPadded(value: number, width: number, fill: number = SPACE): void {
    this.reserve(Math.min(width, FIELD_BYTES_MAX) + 24);
    if (fill === ZERO && value < 0) {
      this.bytes[this.length++] = MINUS;
      const mark = this.mark();
      this.dec(-value);
      this.padFrom(mark, width - 1, false, ZERO);
      return;
    }
    const mark = this.mark();
    this.dec(value);
    this.padFrom(mark, width, false, fill);
  }

  /**
   * A finite number with `decimals` (0 to 9) behind the point, rounded; below 2^53 / 10^decimals.
   */
  fixed(value: number, decimals: number): void {
    const scale = 10 ** decimals;
    const scaled = Math.round(Math.abs(value) * scale);
    if (value < 0 && scaled > 0) this.u8(MINUS);
    const whole = Math.floor(scaled / scale);
    this.dec(whole);
    if (decimals === 0) return;
    this.u8(0x2e);
    this.decPadded(scaled - whole * scale, decimals, ZERO);
  }

  /** An unsigned 64-bit number, as a u32 pair, in decimal. */
  u64(lo: number, hi: number): void {
    this.reserve(24);
    this.length = writeU64(this.bytes, this.length, lo, hi);
  }

  /** A signed 64-bit number, as a u32 pair, in decimal. */
  s64(lo: number, hi: number): void {
    if ((hi | 0) >= 0) {
      this.u64(lo, hi);
      return;
    }
    this.u8(MINUS);
    // Two's complement negation over the pair.
    const low = -lo >>> 0;
    this.u64(low, (~hi + (low === 0 ? 1 : 0)) >>> 0);
  }

  /** An unsigned 64-bit number, as a u32 pair, in hexadecimal without a prefix. */
  hex64(lo: number, hi: number, upperCase = false): void {
    this.reserve(16);
    this.length = writeHex64(this.bytes, this.length, lo, hi, upperCase);
  }

  /** One byte as two hexadecimal digits. */
  hexByte(byte: number): void {
    this.reserve(2);
    this.length = writeHexByte(this.bytes, this.length, byte & 0xff);
  }

  /** hex64() padded on the left to `width`. */
  hexPadded(lo: number, hi: number, width: number, fill: number = ZERO): void {
    this.reserve(Math.min(width, FIELD_BYTES_MAX) + 16);
    const mark = this.mark();
    this.hex64(lo, hi);
    this.padFrom(mark, width, false, fill);
  }

  /** An unsigned 64-bit number, as a u32 pair, in octal without a prefix. */
  oct64(lo: number, hi: number): void {
    this.reserve(22);
    this.length = writeOct64(this.bytes, this.length, lo, hi);
  }

  /** What is in the buffer, as a string: for tests and for text that is kept. */
  toString(): string {
    return new TextDecoder("latin1").decode(this.bytes.subarray(0, this.length));
  }
}

/**
 * Text that is not ours, made safe once (as untrusted() would write it) to be written raw later.
 */
export function safeBytes(bytes: Uint8Array): Uint8Array {
  const out = new ByteWriter(Math.max(WRITER_BYTES_MIN, bytes.length * 4));
  out.untrusted(bytes, 0, bytes.length);
  return out.bytes.slice(0, out.length);
}
