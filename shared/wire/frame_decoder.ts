// FrameDecoder: a byte stream in any pieces -> frames, whatever the bytes are.
//
//   const decoder = new FrameDecoder();
//   for (;;) {
//     const bytes = read(fd, decoder.reserve());        // straight into the decoder's buffer
//     decoder.commit(bytes);
//     for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) use(frame);
//   }
//
// or decoder.push(chunk) in place of reserve() and commit(): frames that lie whole in the chunk are
// given where they lie, and only one that is split over chunks is copied.
//
// What is not a frame is skipped up to the next true header and counted. Memory is the one buffer;
// every byte is looked at a bounded number of times.
//
// A writer that dies in mid-frame is followed, on the same port, by its successor's frames, which
// the torn frame's length would swallow. So when the bytes behind a frame are not a header, a true
// header inside of the frame is taken to be the successor's first, and the torn frame is dropped.

import {
  FRAME_BYTES_MAX,
  FRAME_CHECKSUM_BYTES,
  FRAME_FLAG_CHECKSUM,
  FRAME_FLAGS_KNOWN,
  FRAME_HEADER_BYTES,
  FRAME_PAYLOAD_BYTES_MAX,
  FRAME_TYPE_LAST,
  frameBodyBytes,
  frameFlags,
  framePayloadBytes,
  frameSequence,
  frameType,
  isFrameHeader,
  readU32,
} from "./frame.ts";
import { findMagic } from "./magic_search.ts";

/** The least free room that reserve() gives. */
export const RESERVE_BYTES_MIN = 64 * 1024;
/** The least size of a buffer given to the constructor. */
export const DECODER_BUFFER_BYTES_MIN = FRAME_BYTES_MAX + RESERVE_BYTES_MIN;
/** A remainder up to this is moved to the front on each read, so that the hot part stays small. */
const CHEAP_MOVE_BYTES = 4096;
/** Bytes of a true magic: no other can begin within. */
const MAGIC_BYTES = 4;

/** XXH64 of `bytes`: low word, high word, in an array that may be reused by the next call. */
export type PayloadHash = (bytes: Uint8Array) => Uint32Array;

/** One frame. The decoder reuses the object; its bytes are valid until the decoder's next call. */
export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly sequence: number;
  readonly bytes: Uint8Array;
  readonly payloadStart: number;
  readonly payloadEnd: number;
  /** Where in the stream its header began. */
  readonly streamOffset: number;
}

/**
 * What the decoder saw, since it was made. Bytes taken in = frameBytes + skippedBytes +
 * garbageBytes + truncatedBytes + pendingBytes.
 */
export class FrameCounters {
  /** Frames given out. */
  frames = 0;
  /** Bytes of those, headers included. */
  frameBytes = 0;
  /** Bytes of the unknown frames and those with a bad checksum. */
  skippedBytes = 0;
  /** Bytes that belonged to no frame. */
  garbageBytes = 0;
  /** Frames of a type or with a flag that this version does not know. */
  unknownFrames = 0;
  /** True headers with a payload length over the limit. */
  oversizeFrames = 0;
  /** Frames whose payload does not have the XXH64 that follows it. */
  badChecksums = 0;
  /** Frames that were cut short by others, see above. */
  tornFrames = 0;
  /** Times that the sequence number was not the expected one. */
  sequenceGaps = 0;
  /** Frames that those gaps stand for. A number that went back counts as a gap of none. */
  framesMissing = 0;
  /** Bytes of unfinished frames that reset() dropped. */
  truncatedBytes = 0;
}

