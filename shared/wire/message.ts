// Messages by frame type: which generated code reads and writes which frame, and how a message of
// an untrusted peer is read.
//
//   const frame = decoder.next();
//   if (frame?.type === FrameType.HELLO) {
//     const { bytes, payloadStart, payloadEnd } = frame;
//     const hello = decodeMessage(FrameType.HELLO, bytes, payloadStart, payloadEnd);
//   }
//
// Not for the hot path: Samples have readSamples(), pings have readPing() and readPong().

import type { BinaryReader, BinaryWriter } from "@bufbuild/protobuf/wire";
import { FrameType } from "./frame.ts";
import {
  Ack,
  Attach,
  Bye,
  ClockSample,
  Control,
  ControlReply,
  Dump,
  Events,
  Hello,
  Lost,
  Ping,
  Pong,
  Progress,
  Samples,
  Stats,
  Symbols,
  Task,
  Error as WireError,
} from "./gen/vmspan/v1/channel.ts";
import { checkMessage, MessageFault } from "./message_check.ts";

/** The message of each frame type. */
export interface MessageOf {
  [FrameType.ATTACH]: Attach;
  [FrameType.HELLO]: Hello;
  [FrameType.EVENTS]: Events;
  [FrameType.CLOCK_SAMPLE]: ClockSample;
  [FrameType.SAMPLES]: Samples;
  [FrameType.PROGRESS]: Progress;
  [FrameType.LOST]: Lost;
  [FrameType.TASK]: Task;
  [FrameType.PING]: Ping;
  [FrameType.PONG]: Pong;
  [FrameType.ACK]: Ack;
  [FrameType.CONTROL]: Control;
  [FrameType.CONTROL_REPLY]: ControlReply;
  [FrameType.STATS]: Stats;
  [FrameType.ERROR]: WireError;
  [FrameType.BYE]: Bye;
  [FrameType.DUMP]: Dump;
  [FrameType.SYMBOLS]: Symbols;
}

/** The generated reader and writer of one message. */
export interface MessageCodec<M> {
  encode(message: M, writer?: BinaryWriter): BinaryWriter;
  decode(input: BinaryReader | Uint8Array, length?: number): M;
}

export const MESSAGE_CODECS: { readonly [T in FrameType]: MessageCodec<MessageOf[T]> } = {
  [FrameType.ATTACH]: Attach,
  [FrameType.HELLO]: Hello,
  [FrameType.EVENTS]: Events,
  [FrameType.CLOCK_SAMPLE]: ClockSample,
  [FrameType.SAMPLES]: Samples,
  [FrameType.PROGRESS]: Progress,
  [FrameType.LOST]: Lost,
  [FrameType.TASK]: Task,
  [FrameType.PING]: Ping,
  [FrameType.PONG]: Pong,
  [FrameType.ACK]: Ack,
  [FrameType.CONTROL]: Control,
  [FrameType.CONTROL_REPLY]: ControlReply,
  [FrameType.STATS]: Stats,
  [FrameType.ERROR]: WireError,
  [FrameType.BYE]: Bye,
  [FrameType.DUMP]: Dump,
  [FrameType.SYMBOLS]: Symbols,
};

/** A message that cannot be read. The stream goes on with the next frame. */
export class MessageError extends SyntaxError {
  override readonly name = "MessageError";
  readonly frameType: FrameType;

  constructor(frameType: FrameType, fault: string, options?: ErrorOptions) {
    super(`Cannot read a ${frameTypeName(frameType)} message: ${fault}`, options);
    this.frameType = frameType;
  }
}

/** "CLOCK_SAMPLE", or "type 99" for an unknown one. */
export function frameTypeName(type: number): string {
  for (const [name, value] of Object.entries(FrameType)) if (value === type) return name;
  return `type ${type}`;
}

/**
 * Reads the message bytes[from, to) of a peer that is not trusted. Its size and structure are
 * checked before anything is built (see message_check.ts); the result holds no views of `bytes`.
 * Text that is not UTF-8 gets replacement characters; enum values may be unknown numbers.
 * Throws MessageError.
 */
export function decodeMessage<T extends FrameType>(
  type: T,
  bytes: Uint8Array,
  from: number,
  to: number,
): MessageOf[T] {
  try {
    checkMessage(type, bytes, from, to);
    // A copy: generated code gives views for bytes fields, and the decoder's buffer is reused.
    return MESSAGE_CODECS[type].decode(bytes.slice(from, to));
  } catch (error) {
    if (error instanceof MessageFault) throw new MessageError(type, error.message);
    // What the checks let through and the generated code refuses: a varint of over ten bytes.
    if (error instanceof Error) throw new MessageError(type, error.message, { cause: error });
    throw error;
  }
}
