/** What came out at the other end of an outlet: frames, spans, and control messages by number. */
import { expect } from "bun:test";
import { Xxh64 } from "../../../shared/sys/xxh64.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import type { SocketPair } from "./socket_pair.ts";

interface Span {
  readonly cpu: number;
  readonly position: number;
  readonly recordStart: boolean;
  readonly bytes: Uint8Array;
}

export class Received {
  readonly hash = new Xxh64();
  readonly decoder = new FrameDecoder({
    hash: (bytes) => this.hash.reset().update(bytes).finish(),
  });
  readonly types: number[] = [];
  readonly sequences: number[] = [];
  readonly spans: Span[] = [];
  /** The tsc of each Progress: control messages that tests number. */
  readonly progress: number[] = [];

  push(chunk: Uint8Array): void {
    this.decoder.push(chunk);
    for (let frame = this.decoder.next(); frame !== undefined; frame = this.decoder.next()) {
      const { type, sequence, bytes, payloadStart, payloadEnd } = frame;
      this.types.push(type);
      this.sequences.push(sequence);
      if (type === FrameType.SAMPLES) {
        const message = decodeMessage(type, bytes, payloadStart, payloadEnd);
        const { cpu, position, recordStart, span } = message;
        this.spans.push({ cpu, position: Number(position), recordStart, bytes: span });
      } else if (type === FrameType.PROGRESS) {
        this.progress.push(Number(decodeMessage(type, bytes, payloadStart, payloadEnd).tsc));
      }
    }
  }

  /** The spans as one run of bytes; they must follow each other. */
  joined(): Uint8Array {
    let end = this.spans[0]?.position ?? 0;
    for (const { position, bytes } of this.spans) {
      expect(position).toBe(end);
      end = position + bytes.length;
    }
    return Uint8Array.from(this.spans.flatMap(({ bytes }) => [...bytes]));
  }
}

/** Reads what is there. */
export function readAll(pair: SocketPair, into: Received): void {
  for (let chunk = pair.read(); chunk.length > 0; chunk = pair.read()) into.push(chunk);
}
