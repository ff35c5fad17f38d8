/** Frames out of a byte stream: cut anywhere, in garbage, torn, damaged, with unknown types. */
import { describe, expect, test } from "bun:test";
import {
  FRAME_FLAG_CHECKSUM,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_TYPE_LAST,
  FrameType,
  headerCheck,
  writeU32,
} from "../../../shared/wire/frame.ts";
import {
  DECODER_BUFFER_BYTES_MIN,
  FrameDecoder,
  RESERVE_BYTES_MIN,
} from "../../../shared/wire/frame_decoder.ts";
import { findMagic } from "../../../shared/wire/magic_search.ts";
import { ascii } from "./fixtures.ts";
import { concat, drain, feed, frame } from "./streams.ts";
import { xxh64Words } from "./xxh64_reference.ts";

const A = frame(ascii("alpha"), 0, FrameType.HELLO);
const B = frame(ascii("beta"), 1);
const C = frame(ascii(""), 2, FrameType.BYE);

/** A true header with a payload length that writeFrameHeader() refuses. */
function oversizeHeader(payloadBytes: number): Uint8Array {
  const header = frame(new Uint8Array(0), 0);
  writeU32(header, 8, payloadBytes);
  const check = headerCheck(header, 0);
  header[6] = check;
  header[7] = check >>> 8;
  return header;
}

function payloads(decoder: FrameDecoder): string[] {
  return drain(decoder).map(({ payload }) => Buffer.from(payload, "hex").toString("latin1"));
}

function pushed(...parts: Uint8Array[]): FrameDecoder {
  const decoder = new FrameDecoder();
  decoder.push(concat(...parts));
  return decoder;
}

describe("FrameDecoder.next()", () => {
  test("gives type, flags, sequence, payload and place of each frame", () => {
    const decoder = pushed(A, B, C);
    const stream = concat(A, B, C);
    const first = decoder.next()!;
    expect({ ...first, bytes: undefined }).toEqual({
      type: FrameType.HELLO,
      flags: 0,
      sequence: 0,
      bytes: undefined as never,
      payloadStart: 16,
      payloadEnd: 21,
      streamOffset: 0,
    });
    expect(first.bytes).toEqual(stream);
    expect(decoder.next()).toBe(first);
    expect(first.streamOffset).toBe(21);
    expect(decoder.next()!.payloadStart).toBe(stream.length);
    expect(decoder.next()).toBeUndefined();
    expect(decoder.counters.frames).toBe(3);
    expect(decoder.pendingBytes).toBe(0);
  });

  test("gives frames of a pushed chunk where they lie, and copies a split one only", () => {
    const decoder = new FrameDecoder();
    const first = concat(A, B.subarray(0, 7));
    const second = concat(B.subarray(7), C, A);
    decoder.push(first);
    expect(decoder.next()!.bytes).toBe(first);
    expect(decoder.next()).toBeUndefined();
    expect(decoder.pendingBytes).toBe(7);
    decoder.push(second);
    expect(decoder.next()!.bytes).toBe(decoder.buffer);
    expect(decoder.next()!.bytes).toBe(second);
    expect(decoder.next()!.bytes).toBe(second);
    expect(decoder.next()).toBeUndefined();
  });

  test("gives what lies whole in a stream cut anywhere, and the rest when it comes", () => {
    const stream = concat(A, B, C);
    for (let cut = 0; cut <= stream.length; cut++) {
      const decoder = new FrameDecoder();
      decoder.push(stream.subarray(0, cut));
      const whole = [A.length, A.length + B.length, stream.length].filter((end) => end <= cut);
      expect(payloads(decoder)).toEqual(["alpha", "beta", ""].slice(0, whole.length));
      expect(decoder.pendingBytes).toBe(cut - (whole.at(-1) ?? 0));
      decoder.push(stream.subarray(cut));
      expect(payloads(decoder)).toEqual(["alpha", "beta", ""].slice(whole.length));
      expect(decoder.counters.garbageBytes).toBe(0);
    }
  });

  test("takes the largest frame, one byte beyond is refused with nothing buffered", () => {
    const largest = frame(new Uint8Array(FRAME_PAYLOAD_BYTES_MAX).fill(0x56), 0);
    for (const way of ["push", "reserve"] as const) {
      const decoder = new FrameDecoder();
      const frames = feed(decoder, concat(A, largest, B), [10, 20_000, 900_000], way);
      expect(frames.map(({ payload }) => payload.length / 2)).toEqual([5, 1048576, 4]);
    }
    const decoder = pushed(oversizeHeader(FRAME_PAYLOAD_BYTES_MAX + 1), A);
    expect(payloads(decoder)).toEqual(["alpha"]);
    expect(decoder.counters.oversizeFrames).toBe(1);
    expect(decoder.counters.garbageBytes).toBe(16);
  });
});

