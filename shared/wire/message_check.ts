// checkMessage(): whether a message of an untrusted peer is worth building.
//
// The generated decoder turns two bytes into an object of a hundred, follows lengths that lead out
// of the enclosing message, and stops silently at a zero tag. So the bytes are walked first, by a
// table of which fields hold messages, text or lists: structure must be sound, text and lists keep
// their limits, and the number of values and messages is bounded, whatever their nesting.

import { FRAME_PAYLOAD_BYTES_MAX, FrameType } from "./frame.ts";

/** Values that one message may hold: 32 for each of 8192 CPUs. A value costs some 0.1 µs. */
export const MESSAGE_VALUES_MAX = 256 * 1024;
/** Messages that one message may hold: 4 for each of 8192 CPUs. A message costs some 0.3 µs. */
export const MESSAGE_PARTS_MAX = 32 * 1024;
/** The longest text field: names, filters (the kernel takes a page), messages. */
export const TEXT_BYTES_MAX = 16 * 1024;
/** The longest tracepoint format. The largest of Linux 6.x have about 10 KiB. */
export const FORMAT_BYTES_MAX = 64 * 1024;
/** The longest comm: the kernel's TASK_COMM_LEN is 16, kernel threads have longer names. */
export const COMM_BYTES_MAX = 64;

/** A piece of a kernel's symbols. */
export const SYMBOL_PIECE_BYTES_MAX = 64 * 1024;
/** The mappings of a process's code, as text. */
export const MAPS_BYTES_MAX = 256 * 1024;

/** What is wrong with a message. */
export class MessageFault extends SyntaxError {
  override readonly name = "MessageFault";
}

/** The length-delimited fields of a message by number: a limit in bytes, a list, or a message. */
type Shape = ReadonlyMap<number, number | typeof PACKED | Shape>;

/** A packed list of varints: each byte may be an element. */
const PACKED = "packed";

const POSITION: Shape = new Map();
const EVENT: Shape = new Map<number, number | typeof PACKED>([
  [2, TEXT_BYTES_MAX], // system
  [3, TEXT_BYTES_MAX], // name
  [4, TEXT_BYTES_MAX], // alias
  [6, FORMAT_BYTES_MAX], // format
  [7, TEXT_BYTES_MAX], // filter
  [8, PACKED], // ids
  [12, TEXT_BYTES_MAX], // definition
  [19, TEXT_BYTES_MAX], // refused_filter
  [20, TEXT_BYTES_MAX], // refused_reason
]);
const ERROR: Shape = texts(2, 3, 4);
const EVENT_REQUEST: Shape = new Map<number, number | typeof PACKED>([
  ...texts(2, 3, 4, 5, 6),
  [7, PACKED], // cpus
]);
const SYMBOL_REQUEST: Shape = new Map<number, Shape | typeof PACKED>([
  [2, PACKED], // maps_of
  [3, new Map<number, number | typeof PACKED>([...texts(5, 6), [7, PACKED]])], // code
]);
const CPU_STATS: Shape = new Map([[4, texts(1)]]);

const SHAPES: { readonly [T in FrameType]: Shape } = {
  [FrameType.ATTACH]: new Map<number, number | Shape>([[3, POSITION], ...texts(4)]),
  [FrameType.HELLO]: new Map<number, number | Shape>([
    ...texts(3, 4, 5, 6, 7),
    [8, new Map()], // cpus
    [9, texts(3)], // clock
    [10, EVENT],
    [17, POSITION],
  ]),
  [FrameType.EVENTS]: new Map([[1, EVENT]]),
  [FrameType.CLOCK_SAMPLE]: new Map([
    [3, new Map()],
    [4, new Map()],
  ]),
  [FrameType.SAMPLES]: new Map([[4, FRAME_PAYLOAD_BYTES_MAX]]),
  [FrameType.PROGRESS]: new Map(),
  [FrameType.LOST]: texts(2),
  [FrameType.TASK]: new Map([[1, new Map([[2, COMM_BYTES_MAX]])]]),
  [FrameType.PING]: new Map(),
  [FrameType.PONG]: new Map(),
  [FrameType.ACK]: new Map([[1, POSITION]]),
  [FrameType.CONTROL]: new Map<number, Shape>([
    [2, new Map([[1, EVENT_REQUEST]])],
    [3, new Map([[1, PACKED]])],
    [4, texts(1)],
    [5, texts(1)],
    [6, new Map()],
  ]),
  [FrameType.CONTROL_REPLY]: new Map([
    [2, ERROR],
    [3, EVENT],
  ]),
  [FrameType.STATS]: new Map([[1, CPU_STATS]]),
  [FrameType.ERROR]: ERROR,
  [FrameType.BYE]: texts(3),
  [FrameType.DUMP]: texts(2),
  [FrameType.SYMBOLS]: new Map<number, number | Shape>([
    [2, SYMBOL_REQUEST],
    [3, SYMBOL_PIECE_BYTES_MAX],
    [5, new Map([[2, MAPS_BYTES_MAX]])],
    [6, texts(3, 5)],
  ]),
};

