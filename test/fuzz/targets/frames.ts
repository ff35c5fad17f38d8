/**
 * The frame decoder and the messages behind it, as both agents read them: any stream, in any
 * pieces, gives frames and counts that add up, and of each payload a message or a MessageError.
 */
import { DECODER_BUFFER_BYTES_MIN, FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { decodeMessage, MessageError } from "../../../shared/wire/message.ts";
import { FRAME_TYPES, FULL_MESSAGES } from "../../shared/wire/fixtures.ts";
import { concat, decodePlainly, feed } from "../../shared/wire/streams.ts";
import type { Outcome, Target } from "../campaign.ts";
import { bytesCorpus } from "../corpus.ts";
import { randomFrom } from "../random.ts";

const CUTS_MAX = 3;
/** One buffer for all decoders here: its old contents must not matter. */
const buffer = new Uint8Array(DECODER_BUFFER_BYTES_MIN).fill(0x56);

/** One frame of each type with every field set, alone and all in one stream. */
function fullFrames(): Uint8Array[] {
  const writer = new FrameWriter();
  const frames = FRAME_TYPES.map((type, sequence) =>
    writer.encode(type, FULL_MESSAGES[type] as never, sequence).slice(),
  );
  return [concat(...frames), ...frames];
}

function run(stream: Uint8Array, seed: number): Outcome {
  const random = randomFrom(seed);
  const cuts = Array.from({ length: random(CUTS_MAX + 1) }, () => random(stream.length + 1));
  const decoder = new FrameDecoder({ buffer });
  const decoded = feed(decoder, stream, cuts, random(2) === 0 ? "push" : "reserve");
  let refusals = 0;
  for (const { type, payload } of decoded) {
    const bytes = Uint8Array.fromHex(payload);
    try {
      decodeMessage(type as never, bytes, 0, bytes.length);
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      refusals++;
    }
  }
  const { frameBytes, skippedBytes, garbageBytes } = decoder.counters;
  const accounted = frameBytes + skippedBytes + garbageBytes + decoder.pendingBytes;
  if (accounted !== stream.length) throw new Error(`${accounted} of ${stream.length} bytes`);
  if (cuts.length === 0) expectSame(decoded, decodePlainly(stream));
  return refusals + garbageBytes + skippedBytes === 0 ? "value" : "error";
}

function expectSame(decoded: readonly unknown[], plain: readonly unknown[]): void {
  const [ours, theirs] = [JSON.stringify(decoded), JSON.stringify(plain)];
  if (ours !== theirs) throw new Error(`${ours}, a plain decoder gives ${theirs}`);
}

export const frames = (): Target => ({
  name: "frames",
  corpus: [...bytesCorpus("frames.txt"), ...fullFrames()],
  run,
});
