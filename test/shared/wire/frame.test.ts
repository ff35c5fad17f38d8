/** The frame header against hand-written bytes; its check finds every error of up to three bits. */
import { describe, expect, test } from "bun:test";
import { CRC16_START, crc16 } from "../../../shared/wire/crc16.ts";
import {
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_TYPE_LAST,
  FrameType,
  frameBodyBytes,
  frameFlags,
  framePayloadBytes,
  frameSequence,
  frameType,
  isFrameHeader,
  setFrameSequence,
  writeFrameHeader,
} from "../../../shared/wire/frame.ts";
import { ascii, FRAME_TYPES } from "./fixtures.ts";

// biome-ignore format: one row per header field
const HEADER = Uint8Array.of(
  0x56, 0x4d, 0x53, 0x50, // "VMSP"
  0x05, // SAMPLES
  0x01, // FRAME_FLAG_CHECKSUM
  0x48, 0xe7, // check
  0x12, 0x00, 0x01, 0x00, // payload 65554 bytes
  0xff, 0xff, 0xff, 0xff, // sequence 4294967295
);

test("crc16() has the catalogued check value", () => {
  expect(crc16(CRC16_START, ascii("123456789"), 0, 9)).toBe(0x29b1);
});

describe("writeFrameHeader()", () => {
  test("writes the documented bytes, at an offset", () => {
    const out = new Uint8Array(20);
    expect(writeFrameHeader(out, 3, FrameType.SAMPLES, 1, 65554, 0xffffffff)).toBe(16);
    expect(out.subarray(3, 19)).toEqual(HEADER);
    expect([out[0], out[1], out[2], out[19]]).toEqual([0, 0, 0, 0]);
  });

  test("checks with the CRC of the 14 other bytes", () => {
    const others = Uint8Array.of(...HEADER.subarray(0, 6), ...HEADER.subarray(8));
    expect(crc16(CRC16_START, others, 0, 14)).toBe(HEADER[6]! | (HEADER[7]! << 8));
  });

  test("refuses a payload over the limit", () => {
    const out = new Uint8Array(16);
    expect(() => writeFrameHeader(out, 0, 5, 0, FRAME_PAYLOAD_BYTES_MAX + 1, 0)).toThrow(
      new RangeError("Cannot write a frame: payload is 1048577 bytes, wanted at most 1048576"),
    );
  });
});

test("frameType() and the like read what was written", () => {
  expect(isFrameHeader(HEADER, 0)).toBe(true);
  expect(frameType(HEADER, 0)).toBe(FrameType.SAMPLES);
  expect(frameFlags(HEADER, 0)).toBe(1);
  expect(framePayloadBytes(HEADER, 0)).toBe(65554);
  expect(frameBodyBytes(HEADER, 0)).toBe(65562);
  expect(frameSequence(HEADER, 0)).toBe(0xffffffff);
});

test("setFrameSequence() gives another header that holds", () => {
  const header = HEADER.slice();
  setFrameSequence(header, 0, 7);
  expect(isFrameHeader(header, 0)).toBe(true);
  expect(frameSequence(header, 0)).toBe(7);
  expect(framePayloadBytes(header, 0)).toBe(65554);
});

test("isFrameHeader() refuses every error of one, two and three bits", () => {
  const bits = FRAME_HEADER_BYTES * 8;
  const flip = (bytes: Uint8Array, bit: number) => {
    bytes[bit >> 3]! ^= 1 << (bit & 7);
  };
  const header = HEADER.slice();
  let accepted = 0;
  for (let a = 0; a < bits; a++) {
    flip(header, a);
    if (isFrameHeader(header, 0)) accepted++;
    for (let b = a + 1; b < bits; b++) {
      flip(header, b);
      if (isFrameHeader(header, 0)) accepted++;
      for (let c = b + 1; c < bits; c++) {
        flip(header, c);
        if (isFrameHeader(header, 0)) accepted++;
        flip(header, c);
      }
      flip(header, b);
    }
    flip(header, a);
  }
  expect(accepted).toBe(0);
  expect(header).toEqual(HEADER);
});

test("FrameType has numbers from 1 to FRAME_TYPE_LAST, each once", () => {
  expect(new Set(FRAME_TYPES).size).toBe(FRAME_TYPES.length);
  expect([Math.min(...FRAME_TYPES), Math.max(...FRAME_TYPES)]).toEqual([1, FRAME_TYPE_LAST]);
});