function texts(...fields: number[]): Map<number, number> {
  return new Map(fields.map((field) => [field, TEXT_BYTES_MAX]));
}

const WIRE_VARINT = 0;
const WIRE_FIXED64 = 1;
const WIRE_LENGTH = 2;
const WIRE_FIXED32 = 5;

/** Walks one message. */
class Walker {
  readonly #bytes: Uint8Array;
  #values = 0;
  #parts = 0;
  #at: number;

  constructor(bytes: Uint8Array, from: number) {
    this.#bytes = bytes;
    this.#at = from;
  }

  walk(shape: Shape, to: number, path: string): void {
    while (this.#at < to) {
      const tag = this.#varint(to, path);
      const field = Math.floor(tag / 8);
      if (field === 0 || tag > 0xffffffff) {
        throw new MessageFault(`field number ${field} in ${path}, wanted 1 to 536870911`);
      }
      this.#count(1);
      this.#value(shape, field, tag & 7, to, path);
    }
  }

  #value(shape: Shape, field: number, wireType: number, to: number, path: string): void {
    if (wireType === WIRE_VARINT) this.#varint(to, path);
    else if (wireType === WIRE_FIXED64) this.#skip(8, to, path);
    else if (wireType === WIRE_FIXED32) this.#skip(4, to, path);
    else if (wireType === WIRE_LENGTH) {
      const length = this.#varint(to, path);
      const end = this.#at + length;
      if (end > to) throw cutOff(path);
      const kind = shape.get(field);
      if (typeof kind === "object") this.#part(kind, end, `${path}.${field}`);
      else if (kind === PACKED) this.#count(length);
      else if (kind !== undefined && length > kind) {
        throw new MessageFault(`${path}.${field} has ${length} bytes, wanted at most ${kind}`);
      }
      this.#at = end;
    } else {
      throw new MessageFault(`${path}.${field} has wire type ${wireType}, wanted 0, 1, 2 or 5`);
    }
  }

  #part(shape: Shape, end: number, path: string): void {
    if (++this.#parts > MESSAGE_PARTS_MAX) {
      throw new MessageFault(`too many messages in it, wanted at most ${MESSAGE_PARTS_MAX}`);
    }
    this.walk(shape, end, path);
  }

  #count(values: number): void {
    this.#values += values;
    if (this.#values > MESSAGE_VALUES_MAX) {
      throw new MessageFault(`too many values, wanted at most ${MESSAGE_VALUES_MAX}`);
    }
  }

  #skip(bytes: number, to: number, path: string): void {
    this.#at += bytes;
    if (this.#at > to) throw cutOff(path);
  }

  #varint(to: number, path: string): number {
    const end = Math.min(to, this.#at + 10);
    let value = 0;
    let unit = 1;
    while (this.#at < end) {
      const byte = this.#bytes[this.#at++]!;
      value += (byte & 0x7f) * unit;
      if (byte < 0x80) return value;
      unit *= 128;
    }
    if (end === to) throw cutOff(path);
    throw new MessageFault(`varint of over ten bytes in ${path}`);
  }
}

function cutOff(path: string): MessageFault {
  return new MessageFault(`cut off in ${path}`);
}

/** Checks the message bytes[from, to) of a frame of type `type`. Throws MessageFault. */
export function checkMessage(type: FrameType, bytes: Uint8Array, from: number, to: number): void {
  new Walker(bytes, from).walk(SHAPES[type], to, "message");
}