export class FrameDecoder {
  readonly counters = new FrameCounters();
  /** Where frames are put together. Hot callers read into it at reserveAt(). */
  readonly buffer: Uint8Array;
  readonly #hash: PayloadHash | undefined;
  readonly #frame = {
    type: 0,
    flags: 0,
    sequence: 0,
    bytes: new Uint8Array(0) as Uint8Array,
    payloadStart: 0,
    payloadEnd: 0,
    streamOffset: 0,
  };
  /** The window of bytes not decoded yet, in `buffer` or in the pushed chunk. */
  #bytes: Uint8Array;
  #start = 0;
  #end = 0;
  /** The part of the pushed chunk that comes after the window, when the window is in `buffer`. */
  #chunk: Uint8Array | undefined;
  #chunkAt = 0;
  /** Stream offset of #start. */
  #streamOffset = 0;
  /** A true header at #start was already seen. */
  #headerSeen = false;
  #sequenceNext: number | undefined;

  /**
   * `buffer` may live anywhere (a WebAssembly memory, a mapping); `hash` checks frames with a
   * checksum, which are taken unchecked without it.
   * Throws RangeError when `buffer` is smaller than DECODER_BUFFER_BYTES_MIN.
   */
  constructor(options: { readonly buffer?: Uint8Array; readonly hash?: PayloadHash } = {}) {
    this.buffer = options.buffer ?? new Uint8Array(DECODER_BUFFER_BYTES_MIN);
    if (this.buffer.length < DECODER_BUFFER_BYTES_MIN) {
      throw new RangeError(
        `Cannot decode frames: buffer is ${this.buffer.length} bytes, ` +
          `wanted at least ${DECODER_BUFFER_BYTES_MIN}`,
      );
    }
    this.#hash = options.hash;
    this.#bytes = this.buffer;
  }

  /** Bytes taken in and not given out: an unfinished frame, once next() gave undefined. */
  get pendingBytes(): number {
    const chunkBytes = this.#chunk === undefined ? 0 : this.#chunk.length - this.#chunkAt;
    return this.#end - this.#start + chunkBytes;
  }

  /** Free room to read into. Call only after next() gave undefined, then commit(). */
  reserve(): Uint8Array {
    return this.buffer.subarray(this.reserveAt());
  }

  /** reserve() as an offset into `buffer`, whose rest is free, at least RESERVE_BYTES_MIN. */
  reserveAt(): number {
    if (this.#chunk !== undefined || this.#bytes !== this.buffer) throw undecoded();
    const pending = this.#end - this.#start;
    const roomBytes = this.buffer.length - this.#end;
    if (pending <= CHEAP_MOVE_BYTES || roomBytes < RESERVE_BYTES_MIN) this.#moveToFront();
    return this.#end;
  }

  /** `bytes` have been read into what reserve() gave. */
  commit(bytes: number): void {
    if (!(bytes >= 0 && bytes <= this.buffer.length - this.#end)) {
      throw new RangeError(`Cannot commit ${bytes} bytes: more than was reserved`);
    }
    this.#end += bytes;
  }

  /** Takes in a chunk. Call only after next() gave undefined; it stays in use until then. */
  push(chunk: Uint8Array): void {
    if (this.#chunk !== undefined || this.#bytes !== this.buffer) throw undecoded();
    if (chunk.length === 0) return;
    this.#chunk = chunk;
    this.#chunkAt = 0;
  }

  /** The connection ended: drops an unfinished frame, and expects any sequence number. */
  reset(): void {
    this.counters.truncatedBytes += this.pendingBytes;
    this.#streamOffset += this.pendingBytes;
    this.#chunk = undefined;
    this.#bytes = this.buffer;
    this.#start = 0;
    this.#end = 0;
    this.#headerSeen = false;
    this.#sequenceNext = undefined;
  }

  /** The next frame, or undefined when more bytes are needed. */
  next(): Frame | undefined {
    for (;;) {
      if (!this.#have(FRAME_HEADER_BYTES)) return undefined;
      const bytes = this.#bytes;
      const start = this.#start;
      if (!this.#headerSeen) {
        if (!isFrameHeader(bytes, start)) {
          this.#skipTo(this.#findHeader(start, this.#end));
          continue;
        }
        if (framePayloadBytes(bytes, start) > FRAME_PAYLOAD_BYTES_MAX) {
          this.counters.oversizeFrames++;
          this.#skipTo(this.#findHeader(start + MAGIC_BYTES, this.#end));
          continue;
        }
        this.#headerSeen = true;
      }
      if (!this.#have(FRAME_HEADER_BYTES + frameBodyBytes(bytes, start))) return undefined;
      const frame = this.#take();
      if (frame !== undefined) return frame;
    }
  }

  /** The whole frame at #start, or undefined when it is not to be given out. */
  #take(): Frame | undefined {
    const bytes = this.#bytes;
    const start = this.#start;
    const payloadStart = start + FRAME_HEADER_BYTES;
    const payloadEnd = payloadStart + framePayloadBytes(bytes, start);
    const end = payloadStart + frameBodyBytes(bytes, start);
    const follower = this.#followerAt(end);
    this.#headerSeen = follower === Follower.HEADER;
    if (follower === Follower.GARBAGE) {
      const inner = this.#findHeader(payloadStart, end);
      // One that is cut off by the end of the window proves nothing.
      if (inner + FRAME_HEADER_BYTES <= this.#end && inner < end) {
        this.counters.tornFrames++;
        this.#skipTo(inner);
        return undefined;
      }
    }
    const frame = this.#frame;
    frame.type = frameType(bytes, start);
    frame.flags = frameFlags(bytes, start);
    frame.sequence = frameSequence(bytes, start);
    frame.bytes = bytes;
    frame.payloadStart = payloadStart;
    frame.payloadEnd = payloadEnd;
    frame.streamOffset = this.#streamOffset;
    this.#start = end;
    this.#streamOffset += end - start;
    if (!this.#accept(frame)) {
      this.counters.skippedBytes += end - start;
      return undefined;
    }
    this.counters.frames++;
    this.counters.frameBytes += end - start;
    return frame;
  }

  /** Whether a frame is known and sound. Counts why not. */
  #accept(frame: Frame): boolean {
    this.#countSequence(frame.sequence);
    if (
      frame.type === 0 ||
      frame.type > FRAME_TYPE_LAST ||
      (frame.flags & ~FRAME_FLAGS_KNOWN) !== 0
    ) {
      this.counters.unknownFrames++;
      return false;
    }
    if ((frame.flags & FRAME_FLAG_CHECKSUM) !== 0 && this.#hash !== undefined) {
      const { bytes, payloadStart, payloadEnd } = frame;
      const digest = this.#hash(bytes.subarray(payloadStart, payloadEnd));
      if (
        digest[0] !== readU32(bytes, payloadEnd) ||
        digest[1] !== readU32(bytes, payloadEnd + FRAME_CHECKSUM_BYTES / 2)
      ) {
        this.counters.badChecksums++;
        return false;
      }
    }
    return true;
  }

  #countSequence(sequence: number): void {
    const expected = this.#sequenceNext;
    this.#sequenceNext = (sequence + 1) >>> 0;
    if (expected === undefined || expected === sequence) return;
    this.counters.sequenceGaps++;
    const ahead = (sequence - expected) >>> 0;
    if (ahead < 0x80000000) this.counters.framesMissing += ahead;
  }

  /** What is at `end`, the end of a frame in the window. */
  #followerAt(end: number): Follower {
    if (end + FRAME_HEADER_BYTES <= this.#end) return followerIn(this.#bytes, end);
    const chunk = this.#chunk;
    if (end === this.#end && chunk !== undefined) {
      if (this.#chunkAt + FRAME_HEADER_BYTES <= chunk.length) {
        return followerIn(chunk, this.#chunkAt);
      }
    }
    return Follower.UNKNOWN;
  }

  /**
   * The first place in [from, to) of the window where a true header begins, or where one may begin
   * once more bytes are there; `to` when there is none.
   */
  #findHeader(from: number, to: number): number {
    const bytes = this.#bytes;
    const windowEnd = this.#end;
    for (let at = from; ; at += MAGIC_BYTES) {
      at = findMagic(bytes, at, windowEnd);
      if (at >= to) return to;
      if (at + FRAME_HEADER_BYTES > windowEnd || followerIn(bytes, at) === Follower.HEADER) {
        return at;
      }
    }
  }

  /** Gives up the bytes before `at` as garbage. */
  #skipTo(at: number): void {
    this.counters.garbageBytes += at - this.#start;
    this.#streamOffset += at - this.#start;
    this.#start = at;
    this.#headerSeen = false;
  }

  /** Whether the window holds `bytes`, after what can be done to make it so. */
  #have(bytes: number): boolean {
    if (this.#end - this.#start >= bytes) return true;
    if (this.#bytes !== this.buffer) {
      // The rest of the pushed chunk is less than a frame: keep it, the chunk is the caller's.
      const rest = this.#end - this.#start;
      this.buffer.set(this.#bytes.subarray(this.#start, this.#end));
      this.#bytes = this.buffer;
      this.#start = 0;
      this.#end = rest;
      return false;
    }
    const chunk = this.#chunk;
    if (chunk === undefined) return false;
    const rest = this.#end - this.#start;
    if (rest <= this.#chunkAt) {
      // Nothing from before the chunk is left: go back to where the rest lies in the chunk.
      this.#chunkAt -= rest;
      this.#bytes = chunk;
      this.#start = this.#chunkAt;
      this.#end = chunk.length;
      this.#chunk = undefined;
      return this.#have(bytes);
    }
    return this.#complete(chunk, bytes);
  }

  /** Copies from the chunk what the window lacks, no more, so that the rest is used in place. */
  #complete(chunk: Uint8Array, bytes: number): boolean {
    if (this.buffer.length - this.#start < bytes) this.#moveToFront();
    const wanted = bytes - (this.#end - this.#start);
    const from = this.#chunkAt;
    const to = Math.min(chunk.length, from + wanted);
    this.buffer.set(chunk.subarray(from, to), this.#end);
    this.#end += to - from;
    this.#chunkAt = to;
    if (to === chunk.length) this.#chunk = undefined;
    return to - from === wanted;
  }

  /** Moves the window to the front of the buffer. At most once per frame for a long one. */
  #moveToFront(): void {
    if (this.#start === 0) return;
    this.buffer.copyWithin(0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
  }
}

/** What follows a frame. */
const Follower = { UNKNOWN: 0, HEADER: 1, GARBAGE: 2 } as const;
type Follower = (typeof Follower)[keyof typeof Follower];

function followerIn(bytes: Uint8Array, at: number): Follower {
  const sound = isFrameHeader(bytes, at) && framePayloadBytes(bytes, at) <= FRAME_PAYLOAD_BYTES_MAX;
  return sound ? Follower.HEADER : Follower.GARBAGE;
}

function undecoded(): Error {
  return new Error("Cannot take in bytes: earlier ones are not decoded, wanted next() to give all");
}