describe("FrameDecoder in garbage", () => {
  test("skips and counts what is before, between and behind frames", () => {
    const decoder = pushed(ascii("boot: VM V\n"), A, ascii("VMSP junk VMSP VMS"), B, ascii("tail"));
    expect(payloads(decoder)).toEqual(["alpha", "beta"]);
    expect(decoder.counters.garbageBytes).toBe(11 + 18);
    expect(decoder.pendingBytes).toBe(4);
  });

  test("finds a header cut anywhere behind garbage", () => {
    const stream = concat(ascii("xxVMVMSxx"), A);
    for (const way of ["push", "reserve"] as const) {
      for (let cut = 0; cut <= stream.length; cut++) {
        const decoder = new FrameDecoder();
        expect(feed(decoder, stream, [cut], way).map(({ streamOffset }) => streamOffset)).toEqual([
          9,
        ]);
        expect(decoder.counters.garbageBytes).toBe(9);
      }
    }
  });

  test("copies nothing more once garbage from an earlier chunk is gone", () => {
    const decoder = pushed(ascii("ends like VMS"));
    expect(decoder.next()).toBeUndefined();
    const chunk = concat(ascii("but is not V"), A, B);
    decoder.push(chunk);
    expect(decoder.next()!.bytes).toBe(chunk);
    expect(decoder.next()!.bytes).toBe(chunk);
    expect(decoder.counters.garbageBytes).toBe(13 + 12);
  });

  test("drops a frame whose header is damaged and goes on with the next", () => {
    for (let bit = 0; bit < FRAME_HEADER_BYTES * 8; bit++) {
      const stream = concat(A, B, C);
      stream[A.length + (bit >> 3)]! ^= 1 << (bit & 7);
      const decoder = pushed(stream);
      expect(payloads(decoder)).toEqual(["alpha", ""]);
      expect(decoder.counters.garbageBytes).toBe(B.length);
      expect(decoder.counters.framesMissing).toBe(1);
    }
  });

  for (const [claim, byteAt] of [
    ["zeros", () => 0],
    ["the magic's first byte", () => 0x56],
    ["almost magics", (at: number) => "VMSVM"[at % 5]!.charCodeAt(0)],
    ["magics", (at: number) => "VMSP"[at % 4]!.charCodeAt(0)],
  ] as const) {
    test(`skips a megabyte of ${claim}`, () => {
      const garbage = new Uint8Array(1 << 20).map((_, at) => byteAt(at));
      const decoder = new FrameDecoder();
      const frames = feed(decoder, concat(garbage, A), [70_001, 333_333], "reserve");
      expect(frames.map(({ streamOffset }) => streamOffset)).toEqual([1 << 20]);
      expect(decoder.counters.garbageBytes).toBe(1 << 20);
    });
  }
});

