// FrameWriter: a message -> its frame, in a buffer that is reused.
//
//   const writer = new FrameWriter();
//   write(fd, writer.encode(FrameType.PROGRESS, { tsc }, sequence++));
//
// For control messages. Samples are written by writeSamplesHeader() without being copied.

import { BinaryWriter } from "@bufbuild/protobuf/wire";
import {
  FRAME_CHECKSUM_BYTES,
  FRAME_FLAG_CHECKSUM,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  type FrameType,
  payloadTooLarge,
  writeFrameHeader,
  writeU32,
} from "./frame.ts";
import type { PayloadHash } from "./frame_decoder.ts";
import { MESSAGE_CODECS, type MessageOf } from "./message.ts";

const INITIAL_BYTES = 4096;

export class FrameWriter {
  readonly #writer = new BinaryWriter();
  readonly #hash: PayloadHash | undefined;
  #bytes = new Uint8Array(INITIAL_BYTES);

  /** With `hash` every frame carries the checksum of its payload, as in files. */
  constructor(hash?: PayloadHash) {
    this.#hash = hash;
  }

  /**
   * The frame of `message`, valid until the next call.
   * Throws RangeError when the message is longer than FRAME_PAYLOAD_BYTES_MAX, Error when one of
   * its numbers does not fit its field.
   */
  encode<T extends FrameType>(type: T, message: MessageOf[T], sequence: number): Uint8Array {
    const payload = this.#payload(type, message);
    const hash = this.#hash;
    const payloadEnd = FRAME_HEADER_BYTES + payload.length;
    const end = payloadEnd + (hash === undefined ? 0 : FRAME_CHECKSUM_BYTES);
    if (this.#bytes.length < end) this.#bytes = new Uint8Array(2 ** Math.ceil(Math.log2(end)));
    const bytes = this.#bytes;
    const flags = hash === undefined ? 0 : FRAME_FLAG_CHECKSUM;
    writeFrameHeader(bytes, 0, type, flags, payload.length, sequence);
    bytes.set(payload, FRAME_HEADER_BYTES);
    if (hash !== undefined) {
      const digest = hash(payload);
      writeU32(bytes, payloadEnd, digest[0]!);
      writeU32(bytes, payloadEnd + FRAME_CHECKSUM_BYTES / 2, digest[1]!);
    }
    return bytes.subarray(0, end);
  }

  #payload<T extends FrameType>(type: T, message: MessageOf[T]): Uint8Array {
    let payload: Uint8Array;
    try {
      MESSAGE_CODECS[type].encode(message, this.#writer);
    } finally {
      // Also resets the writer, in particular after half a message.
      payload = this.#writer.finish();
    }
    if (payload.length > FRAME_PAYLOAD_BYTES_MAX) throw payloadTooLarge(payload.length);
    return payload;
  }
}
