/** Ping and Pong frames, written without the generated code and compared with it. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { FRAME_HEADER_BYTES, FrameType, framePayloadBytes } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import {
  AWAIT_US_MAX,
  PING_FRAME_BYTES_MAX,
  PingView,
  PongView,
  pingStampBack,
  readPing,
  readPong,
  writePing,
  writePong,
} from "../../../shared/wire/ping_frame.ts";
import { FULL_MESSAGES } from "./fixtures.ts";

const anyU32 = fc.oneof(fc.nat(0x7fffffff), fc.constantFrom(0, 1, 127, 128, 0xffffffff));
const anyStamp = fc.tuple(anyU32, anyU32).map((words) => Uint32Array.from(words));

const anyAwait = fc.oneof(fc.constantFrom(0, 1, 127, 128, AWAIT_US_MAX), fc.nat(AWAIT_US_MAX));

function bigintOf([lo, hi]: Uint32Array): bigint {
  return (BigInt(hi!) << 32n) | BigInt(lo!);
}

describe("writePing() and writePong()", () => {
  test("write what the generated code writes", () => {
    const writer = new FrameWriter();
    const out = new Uint8Array(PING_FRAME_BYTES_MAX);
    const tsc = Uint32Array.of(0x76543210, 0xfedcba98);
    const pingBytes = writePing(out, 0, 300, tsc, 9);
    expect(out.slice(0, pingBytes)).toEqual(
      writer.encode(FrameType.PING, FULL_MESSAGES[FrameType.PING], 9).slice(),
    );
    const [received, sent] = [
      Uint32Array.of(0x05060708, 0x01020304),
      Uint32Array.of(0x15161718, 0x11121314),
    ];
    const pongBytes = writePong(out, 0, 300, tsc, received, sent, 9);
    expect(out.slice(0, pongBytes)).toEqual(
      writer.encode(FrameType.PONG, FULL_MESSAGES[FrameType.PONG], 9).slice(),
    );
  });

  test("are read by readPing(), readPong() and the generated code alike", () => {
    fc.assert(
      fc.property(
        anyU32,
        anyStamp,
        anyStamp,
        anyStamp,
        anyAwait,
        (seq, first, second, third, awaitUs) => {
          const out = new Uint8Array(PING_FRAME_BYTES_MAX);
          let end = writePing(out, 0, seq, first, 0, awaitUs);
          const view = new DataView(out.buffer);
          const stampAt = end - pingStampBack(awaitUs);
          expect(view.getBigUint64(stampAt, true)).toBe(bigintOf(first));
          expect(FRAME_HEADER_BYTES + framePayloadBytes(out, 0)).toBe(end);
          const ping = new PingView();
          expect(readPing(out, FRAME_HEADER_BYTES, end, ping)).toBe(true);
          expect(ping).toEqual(Object.assign(new PingView(), { seq, senderTsc: first, awaitUs }));
          expect(decodeMessage(FrameType.PING, out, FRAME_HEADER_BYTES, end)).toEqual({
            seq,
            senderTsc: bigintOf(first),
            awaitUs,
          });
          end = writePong(out, 0, seq, first, second, third, 0);
          const pong = new PongView();
          expect(readPong(out, FRAME_HEADER_BYTES, end, pong)).toBe(true);
          const stamps = { echoTsc: first, receivedTsc: second, sentTsc: third };
          expect(pong).toEqual(Object.assign(new PongView(), { seq, ...stamps }));
          expect(decodeMessage(FrameType.PONG, out, FRAME_HEADER_BYTES, end)).toEqual({
            seq,
            echoTsc: bigintOf(first),
            receivedTsc: bigintOf(second),
            sentTsc: bigintOf(third),
          });
        },
      ),
      { numRuns: 300 },
    );
  });
});

describe("readPing() and readPong()", () => {
  const out = new Uint8Array(PING_FRAME_BYTES_MAX);
  const stamp = Uint32Array.of(1, 2);

  test("refuse a message cut anywhere", () => {
    const pingEnd = writePing(out, 0, 70_000, stamp, 0);
    for (let to = FRAME_HEADER_BYTES; to < pingEnd; to++) {
      expect(readPing(out, FRAME_HEADER_BYTES, to, new PingView())).toBe(false);
    }
    const pongEnd = writePong(out, 0, 70_000, stamp, stamp, stamp, 0);
    for (let to = FRAME_HEADER_BYTES; to < pongEnd; to++) {
      expect(readPong(out, FRAME_HEADER_BYTES, to, new PongView())).toBe(false);
    }
  });

  test("ignore fields behind, refuse others in front and long numbers", () => {
    const end = writePing(out, 0, 1, stamp, 0);
    const payload = [...out.slice(FRAME_HEADER_BYTES, end)];
    const read = (...bytes: number[]) =>
      readPing(Uint8Array.from(bytes), 0, bytes.length, new PingView());
    expect(read(...payload, 0x18, 5)).toBe(true);
    expect(read(0x18, 5, ...payload)).toBe(false);
    expect(read(0x08, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00, ...payload.slice(2))).toBe(false);
  });
});
