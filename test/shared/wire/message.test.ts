/**
 * The messages of channel.proto against bytes written by hand and golden frames, with limits, cut
 * messages and random changes.
 */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import {
  FRAME_HEADER_BYTES,
  FrameType,
  framePayloadBytes,
  frameType,
  isFrameHeader,
} from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import {
  decodeMessage,
  frameTypeName,
  MESSAGE_CODECS,
  MessageError,
  type MessageOf,
} from "../../../shared/wire/message.ts";
import {
  COMM_BYTES_MAX,
  FORMAT_BYTES_MAX,
  MESSAGE_PARTS_MAX,
  MESSAGE_VALUES_MAX,
  TEXT_BYTES_MAX,
} from "../../../shared/wire/message_check.ts";
import { ascii, FRAME_TYPES, FULL_MESSAGES } from "./fixtures.ts";
import { bytesOf, HAND_WRITTEN, LE_MAX, type Part } from "./hand_written_messages.ts";

function encode<T extends FrameType>(type: T, message: MessageOf[T]): Uint8Array {
  return MESSAGE_CODECS[type].encode(message).finish();
}

function decode<T extends FrameType>(type: T, parts: readonly Part[]): MessageOf[T] {
  const bytes = Uint8Array.from(bytesOf(parts));
  return decodeMessage(type, bytes, 0, bytes.length);
}

describe("hand-written messages", () => {
  test("cover every frame type", () => {
    expect(new Set(HAND_WRITTEN.map(([type]) => type))).toEqual(new Set(FRAME_TYPES));
  });
  HAND_WRITTEN.forEach(([type, parts, message], n) => {
    test(`${n} ${frameTypeName(type)} is written and read`, () => {
      const bytes = Uint8Array.from(bytesOf(parts));
      expect(encode(type, message as never)).toEqual(bytes);
      expect(decodeMessage(type, bytes, 0, bytes.length)).toEqual(message as never);
    });
  });
});

describe("golden frames", () => {
  const golden = readFileSync(join(import.meta.dirname, "golden_frames.txt"), "utf8");
  const lines = golden.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const frames = new Map(lines.map((line) => line.split(" ") as [string, string]));

  test("cover every frame type", () => {
    expect([...frames.keys()]).toEqual(FRAME_TYPES.map(frameTypeName));
  });
  const writer = new FrameWriter();
  for (const type of FRAME_TYPES) {
    const name = frameTypeName(type);
    test(`${name} is written as ever, and read`, () => {
      expect(writer.encode(type, FULL_MESSAGES[type] as never, 0x100 + type).toHex()).toBe(
        frames.get(name)!,
      );
      const bytes = Uint8Array.fromHex(frames.get(name)!);
      expect(isFrameHeader(bytes, 0)).toBe(true);
      expect(frameType(bytes, 0)).toBe(type);
      expect(framePayloadBytes(bytes, 0)).toBe(bytes.length - FRAME_HEADER_BYTES);
      expect(decodeMessage(type, bytes, FRAME_HEADER_BYTES, bytes.length)).toEqual(
        FULL_MESSAGES[type] as never,
      );
    });
  }
});

