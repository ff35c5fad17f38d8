// Sound streams in any pieces, garbage between them. Damaged ones: test/fuzz.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { FRAME_TYPE_LAST } from "../../../shared/wire/frame.ts";
import {
  DECODER_BUFFER_BYTES_MIN,
  FrameCounters,
  FrameDecoder,
} from "../../../shared/wire/frame_decoder.ts";
import { concat, decodePlainly, feed, frame } from "./streams.ts";

/** One buffer for all decoders here: its old contents must not matter. */
const buffer = new Uint8Array(DECODER_BUFFER_BYTES_MIN).fill(0x56);

const anyFrames = fc
  .array(
    fc.tuple(fc.uint8Array({ maxLength: 100 }), fc.integer({ min: 1, max: FRAME_TYPE_LAST })),
    { maxLength: 12 },
  )
  .map((frames) => frames.map(([payload, type], sequence) => frame(payload, sequence, type)));
const anyCuts = fc.array(fc.nat(2000), { maxLength: 12 });
const anyWay = fc.constantFrom("push" as const, "reserve" as const);

test("FrameDecoder gives a sound stream alike in any pieces", () => {
  fc.assert(
    fc.property(anyFrames, anyCuts, anyWay, (frames, cuts, way) => {
      const stream = concat(...frames);
      const decoder = new FrameDecoder({ buffer });
      const decoded = feed(decoder, stream, cuts, way);
      expect(decoded).toEqual(decodePlainly(stream));
      expect(decoded.length).toBe(frames.length);
      const unseen = { ...new FrameCounters(), frames: frames.length, frameBytes: stream.length };
      expect({ ...decoder.counters }).toEqual(unseen);
      expect(decoder.pendingBytes).toBe(0);
    }),
    { numRuns: 1000 },
  );
});

test("FrameDecoder finds all frames between garbage, in any pieces", () => {
  // Without the letter V, garbage cannot hold a header, nor seem to begin one.
  const garbage = fc.uint8Array({ maxLength: 60 }).map((bytes) => bytes.filter((b) => b !== 0x56));
  fc.assert(
    fc.property(fc.array(garbage, { maxLength: 6 }), anyCuts, anyWay, (pieces, cuts, way) => {
      const parts = pieces.flatMap((piece, n) => [piece, frame(piece, n)]);
      const decoder = new FrameDecoder({ buffer });
      const decoded = feed(decoder, concat(...parts), cuts, way);
      expect(decoded.map(({ payload }) => payload)).toEqual(pieces.map((p) => p.toHex()));
      const garbageBytes = pieces.reduce((sum, piece) => sum + piece.length, 0);
      expect(decoder.counters.garbageBytes).toBe(garbageBytes);
    }),
    { numRuns: 1000 },
  );
});
