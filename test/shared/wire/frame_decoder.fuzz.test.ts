// Any bytes in any pieces: the decoder gives frames and counts, in bounded memory.

import { expect, test } from "bun:test";
import fc from "fast-check";
import { FRAME_TYPE_LAST } from "../../../shared/wire/frame.ts";
import {
  DECODER_BUFFER_BYTES_MIN,
  FrameCounters,
  FrameDecoder,
} from "../../../shared/wire/frame_decoder.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { decodeMessage, MessageError } from "../../../shared/wire/message.ts";
import { perNight } from "../../nightly.ts";
import { FRAME_TYPES, FULL_MESSAGES } from "./fixtures.ts";
import { concat, decodePlainly, feed, frame } from "./streams.ts";

const MUTATED_INPUTS = perNight(20_000, 10_000_000);
const MUTATED_TIMEOUT_MS = perNight(60_000, 4 * 3_600_000);

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

test(
  `FrameDecoder gives frames or counts for ${MUTATED_INPUTS} changed streams`,
  () => {
    const writer = new FrameWriter();
    const frames = FRAME_TYPES.map((type, sequence) =>
      writer.encode(type, FULL_MESSAGES[type] as never, sequence).slice(),
    );
    const sound = concat(...frames);
    let messages = 0;
    let refusals = 0;
    fc.assert(
      fc.property(fc.integer(), (seed) => {
        const random = randomFrom(seed);
        const stream = mutate(sound, frames, random);
        const cuts = Array.from({ length: random(4) }, () => random(stream.length + 1));
        const decoder = new FrameDecoder({ buffer });
        const decoded = feed(decoder, stream, cuts, random(2) === 0 ? "push" : "reserve");
        for (const { type, payload } of decoded) {
          const bytes = Uint8Array.fromHex(payload);
          try {
            decodeMessage(type as never, bytes, 0, bytes.length);
            messages++;
          } catch (error) {
            if (!(error instanceof MessageError)) throw error;
            refusals++;
          }
        }
        const { frameBytes, skippedBytes, garbageBytes } = decoder.counters;
        const accounted = frameBytes + skippedBytes + garbageBytes + decoder.pendingBytes;
        expect(accounted).toBe(stream.length);
        if (cuts.length === 0) expect(decoded).toEqual(decodePlainly(stream));
      }),
      { numRuns: MUTATED_INPUTS },
    );
    expect(messages).toBeGreaterThan(MUTATED_INPUTS);
    expect(refusals).toBeGreaterThan(MUTATED_INPUTS / 100);
  },
  MUTATED_TIMEOUT_MS,
);

/** Numbers below a bound, the same for the same seed (xorshift32). */
function randomFrom(seed: number): (bound: number) => number {
  let state = seed | 1;
  return (bound) => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) % bound;
  };
}

/** The stream with bytes changed, cut out, doubled or put in, and frames moved. */
function mutate(
  sound: Uint8Array,
  frames: readonly Uint8Array[],
  random: (bound: number) => number,
): Uint8Array {
  let stream = sound;
  const changes = 1 + random(4);
  for (let n = 0; n < changes; n++) {
    const at = random(stream.length);
    const to = Math.min(stream.length, at + random(200));
    const kind = random(5);
    if (kind === 0) {
      stream = stream.slice();
      stream[at] = random(256);
    } else if (kind === 1) stream = concat(stream.subarray(0, at), stream.subarray(to));
    else if (kind === 2) stream = concat(stream.subarray(0, to), stream.subarray(at));
    else if (kind === 3) {
      const noise = Uint8Array.from({ length: random(40) }, () => random(256));
      stream = concat(stream.subarray(0, at), noise, stream.subarray(at));
    } else {
      stream = concat(stream.subarray(0, at), frames[random(frames.length)]!, stream.subarray(at));
    }
  }
  return stream;
}