describe("FrameDecoder with a torn frame", () => {
  const torn = frame(new Uint8Array(100).fill(0x77), 50).subarray(0, 60);
  const successor = concat(A, B, C, frame(ascii("delta and more"), 3));

  test("gives the successor's frames that its length covers", () => {
    const decoder = pushed(B, torn, successor);
    expect(payloads(decoder)).toEqual(["beta", "alpha", "beta", "", "delta and more"]);
    expect(decoder.counters.tornFrames).toBe(1);
    expect(decoder.counters.garbageBytes).toBe(60);
  });

  test("does so too when the successor comes in another chunk", () => {
    const decoder = new FrameDecoder();
    decoder.push(torn);
    expect(payloads(decoder)).toEqual([]);
    decoder.push(successor);
    expect(payloads(decoder)).toEqual(["alpha", "beta", "", "delta and more"]);
  });

  test("does not take a frame before garbage for torn", () => {
    const decoder = pushed(A, ascii("a line of some console\n"), B);
    expect(payloads(decoder)).toEqual(["alpha", "beta"]);
    const split = frame(ascii("ends in VMSP"), 0);
    decoder.push(split.subarray(0, 20));
    expect(payloads(decoder)).toEqual([]);
    decoder.push(split.subarray(20));
    decoder.next();
    decoder.push(concat(split, ascii("garbage that is longer than a header")).subarray(0, 20));
    expect(payloads(decoder)).toEqual([]);
    decoder.push(concat(split.subarray(20), ascii("garbage that is longer than a header")));
    expect(payloads(decoder)).toEqual(["ends in VMSP"]);
    expect(decoder.counters.tornFrames).toBe(0);
  });

  test("keeps a frame with frames inside when a header follows", () => {
    const decoder = pushed(frame(successor, 7), A);
    expect(drain(decoder).map(({ sequence }) => sequence)).toEqual([7, 0]);
  });
});

describe("FrameDecoder counters", () => {
  test("count frames of unknown types and flags, which are skipped", () => {
    const decoder = pushed(
      frame(A, 0, 0),
      frame(A, 1, FRAME_TYPE_LAST + 1),
      frame(A, 2, 255),
      frame(A, 3, 5, 2),
      B,
    );
    expect(payloads(decoder)).toEqual(["beta"]);
    expect(decoder.counters.unknownFrames).toBe(4);
    expect(decoder.counters.frames).toBe(1);
    expect(decoder.counters.garbageBytes).toBe(0);
  });

  for (const [claim, sequences, gaps, missing] of [
    ["nothing for a stream that begins anywhere", [7, 8, 9], 0, 0],
    ["nothing at the wrap", [0xfffffffe, 0xffffffff, 0, 1], 0, 0],
    ["frames left out", [0, 1, 4, 5, 15], 2, 11],
    ["frames left out over the wrap", [0xfffffffe, 2], 1, 3],
    ["a step back without missing frames", [5, 6, 0, 1], 1, 0],
    ["a repeated number without missing frames", [5, 5], 1, 0],
  ] as const) {
    test(`count ${claim}`, () => {
      const decoder = pushed(...sequences.map((sequence) => frame(ascii("x"), sequence)));
      expect(drain(decoder).length).toBe(sequences.length);
      expect(decoder.counters.sequenceGaps).toBe(gaps);
      expect(decoder.counters.framesMissing).toBe(missing);
    });
  }

  test("count payloads whose checksum is wrong, which are skipped", () => {
    const sound = frame(ascii("sound"), 0, FrameType.SAMPLES, FRAME_FLAG_CHECKSUM);
    for (let at = FRAME_HEADER_BYTES; at < sound.length; at++) {
      const damaged = sound.slice();
      damaged[at]! ^= 0x10;
      const decoder = new FrameDecoder({ hash: xxh64Words });
      decoder.push(concat(sound, damaged, B));
      expect(payloads(decoder)).toEqual(["sound", "beta"]);
      expect(decoder.counters.badChecksums).toBe(1);
      expect(decoder.counters.garbageBytes).toBe(0);
    }
  });
});

