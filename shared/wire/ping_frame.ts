// Ping and Pong frames as u32 pairs: the stamps of a round trip go into the frame right after rdtsc
// and come out of it right before the next one, without BigInt, garbage or the generated code.
//
//   rdtsc(tsc); write(fd, frame.subarray(0, writePing(frame, 0, seq, tsc, sequence)));
//
// Both messages are written at full length, zero fields included; but for a Ping's await_us, which
// is only there when it says something.

import { FRAME_HEADER_BYTES, FrameType, readU32, writeFrameHeader, writeU32 } from "./frame.ts";

const TAG_SEQ = 0x08;
const TAG_PING_SENDER_TSC = 0x11;
const TAG_PING_AWAIT_US = 0x18;
const TAG_PONG_ECHO_TSC = 0x11;
const TAG_PONG_RECEIVED_TSC = 0x19;
const TAG_PONG_SENT_TSC = 0x21;

const SEQ_BYTES_MAX = 5;
const STAMP_BYTES = 8;
/** await_us goes into two bytes of varint. */
export const AWAIT_US_MAX = 0x3fff;
/** Room that writePing() and writePong() need. */
export const PING_FRAME_BYTES_MAX = FRAME_HEADER_BYTES + 1 + SEQ_BYTES_MAX + 3 * (1 + STAMP_BYTES);

/** A Ping as read. Stamps are [lo, hi]. */
export class PingView {
  seq = 0;
  readonly senderTsc = new Uint32Array(2);
  /** How long it is worth staying awake for the next one; 0 for not at all. */
  awaitUs = 0;
}

/** A Pong as read. */
export class PongView {
  seq = 0;
  readonly echoTsc = new Uint32Array(2);
  readonly receivedTsc = new Uint32Array(2);
  readonly sentTsc = new Uint32Array(2);
}

/** Writes a whole Ping frame at `at` and gives its length. `awaitUs` is at most AWAIT_US_MAX. */
export function writePing(
  out: Uint8Array,
  at: number,
  seq: number,
  senderTsc: Uint32Array,
  sequence: number,
  awaitUs = 0,
): number {
  const begin = at + FRAME_HEADER_BYTES;
  let end = writeSeq(out, begin, seq);
  end = writeStamp(out, end, TAG_PING_SENDER_TSC, senderTsc);
  if (awaitUs > 0) {
    out[end++] = TAG_PING_AWAIT_US;
    if (awaitUs > 0x7f) out[end++] = (awaitUs & 0x7f) | 0x80;
    out[end++] = awaitUs > 0x7f ? awaitUs >>> 7 : awaitUs;
  }
  writeFrameHeader(out, at, FrameType.PING, 0, end - begin, sequence);
  return end - at;
}

/** Bytes from sender_tsc in a Ping frame to the frame's end. */
export function pingStampBack(awaitUs: number): number {
  return STAMP_BYTES + (awaitUs === 0 ? 0 : awaitUs > 0x7f ? 3 : 2);
}

/** Writes a whole Pong frame at `at` and gives its length. */
export function writePong(
  out: Uint8Array,
  at: number,
  seq: number,
  echoTsc: Uint32Array,
  receivedTsc: Uint32Array,
  sentTsc: Uint32Array,
  sequence: number,
): number {
  const begin = at + FRAME_HEADER_BYTES;
  let end = writeSeq(out, begin, seq);
  end = writeStamp(out, end, TAG_PONG_ECHO_TSC, echoTsc);
  end = writeStamp(out, end, TAG_PONG_RECEIVED_TSC, receivedTsc);
  end = writeStamp(out, end, TAG_PONG_SENT_TSC, sentTsc);
  writeFrameHeader(out, at, FrameType.PONG, 0, end - begin, sequence);
  return end - at;
}

/**
 * Reads the Ping bytes[from, to). False when a field is missing, in another order or cut off: only
 * what writePing() writes is read here. Fields behind are ignored.
 */
export function readPing(bytes: Uint8Array, from: number, to: number, out: PingView): boolean {
  const at = readSeq(bytes, from, to, out);
  if (at < 0 || !readStamp(bytes, at, to, TAG_PING_SENDER_TSC, out.senderTsc)) return false;
  out.awaitUs = readAwait(bytes, at + 1 + STAMP_BYTES, to);
  return true;
}

/** Reads the Pong bytes[from, to), as readPing() does. */
export function readPong(bytes: Uint8Array, from: number, to: number, out: PongView): boolean {
  const at = readSeq(bytes, from, to, out);
  return (
    at >= 0 &&
    readStamp(bytes, at, to, TAG_PONG_ECHO_TSC, out.echoTsc) &&
    readStamp(bytes, at + 1 + STAMP_BYTES, to, TAG_PONG_RECEIVED_TSC, out.receivedTsc) &&
    readStamp(bytes, at + 2 * (1 + STAMP_BYTES), to, TAG_PONG_SENT_TSC, out.sentTsc)
  );
}

function writeSeq(out: Uint8Array, at: number, seq: number): number {
  out[at++] = TAG_SEQ;
  let rest = seq >>> 0;
  while (rest > 0x7f) {
    out[at++] = (rest & 0x7f) | 0x80;
    rest >>>= 7;
  }
  out[at++] = rest;
  return at;
}

function writeStamp(out: Uint8Array, at: number, tag: number, stamp: Uint32Array): number {
  out[at] = tag;
  writeU32(out, at + 1, stamp[0]!);
  writeU32(out, at + 5, stamp[1]!);
  return at + 1 + STAMP_BYTES;
}

/** The place behind `seq`, or -1. */
function readSeq(bytes: Uint8Array, from: number, to: number, out: { seq: number }): number {
  if (from >= to || bytes[from] !== TAG_SEQ) return -1;
  const end = Math.min(to, from + 1 + SEQ_BYTES_MAX);
  let seq = 0;
  for (let at = from + 1, shift = 0; at < end; at++, shift += 7) {
    const byte = bytes[at]!;
    seq |= (byte & 0x7f) << shift;
    if (byte < 0x80) {
      out.seq = seq >>> 0;
      return at + 1;
    }
  }
  return -1;
}

/** await_us, 0 when it is not there; more than AWAIT_US_MAX is not believed. */
function readAwait(bytes: Uint8Array, at: number, to: number): number {
  if (at + 1 >= to || bytes[at] !== TAG_PING_AWAIT_US) return 0;
  const low = bytes[at + 1]!;
  if (low < 0x80) return low;
  const high = at + 2 < to ? bytes[at + 2]! : 0x80;
  return high < 0x80 ? (low & 0x7f) | (high << 7) : 0;
}

function readStamp(
  bytes: Uint8Array,
  at: number,
  to: number,
  tag: number,
  out: Uint32Array,
): boolean {
  if (at + 1 + STAMP_BYTES > to || bytes[at] !== tag) return false;
  out[0] = readU32(bytes, at + 1);
  out[1] = readU32(bytes, at + 5);
  return true;
}
