/** The header and reader of Samples, compared with hand-written bytes and the generated code. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  CPUS_MAX,
  FRAME_HEADER_BYTES,
  FrameType,
  framePayloadBytes,
  frameType,
  isFrameHeader,
  POSITION_MAX,
} from "../../../shared/wire/frame.ts";
import { Samples } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import {
  SAMPLES_HEADER_BYTES_MAX,
  SAMPLES_SPAN_BYTES_MAX,
  writeSamplesHeader,
} from "../../../shared/wire/samples_prefix.ts";
import { readSamples, SamplesView } from "../../../shared/wire/samples_reader.ts";

const anyCpu = fc.integer({ min: 0, max: CPUS_MAX - 1 });
const anyPosition = fc.oneof(
  fc.integer({ min: 0, max: POSITION_MAX }),
  fc.integer({ min: 0, max: 52 }).map((bits) => 2 ** bits),
  fc.integer({ min: 1, max: 52 }).map((bits) => 2 ** bits - 1),
);

function read(...bytes: number[]): SamplesView | undefined {
  const view = new SamplesView();
  return readSamples(Uint8Array.from(bytes), 0, bytes.length, view) ? view : undefined;
}

describe("writeSamplesHeader()", () => {
  test("writes the documented bytes", () => {
    const out = new Uint8Array(SAMPLES_HEADER_BYTES_MAX);
    const length = writeSamplesHeader(out, 0, 1, 0x12345, true, 8, 7, 0);
    expect(out.subarray(0, length).toHex()).toBe(
      "564d5350050029811200000007000000" + "080110c5c60418012208",
    );
  });

  test("is read by the generated decoder and by readSamples() alike", () => {
    const span = Uint8Array.from({ length: 40 }, (_, n) => n);
    fc.assert(
      fc.property(
        anyCpu,
        anyPosition,
        fc.boolean(),
        fc.integer({ min: 0, max: 40 }),
        fc.integer({ min: 0, max: 9 }),
        (cpu, position, recordStart, spanBytes, at) => {
          const out = new Uint8Array(SAMPLES_HEADER_BYTES_MAX + 60);
          const prefixBytes = writeSamplesHeader(
            out,
            at,
            cpu,
            position,
            recordStart,
            spanBytes,
            5,
            0,
          );
          expect(prefixBytes).toBeLessThanOrEqual(SAMPLES_HEADER_BYTES_MAX);
          expect(isFrameHeader(out, at)).toBe(true);
          expect(frameType(out, at)).toBe(FrameType.SAMPLES);
          out.set(span.subarray(0, spanBytes), at + prefixBytes);
          const from = at + FRAME_HEADER_BYTES;
          const to = from + framePayloadBytes(out, at);
          expect(to).toBe(at + prefixBytes + spanBytes);
          expect(Samples.decode(out.slice(from, to))).toEqual({
            cpu,
            position: BigInt(position),
            recordStart,
            span: span.slice(0, spanBytes),
          });
          const view = new SamplesView();
          expect(readSamples(out, from, to, view)).toBe(true);
          expect({ ...view }).toEqual({
            cpu,
            position,
            recordStart,
            spanStart: at + prefixBytes,
            spanEnd: to,
          });
        },
      ),
      { numRuns: 1000 },
    );
  });

  for (const [cpu, position, spanBytes] of [
    [-1, 0, 8],
    [CPUS_MAX, 0, 8],
    [Number.NaN, 0, 8],
    [0, -1, 8],
    [0, POSITION_MAX + 1, 8],
    [0, Number.NaN, 8],
    [0, 0, SAMPLES_SPAN_BYTES_MAX + 1],
  ] as const) {
    test(`refuses cpu ${cpu}, position ${position}, span ${spanBytes}`, () => {
      const out = new Uint8Array(SAMPLES_HEADER_BYTES_MAX);
      expect(() => writeSamplesHeader(out, 0, cpu, position, true, spanBytes, 0, 0)).toThrow(
        RangeError,
      );
    });
  }
});

describe("readSamples()", () => {
  test("takes fields in any order, skips unknown ones, and the last of a repeated one wins", () => {
    // span "ab", unknown varint 5, unknown fixed64 6, unknown fixed32 7, unknown bytes 8, cpu 9, 3
    const view = read(
      ...[0x22, 2, 0x61, 0x62, 0x28, 0xff, 0x01, 0x31, 1, 2, 3, 4, 5, 6, 7, 8],
      ...[0x3d, 1, 2, 3, 4, 0x42, 1, 0xee, 0x08, 9, 0x08, 3],
    );
    expect({ ...view }).toEqual({
      cpu: 3,
      position: 0,
      recordStart: false,
      spanStart: 2,
      spanEnd: 4,
    });
  });

  test("reads an empty message as zeros with an empty span at its end", () => {
    expect({ ...read() }).toEqual({
      cpu: 0,
      position: 0,
      recordStart: false,
      spanStart: 0,
      spanEnd: 0,
    });
  });

  test("takes overlong varints up to ten bytes", () => {
    expect(read(0x08, 0x83, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00)?.cpu).toBe(3);
  });

  const refused: readonly (readonly [string, readonly number[]])[] = [
    ["a tag cut off", [0x88]],
    ["a number cut off", [0x08, 0x80]],
    ["a span longer than the message", [0x22, 3, 1, 2]],
    ["a span length cut off", [0x22, 0x80]],
    ["a span of 2^35 bytes", [0x22, 0x80, 0x80, 0x80, 0x80, 0x80, 1]],
    ["a cpu of 8192", [0x08, 0x80, 0x40]],
    ["a cpu of 2^64 - 1", [0x08, ...Array(9).fill(0xff), 1]],
    ["a position over 2^52", [0x10, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x08]],
    ["a position of 2^64 - 1", [0x10, ...Array(9).fill(0xff), 1]],
    ["a varint of eleven bytes", [0x08, ...Array(10).fill(0x80), 0]],
    ["field number 0", [0x00, 0x00]],
    ["a group", [0x2b, 0x2c]],
    ["wire type 7", [0x2f, 0]],
    ["an unknown fixed64 cut off", [0x31, 1, 2, 3]],
    ["an unknown fixed32 cut off", [0x3d, 1, 2, 3]],
    ["unknown bytes cut off", [0x42, 2, 1]],
    ["a tag of over 32 bits", [0x80, 0x80, 0x80, 0x80, 0x10, 0x00]],
  ];
  for (const [claim, bytes] of refused) {
    test(`refuses ${claim}`, () => {
      expect(read(...bytes)).toBeUndefined();
    });
  }

  test("gives false or what the generated decoder gives, for any bytes", () => {
    const view = new SamplesView();
    const likelyBytes = fc.array(
      fc.oneof(fc.constantFrom(0x08, 0x10, 0x18, 0x22, 0, 1, 2, 3, 0x80), fc.nat(255)),
      { maxLength: 24 },
    );
    fc.assert(
      fc.property(likelyBytes, (values) => {
        const bytes = Uint8Array.from(values);
        if (!readSamples(bytes, 0, bytes.length, view)) return;
        expect(view.spanStart).toBeLessThanOrEqual(view.spanEnd);
        expect(view.spanEnd).toBeLessThanOrEqual(bytes.length);
        const { cpu, position, recordStart, span } = Samples.decode(bytes);
        expect(view.cpu).toBe(cpu);
        expect(view.position).toBe(Number(position));
        expect(view.recordStart).toBe(recordStart);
        expect(bytes.slice(view.spanStart, view.spanEnd)).toEqual(span as typeof bytes);
      }),
      { numRuns: 2000 },
    );
  });
});
