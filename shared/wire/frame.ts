// The frame: what every message on the channel and in files is wrapped in.
//
//   offset  0        4     5      6       8             12         16
//           | magic  | type | flags | check | payloadBytes | sequence | payload ... | xxh64 |
//           | "VMSP" | u8   | u8    | u16   | u32          | u32      |             | 8     |
//
// All numbers are little endian. `check` is the CRC-16 of the 14 other header bytes, in order.
// The payload is one protobuf message of proto/vmspan/v1/channel.proto. With FRAME_FLAG_CHECKSUM
// (files) the XXH64 of the payload follows it, not counted in payloadBytes. `sequence` grows by
// one with each frame of a stream and wraps.
//
// A Samples frame for CPU 1, position 0x12345, 8 bytes of ring, as it lies on the wire:
//
//   56 4d 53 50 05 00 29 81 12 00 00 00 07 00 00 00      header, payload 18 bytes, sequence 7
//   08 01 10 c5 c6 04 18 01 22 08 .. .. .. .. .. .. .. ..  cpu, position, record_start, span

import { CRC16_START, crc16 } from "./crc16.ts";

/** "VMSP" as a little-endian u32. Its four bytes differ, so that the search may skip by four. */
export const FRAME_MAGIC = 0x50534d56;
export const FRAME_HEADER_BYTES = 16;
/** Larger payloads are refused before anything is buffered. */
export const FRAME_PAYLOAD_BYTES_MAX = 1024 * 1024;
/** The XXH64 after the payload of a frame with FRAME_FLAG_CHECKSUM. */
export const FRAME_CHECKSUM_BYTES = 8;
/** The largest frame as a whole. */
export const FRAME_BYTES_MAX = FRAME_HEADER_BYTES + FRAME_PAYLOAD_BYTES_MAX + FRAME_CHECKSUM_BYTES;
/**
 * The largest write that a virtio-serial port takes at once (drivers/char/virtio_console.c). A
 * frame within it, sent by one write, is never torn when the guest agent dies.
 */
export const PORT_WRITE_BYTES_MAX = 32 * 1024;

/** The payload is followed by its XXH64. */
export const FRAME_FLAG_CHECKSUM = 0x01;
/** Flags that this version knows. A frame with any other is skipped as unknown. */
export const FRAME_FLAGS_KNOWN = FRAME_FLAG_CHECKSUM;

/** Frame types, one per message of the protocol. Numbers are never reused. */
export const FrameType = {
  ATTACH: 1,
  HELLO: 2,
  EVENTS: 3,
  CLOCK_SAMPLE: 4,
  SAMPLES: 5,
  PROGRESS: 6,
  LOST: 7,
  TASK: 8,
  PING: 9,
  PONG: 10,
  ACK: 11,
  CONTROL: 12,
  CONTROL_REPLY: 13,
  STATS: 14,
  ERROR: 15,
  BYE: 16,
  SYMBOLS: 17,
  DUMP: 18,
} as const;

export type FrameType = (typeof FrameType)[keyof typeof FrameType];

/** Types run from 1 to this. */
export const FRAME_TYPE_LAST = FrameType.DUMP;

/** CPUs that a stream may name: the most that any Linux kernel is built for (NR_CPUS). */
export const CPUS_MAX = 8192;
/** The largest ring position: 4 PiB, so that it plus any span is exact as a double. */
export const POSITION_MAX = 2 ** 52;

const TYPE_OFFSET = 4;
const FLAGS_OFFSET = 5;
const CHECK_OFFSET = 6;
const PAYLOAD_BYTES_OFFSET = 8;
const SEQUENCE_OFFSET = 12;

/** The check after the four magic bytes, which are the same in each frame. */
const CHECK_AFTER_MAGIC = crc16(CRC16_START, Uint8Array.of(0x56, 0x4d, 0x53, 0x50), 0, 4);

/** The check value of the header at `at`, which must lie in bounds with its magic in place. */
export function headerCheck(bytes: Uint8Array, at: number): number {
  const typeAndFlags = crc16(CHECK_AFTER_MAGIC, bytes, at + TYPE_OFFSET, at + CHECK_OFFSET);
  return crc16(typeAndFlags, bytes, at + PAYLOAD_BYTES_OFFSET, at + FRAME_HEADER_BYTES);
}

/** Writes a whole header at `at` and gives FRAME_HEADER_BYTES. `out` must have room for it. */
export function writeFrameHeader(
  out: Uint8Array,
  at: number,
  type: number,
  flags: number,
  payloadBytes: number,
  sequence: number,
): number {
  if (payloadBytes > FRAME_PAYLOAD_BYTES_MAX) throw payloadTooLarge(payloadBytes);
  writeU32(out, at, FRAME_MAGIC);
  out[at + TYPE_OFFSET] = type;
  out[at + FLAGS_OFFSET] = flags;
  writeU32(out, at + PAYLOAD_BYTES_OFFSET, payloadBytes);
  writeU32(out, at + SEQUENCE_OFFSET, sequence);
  const check = headerCheck(out, at);
  out[at + CHECK_OFFSET] = check;
  out[at + CHECK_OFFSET + 1] = check >>> 8;
  return FRAME_HEADER_BYTES;
}

/** Gives the frame at `at` another sequence number: one encoded frame for several streams. */
export function setFrameSequence(out: Uint8Array, at: number, sequence: number): void {
  writeU32(out, at + SEQUENCE_OFFSET, sequence);
  const check = headerCheck(out, at);
  out[at + CHECK_OFFSET] = check;
  out[at + CHECK_OFFSET + 1] = check >>> 8;
}

/** Whether a header with the right magic and check begins at `at` (16 bytes must be in bounds). */
export function isFrameHeader(bytes: Uint8Array, at: number): boolean {
  return (
    readU32(bytes, at) === FRAME_MAGIC &&
    headerCheck(bytes, at) === (bytes[at + CHECK_OFFSET]! | (bytes[at + CHECK_OFFSET + 1]! << 8))
  );
}

/** The fields of a header that isFrameHeader() accepted. */
export function frameType(bytes: Uint8Array, at: number): number {
  return bytes[at + TYPE_OFFSET]!;
}

export function frameFlags(bytes: Uint8Array, at: number): number {
  return bytes[at + FLAGS_OFFSET]!;
}

export function framePayloadBytes(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + PAYLOAD_BYTES_OFFSET);
}

export function frameSequence(bytes: Uint8Array, at: number): number {
  return readU32(bytes, at + SEQUENCE_OFFSET);
}

/** Bytes after the header: the payload and its checksum. */
export function frameBodyBytes(bytes: Uint8Array, at: number): number {
  const checksummed = (frameFlags(bytes, at) & FRAME_FLAG_CHECKSUM) !== 0;
  return framePayloadBytes(bytes, at) + (checksummed ? FRAME_CHECKSUM_BYTES : 0);
}

/** A little-endian u32 at any alignment. */
export function readU32(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}

/** Writes a little-endian u32 at any alignment. */
export function writeU32(out: Uint8Array, at: number, value: number): void {
  out[at] = value;
  out[at + 1] = value >>> 8;
  out[at + 2] = value >>> 16;
  out[at + 3] = value >>> 24;
}

export function payloadTooLarge(payloadBytes: number): RangeError {
  return new RangeError(
    `Cannot write a frame: payload is ${payloadBytes} bytes, ` +
      `wanted at most ${FRAME_PAYLOAD_BYTES_MAX}`,
  );
}