describe("FrameDecoder.reset()", () => {
  test("drops an unfinished frame and expects any sequence", () => {
    for (let cut = 0; cut < B.length; cut++) {
      const decoder = pushed(A, B.subarray(0, cut));
      expect(payloads(decoder)).toEqual(["alpha"]);
      decoder.reset();
      expect(decoder.pendingBytes).toBe(0);
      decoder.push(frame(ascii("again"), 99));
      expect(drain(decoder)[0]!.streamOffset).toBe(A.length + cut);
      expect(decoder.counters.truncatedBytes).toBe(cut);
      expect(decoder.counters.sequenceGaps).toBe(0);
    }
  });

  test("drops a chunk that is not decoded", () => {
    const decoder = pushed(A, B);
    decoder.next();
    decoder.reset();
    decoder.push(C);
    expect(payloads(decoder)).toEqual([""]);
    expect(decoder.counters.truncatedBytes).toBe(B.length);
  });
});

describe("FrameDecoder buffer", () => {
  test("may be part of another memory", () => {
    const memory = new Uint8Array(DECODER_BUFFER_BYTES_MIN + 64);
    const buffer = memory.subarray(32, 32 + DECODER_BUFFER_BYTES_MIN);
    const decoder = new FrameDecoder({ buffer });
    expect(decoder.reserveAt()).toBe(0);
    decoder.reserve().set(A);
    decoder.commit(A.length);
    expect(payloads(decoder)).toEqual(["alpha"]);
    expect(memory[32 + 16]).toBe(0x61);
  });

  test("always has room for a read", () => {
    const decoder = new FrameDecoder();
    const stream = concat(A, frame(new Uint8Array(FRAME_PAYLOAD_BYTES_MAX), 1), B);
    for (let at = 0; at < stream.length; at += 1000) {
      const room = decoder.reserve();
      expect(room.length).toBeGreaterThanOrEqual(RESERVE_BYTES_MIN);
      const piece = stream.subarray(at, at + 1000);
      room.set(piece);
      decoder.commit(piece.length);
      drain(decoder);
    }
    expect(decoder.counters.frames).toBe(3);
  });

  test("is refused when it is too small, and overfilling it is", () => {
    expect(() => new FrameDecoder({ buffer: new Uint8Array(4096) })).toThrow(
      `Cannot decode frames: buffer is 4096 bytes, wanted at least ${DECODER_BUFFER_BYTES_MIN}`,
    );
    const decoder = new FrameDecoder();
    expect(() => decoder.commit(DECODER_BUFFER_BYTES_MIN + 1)).toThrow(RangeError);
    expect(() => decoder.commit(-1)).toThrow(RangeError);
  });

  test("is not given while a chunk is in use", () => {
    const decoder = pushed(A, B);
    const refusal = "Cannot take in bytes: earlier ones are not decoded";
    expect(() => decoder.push(A)).toThrow(refusal);
    decoder.next();
    expect(() => decoder.reserve()).toThrow(refusal);
    expect(() => decoder.push(A)).toThrow(refusal);
  });
});

test("findMagic() finds the first magic, or a beginning of one at the end", () => {
  for (const [text, from, found] of [
    ["VMSP", 0, 0],
    ["xVMSPVMSP", 0, 1],
    ["xVMSPVMSP", 2, 5],
    ["VMVMSP", 0, 2],
    ["VMSVMSP", 0, 3],
    ["VVMSP", 0, 1],
    ["SPVMSP", 0, 2],
    ["abcVMS", 0, 3],
    ["abcV", 0, 3],
    ["abcVM", 0, 3],
    ["VMSx", 0, 4],
    ["VMxV", 0, 3],
    ["abc", 0, 3],
    ["", 0, 0],
  ] as const) {
    expect([text, findMagic(ascii(text), from, text.length)]).toEqual([text, found]);
  }
});