describe("decodeMessage()", () => {
  test("keeps no view of the bytes", () => {
    const bytes = Uint8Array.from(bytesOf([0x0a, [0x08, 1, 0x12, "init"]]));
    const task = decodeMessage(FrameType.TASK, bytes, 0, bytes.length);
    bytes.fill(0);
    expect(task.tasks[0]!.comm).toEqual(ascii("init"));
  });

  test("skips unknown fields, on every level", () => {
    const parts = [0x2a, "new", 0x0a, [0x08, 1, 0x7a, "new", 0x12, "init"], 0x39, ...LE_MAX];
    expect(decode(FrameType.TASK, parts)).toEqual({ tasks: [{ pid: 1, comm: ascii("init") }] });
  });

  test("takes unpacked lists and unknown enum numbers", () => {
    const { events } = decode(FrameType.EVENTS, [0x0a, [0x40, 7, 0x40, 9, 0x58, 99]]);
    expect(events[0]!.ids).toEqual([7n, 9n]);
    expect(events[0]!.kind as number).toBe(99);
  });

  test("replaces what is not UTF-8", () => {
    expect(decode(FrameType.ERROR, [0x12, [0x61, 0xff]]).message).toBe("a\ufffd");
  });

  const refused: readonly (readonly [string, FrameType, readonly Part[], string])[] = [
    ["a tag cut off", FrameType.PING, [0x88], "cut off in message"],
    ["a stamp cut off", FrameType.PING, [0x11, 1, 2], "cut off in message"],
    ["text cut off", FrameType.BYE, [0x1a, 5, 0x61], "cut off in message"],
    ["an inner length that leads out", FrameType.ACK, [0x0a, [0x0a, 9]], "cut off in message.1"],
    ["a number that leads out", FrameType.ACK, [0x0a, [0x10, 0x80], 0], "cut off in message.1"],
    ["field number 0", FrameType.ACK, [0x00, 0x00], "field number 0 in message"],
    ["an inner field number 0", FrameType.ACK, [0x0a, [0, 0]], "field number 0 in message.1"],
    ["a group", FrameType.ACK, [0x2b, 0x2c], "message.5 has wire type 3"],
    ["a group's end", FrameType.ACK, [0x0c], "message.1 has wire type 4"],
    ["a varint of 11 bytes", FrameType.PING, [0x08, ...Array(11).fill(0x80)], "over ten bytes"],
    [
      "a tag over 32 bits",
      FrameType.PING,
      [...Array(4).fill(0x80), 0x10, 0],
      "field number 536870912",
    ],
  ];
  for (const [claim, type, parts, fault] of refused) {
    test(`refuses ${claim}`, () => {
      expect(() => decode(type, parts)).toThrow(MessageError);
      expect(() => decode(type, parts)).toThrow(fault);
    });
  }

  test("names the message and the fault", () => {
    expect(() => decode(FrameType.PROGRESS, [0x09, 1])).toThrow(
      "Cannot read a PROGRESS message: cut off in message",
    );
  });

  function event(changes: Partial<MessageOf[typeof FrameType.EVENTS]["events"][number]>) {
    const [known] = FULL_MESSAGES[FrameType.EVENTS].events;
    return encode(FrameType.EVENTS, { events: [{ ...known!, ...changes }] });
  }
  const limits: readonly (readonly [string, FrameType, Uint8Array, Uint8Array, string])[] = [
    [
      "formats",
      FrameType.EVENTS,
      event({ format: new Uint8Array(FORMAT_BYTES_MAX) }),
      event({ format: new Uint8Array(FORMAT_BYTES_MAX + 1) }),
      "message.1.6 has 65537 bytes, wanted at most 65536",
    ],
    [
      "filters",
      FrameType.EVENTS,
      event({ filter: "x".repeat(TEXT_BYTES_MAX) }),
      event({ filter: "x".repeat(1_000_000) }),
      "message.1.7 has 1000000 bytes, wanted at most 16384",
    ],
    [
      "comms",
      FrameType.TASK,
      encode(FrameType.TASK, { tasks: [{ pid: 1, comm: new Uint8Array(COMM_BYTES_MAX) }] }),
      encode(FrameType.TASK, { tasks: [{ pid: 1, comm: new Uint8Array(COMM_BYTES_MAX + 1) }] }),
      "message.1.2 has 65 bytes, wanted at most 64",
    ],
    [
      "messages within",
      FrameType.TASK,
      repeated(MESSAGE_PARTS_MAX),
      repeated(MESSAGE_PARTS_MAX + 1),
      "too many messages in it, wanted at most 32768",
    ],
    [
      "messages within messages",
      FrameType.STATS,
      new BinaryWriter()
        .uint32(0x0a)
        .bytes(repeated(MESSAGE_PARTS_MAX - 1, 0x22))
        .finish(),
      new BinaryWriter().uint32(0x0a).bytes(repeated(MESSAGE_PARTS_MAX, 0x22)).finish(),
      "too many messages in it",
    ],
    [
      "values",
      FrameType.PING,
      repeated(MESSAGE_VALUES_MAX, 0x08),
      repeated(MESSAGE_VALUES_MAX + 1, 0x08),
      "too many values, wanted at most 262144",
    ],
    [
      "packed values",
      FrameType.EVENTS,
      event({ ids: Array<bigint>(MESSAGE_VALUES_MAX / 2).fill(1n) }),
      event({ ids: Array<bigint>(MESSAGE_VALUES_MAX).fill(1n) }),
      "too many values",
    ],
  ];
  for (const [claim, type, allowed, over, fault] of limits) {
    test(`limits ${claim}`, () => {
      expect(decodeMessage(type, allowed, 0, allowed.length)).toBeDefined();
      expect(() => decodeMessage(type, over, 0, over.length)).toThrow(fault);
    });
  }

  test("refuses each message cut anywhere, or reads a shorter one", () => {
    for (const type of FRAME_TYPES) {
      const bytes = encode(type, FULL_MESSAGES[type] as never);
      for (let to = 0; to < bytes.length; to++) valueOrMessageError(type, bytes.slice(0, to));
    }
  });

  test("gives a message or a MessageError for any change of any message", () => {
    const change = fc.tuple(fc.nat(), fc.nat(255));
    fc.assert(
      fc.property(fc.constantFrom(...FRAME_TYPES), fc.array(change), (type, changes) => {
        const bytes = encode(type, FULL_MESSAGES[type] as never);
        for (const [at, value] of changes) bytes[at % bytes.length] = value;
        valueOrMessageError(type, bytes);
      }),
      { numRuns: 2000 },
    );
  });
});

/** `count` fields with this tag, empty or zero. */
function repeated(count: number, tag = 0x0a): Uint8Array {
  return new Uint8Array(2 * count).map((_, n) => (n % 2 === 0 ? tag : 0));
}

function valueOrMessageError(type: FrameType, bytes: Uint8Array): void {
  try {
    expect(decodeMessage(type, bytes, 0, bytes.length)).toBeObject();
  } catch (error) {
    expect(error).toBeInstanceOf(MessageError);
  }
}
