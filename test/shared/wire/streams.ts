// Frames and byte streams for the decoder's tests, and a decoder that is as plain as can be.

import {
  FRAME_FLAG_CHECKSUM,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_TYPE_LAST,
  FrameType,
  frameBodyBytes,
  framePayloadBytes,
  frameSequence,
  frameType,
  isFrameHeader,
  writeFrameHeader,
  writeU32,
} from "../../../shared/wire/frame.ts";
import type { FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import { xxh64Words } from "./xxh64_reference.ts";

/** What a test compares: a frame as plain values. */
export interface Decoded {
  readonly type: number;
  readonly sequence: number;
  readonly payload: string;
  readonly streamOffset: number;
}

/** A frame with any payload; the decoder does not look into it. */
export function frame(
  payload: Uint8Array,
  sequence: number,
  type: number = FrameType.SAMPLES,
  flags = 0,
): Uint8Array {
  const checksummed = (flags & FRAME_FLAG_CHECKSUM) !== 0;
  const out = new Uint8Array(FRAME_HEADER_BYTES + payload.length + (checksummed ? 8 : 0));
  writeFrameHeader(out, 0, type, flags, payload.length, sequence);
  out.set(payload, FRAME_HEADER_BYTES);
  if (checksummed) {
    const [lo, hi] = xxh64Words(payload);
    writeU32(out, out.length - 8, lo!);
    writeU32(out, out.length - 4, hi!);
  }
  return out;
}

export function concat(...parts: readonly Uint8Array[]): Uint8Array {
  const out = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
}

/** All frames that the decoder has now. */
export function drain(decoder: FrameDecoder): Decoded[] {
  const frames: Decoded[] = [];
  for (let next = decoder.next(); next !== undefined; next = decoder.next()) {
    frames.push({
      type: next.type,
      sequence: next.sequence,
      payload: next.bytes.subarray(next.payloadStart, next.payloadEnd).toHex(),
      streamOffset: next.streamOffset,
    });
  }
  return frames;
}

/** Feeds `stream` cut at `cuts` (any order), by push() or through the decoder's own buffer. */
export function feed(
  decoder: FrameDecoder,
  stream: Uint8Array,
  cuts: readonly number[],
  way: "push" | "reserve",
): Decoded[] {
  const bounds = [...cuts.map((cut) => cut % (stream.length + 1)), stream.length];
  bounds.sort((a, b) => a - b);
  const frames: Decoded[] = [];
  let from = 0;
  for (const to of bounds) {
    if (way === "push") {
      const chunk = stream.slice(from, to);
      decoder.push(chunk);
      frames.push(...drain(decoder));
      // The chunk is the caller's again: nothing may depend on it.
      chunk.fill(0x56);
      from = to;
    }
    while (from < to) {
      const room = decoder.reserve();
      const bytes = Math.min(room.length, to - from);
      room.set(stream.subarray(from, from + bytes));
      decoder.commit(bytes);
      frames.push(...drain(decoder));
      from += bytes;
    }
  }
  return frames;
}

/** The frames of a whole stream, by looking at every offset. Knows no checksums. */
export function decodePlainly(stream: Uint8Array): Decoded[] {
  const soundHeader = (at: number) =>
    at + FRAME_HEADER_BYTES <= stream.length &&
    isFrameHeader(stream, at) &&
    framePayloadBytes(stream, at) <= FRAME_PAYLOAD_BYTES_MAX;
  const frames: Decoded[] = [];
  let at = 0;
  while (at + FRAME_HEADER_BYTES <= stream.length) {
    if (!soundHeader(at)) {
      at++;
      continue;
    }
    const start = at + FRAME_HEADER_BYTES;
    const end = start + frameBodyBytes(stream, at);
    if (end > stream.length) break;
    const garbageFollows = end + FRAME_HEADER_BYTES <= stream.length && !soundHeader(end);
    let inner = start;
    while (inner < end && !soundHeader(inner)) inner++;
    if (garbageFollows && inner < end) {
      at = inner;
      continue;
    }
    const known = frameType(stream, at) >= 1 && frameType(stream, at) <= FRAME_TYPE_LAST;
    if (known && (stream[at + 5]! & ~FRAME_FLAG_CHECKSUM) === 0) {
      frames.push({
        type: frameType(stream, at),
        sequence: frameSequence(stream, at),
        payload: stream.subarray(start, start + framePayloadBytes(stream, at)).toHex(),
        streamOffset: at,
      });
    }
    at = end;
  }
  return frames;
}
