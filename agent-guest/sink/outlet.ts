/**
 * One receiver of a stream: a client, a file, a port. It writes frames and remembers, for each
 * ring, how far it has sent; what a descriptor does not take at once waits in one bounded buffer.
 *
 *   gather (sockets, files)   writev [prefix][ring piece][ring piece][checksum], nothing copied
 *   stage (char devices)      one write of [prefix | ring bytes], at most 32 KiB: a virtio port
 *                             makes a buffer and a host exit of every piece: copying is cheaper
 */

import type { CpuRing } from "../../shared/event/event_set.ts";
import { recordStartAt } from "../../shared/perf/record.ts";
import { EAGAIN, ENODEV, SysError } from "../../shared/sys/errno.ts";
import { type Fd, writeFrom, writeGathered, writeStamped } from "../../shared/sys/fd.ts";
import { Mapping } from "../../shared/sys/mapping.ts";
import type { Address } from "../../shared/sys/syscall.ts";
import { Xxh64 } from "../../shared/sys/xxh64.ts";
import {
  FRAME_CHECKSUM_BYTES,
  FRAME_FLAG_CHECKSUM,
  FRAME_HEADER_BYTES,
  type FrameType,
  frameBodyBytes,
  PORT_WRITE_BYTES_MAX,
} from "../../shared/wire/frame.ts";
import { FrameWriter } from "../../shared/wire/frame_writer.ts";
import type { MessageOf } from "../../shared/wire/message.ts";
import { PING_FRAME_BYTES_MAX, type PingView, writePong } from "../../shared/wire/ping_frame.ts";
import { SAMPLES_HEADER_BYTES_MAX, writeSamplesHeader } from "../../shared/wire/samples_prefix.ts";

/** Bytes that may wait for a slow descriptor: a few control frames, or the rest of one span. */
export const WAITING_BYTES_MAX = 2 * 1024 * 1024;
/** Messages that may wait until there is room for them: Hello of 1,000 events with long formats. */
export const LATER_MESSAGES_MAX = 64;
/** With more than this waiting, what can be left out is: the rest is for what cannot. */
const CROWDED_BYTES = WAITING_BYTES_MAX / 2;
/** sent_tsc is the last field of a Pong: its fixed64 ends the frame. */
const PONG_SENT_TSC_BYTES = 8;
/** Ring bytes of one frame, where frames are gathered. */
export const SPAN_BYTES_MAX = 256 * 1024;
const STAGED_SPAN_BYTES_MAX = PORT_WRITE_BYTES_MAX - SAMPLES_HEADER_BYTES_MAX;

const PREFIX_AT = 0;
const IOVECS_AT = 64;
const SCRATCH_BYTES = 128;
const IOVECS_MAX = 4;

export interface OutletOptions {
  /** Copy frames into one write of at most 32 KiB each. */
  readonly isStaged: boolean;
  /** Append the XXH64 of each payload, for files. */
  readonly hasChecksums: boolean;
}

export class Outlet {
  readonly fd: Fd;
  readonly name: string;
  /** By ring index: the position of the next byte to send. */
  positions: Float64Array;
  /** Why it can take no more: the owner closes it, or after a RangeError may restart() it. */
  failure: SysError | RangeError | undefined;
  framesSent = 0;
  bytesSent = 0;
  readonly #options: OutletOptions;
  /** By ring index: the last position known to begin a record, at or before that in `positions`. */
  #boundaries: Float64Array;
  readonly #scratch = Mapping.anonymous(SCRATCH_BYTES);
  readonly #prefix = new Uint8Array(this.#scratch.buffer, PREFIX_AT, IOVECS_AT);
  readonly #iovecs = new Uint32Array(this.#scratch.buffer, IOVECS_AT, IOVECS_MAX * 4);
  readonly #hash: Xxh64;
  readonly #writer: FrameWriter;
  readonly #waiting = Mapping.anonymous(WAITING_BYTES_MAX);
  readonly #waitingBytes = new Uint8Array(this.#waiting.buffer);
  #waitingFrom = 0;
  #waitingTo = 0;
  /** Puts messages into the waiting buffer that had no room there; false while there is none. */
  #later: (() => boolean)[] = [];
  /** Where in the waiting buffer a frame begins, at or before what is written next. */
  #begunAt = 0;
  #pieces = 0;
  #sequence = 0;

  constructor(fd: Fd, name: string, rings: number, options: OutletOptions) {
    this.fd = fd;
    this.name = name;
    this.positions = new Float64Array(rings);
    this.#boundaries = new Float64Array(rings);
    this.#options = options;
    const hash = new Xxh64();
    this.#hash = hash;
    this.#writer = options.hasChecksums
      ? new FrameWriter((bytes) => hash.reset().update(bytes).finish())
      : new FrameWriter();
  }

  /** Whether bytes wait for the descriptor: poll for POLLOUT, then flush(). */
  get isBlocked(): boolean {
    return this.#waitingTo > this.#waitingFrom || this.#later.length > 0;
  }

  /** Whether so much waits that messages which the peer can do without are better left out. */
  get isCrowded(): boolean {
    return this.#waitingTo - this.#waitingFrom > CROWDED_BYTES;
  }

  /**
   * Forgets what was not sent, to begin a stream anew. A frame that was begun is finished: cut
   * short, its length would swallow what comes next, until that is as long.
   */
  restart(): void {
    if (this.isBlocked) this.#waitingTo = this.#findBegunFrame();
    this.#later = [];
    this.#sequence = 0;
    if (this.failure instanceof RangeError) this.failure = undefined;
  }

  /**
   * Sends a control message. Skipping one would leave the peer with a stream that it cannot decode:
   * when too many find no room, the outlet has failed.
   */
  send<T extends FrameType>(type: T, message: MessageOf[T]): void {
    if (this.failure !== undefined) return;
    if (this.#later.length === 0 && this.#enqueue(type, message)) this.flush();
    else if (this.#later.length < LATER_MESSAGES_MAX) {
      this.#later.push(() => this.#enqueue(type, message));
    } else {
      const waiting = this.#waitingTo - this.#waitingFrom;
      this.failure = new RangeError(
        `Cannot send to ${this.name}: ${waiting} bytes wait already, it reads too slowly`,
      );
    }
  }

  /** Puts a message into the waiting buffer; false when it has no room there. */
  #enqueue<T extends FrameType>(type: T, message: MessageOf[T]): boolean {
    const frame = this.#writer.encode(type, message, this.#sequence);
    this.#makeRoom(frame.length);
    if (this.#waitingTo + frame.length > WAITING_BYTES_MAX) return false;
    this.#waitingBytes.set(frame, this.#waitingTo);
    this.#waitingTo += frame.length;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.framesSent++;
    return true;
  }

  /** Answers a ping. The last stamp is taken right before the write. */
  sendPong(ping: PingView, receivedTsc: Uint32Array): void {
    this.#makeRoom(PING_FRAME_BYTES_MAX);
    if (this.failure !== undefined || this.#waitingTo + PING_FRAME_BYTES_MAX > WAITING_BYTES_MAX) {
      return;
    }
    const { seq, senderTsc } = ping;
    const end =
      this.#waitingTo +
      writePong(
        this.#waitingBytes,
        this.#waitingTo,
        seq,
        senderTsc,
        receivedTsc,
        receivedTsc,
        this.#sequence,
      );
    this.#waitingTo = end;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.framesSent++;
    this.flush(end - PONG_SENT_TSC_BYTES);
  }

  /**
   * Writes what waits; true when nothing waits any more. With `stampAt`, the TSC is put there at
   * the last moment before the first write.
   */
  flush(stampAt = -1): boolean {
    let stamp = stampAt;
    while (this.#waitingFrom < this.#waitingTo && this.failure === undefined) {
      const at = (this.#waiting.address + this.#waitingFrom) as Address;
      const left = this.#waitingTo - this.#waitingFrom;
      const chunk = this.#options.isStaged ? Math.min(left, PORT_WRITE_BYTES_MAX) : left;
      const written =
        stamp < 0
          ? writeFrom(this.fd, at, chunk)
          : writeStamped(this.fd, at, chunk, stamp - this.#waitingFrom);
      stamp = -1;
      if (written <= 0) {
        this.#note(written);
        break;
      }
      this.#waitingFrom += written;
      this.bytesSent += written;
    }
    if (this.#waitingFrom < this.#waitingTo) return false;
    this.#waitingFrom = 0;
    this.#waitingTo = 0;
    this.#begunAt = 0;
    if (this.#later.length === 0) return true;
    while (this.#later[0]?.() === true) this.#later.shift();
    return this.flush();
  }

  /** A stream of so many rings follows. */
  setRings(rings: number): void {
    if (rings === this.positions.length) return;
    this.positions = new Float64Array(rings);
    this.#boundaries = new Float64Array(rings);
  }

  /** Moves a ring to `position`, where a record begins: at an attach, or past what was missed. */
  seek(index: number, position: number): void {
    this.positions[index] = position;
    this.#boundaries[index] = position;
  }

  /**
   * Sends ring `index` from where it stands up to `limit`, a record's end, or until the descriptor
   * takes no more. What was sent or waits has been copied, so `positions` may be given back.
   */
  sendRing(index: number, ring: CpuRing, limit: number): void {
    const spanMax = this.#options.isStaged ? STAGED_SPAN_BYTES_MAX : SPAN_BYTES_MAX;
    while (this.failure === undefined && !this.isBlocked) {
      const position = this.positions[index]!;
      if (position >= limit) return;
      const bytes = Math.min(limit - position, spanMax);
      if (!this.#sendSpan(ring, position, bytes, position === this.#boundaries[index])) return;
      // A frame that was cut short by a failure (a full disk) has brought nothing.
      if (this.failure !== undefined) return;
      this.positions[index] = position + bytes;
      if (position + bytes === limit) this.#boundaries[index] = limit;
    }
  }

  /**
   * Where the whole records end that were sent: a span may end within one. Until the peer has the
   * rest of it, or is told that it will not come, its beginning must stay in the ring, or nobody
   * could tell where the next one begins. Walks what was sent since the last call, if that does not
   * end a record: only for receivers that cannot follow.
   */
  wholeUpTo(index: number, ring: CpuRing): number {
    const position = this.positions[index]!;
    // A tail is a record's start too, and what lies before it is no longer there to be walked.
    const known = Math.max(this.#boundaries[index]!, ring.ring.tail);
    const boundary = known === position ? position : recordStartAt(ring.ring, known, position);
    this.#boundaries[index] = boundary;
    return boundary;
  }

  close(): void {
    this.fd.close();
    this.#scratch.close();
    this.#hash.close();
    this.#waiting.close();
  }

  /** False when the descriptor took nothing, so that the frame counts as never begun. */
  #sendSpan(ring: CpuRing, position: number, bytes: number, isRecordStart: boolean): boolean {
    const flags = this.#options.hasChecksums ? FRAME_FLAG_CHECKSUM : 0;
    const prefixBytes = writeSamplesHeader(
      this.#prefix,
      0,
      ring.cpu,
      position,
      isRecordStart,
      bytes,
      this.#sequence,
      flags,
    );
    const offset = ring.ring.offsetOf(position);
    const first = Math.min(bytes, ring.ring.bytes - offset);
    this.#pieces = 0;
    this.#addPiece(this.#scratch.address + PREFIX_AT, prefixBytes);
    this.#addPiece(ring.address + offset, first);
    this.#addPiece(ring.address, bytes - first);
    if (this.#options.hasChecksums) this.#addChecksum(prefixBytes, ring, offset, first, bytes);
    const isSent = this.#options.isStaged
      ? this.#sendStaged(ring, offset, first, bytes, prefixBytes)
      : this.#sendGathered(ring, prefixBytes, offset, first, bytes);
    if (!isSent) return false;
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.framesSent++;
    return true;
  }

  #addPiece(address: number, bytes: number): void {
    if (bytes === 0) return;
    const at = this.#pieces * 4;
    const low = address % 0x1_0000_0000;
    this.#iovecs[at] = low;
    this.#iovecs[at + 1] = (address - low) / 0x1_0000_0000;
    this.#iovecs[at + 2] = bytes;
    this.#iovecs[at + 3] = 0;
    this.#pieces++;
  }

  #addChecksum(
    prefixBytes: number,
    ring: CpuRing,
    offset: number,
    first: number,
    bytes: number,
  ): void {
    const payloadAt = (this.#scratch.address + FRAME_HEADER_BYTES) as Address;
    const hash = this.#hash.reset().updateAt(payloadAt, prefixBytes - FRAME_HEADER_BYTES);
    hash.updateAt((ring.address + offset) as Address, first);
    if (bytes > first) hash.updateAt(ring.address as Address, bytes - first);
    hash.finish();
    this.#addPiece(hash.digestAddress, FRAME_CHECKSUM_BYTES);
  }

  #sendGathered(
    ring: CpuRing,
    prefixBytes: number,
    offset: number,
    first: number,
    bytes: number,
  ): boolean {
    const iovecsAt = (this.#scratch.address + IOVECS_AT) as Address;
    const written = writeGathered(this.fd, iovecsAt, this.#pieces);
    if (written <= 0) {
      this.#note(written);
      return false;
    }
    this.bytesSent += written;
    const checksumBytes = this.#options.hasChecksums ? FRAME_CHECKSUM_BYTES : 0;
    if (written === prefixBytes + bytes + checksumBytes) return true;
    // The rest of a begun frame must come before anything else: copied, as the ring moves on.
    this.#stage(ring, offset, first, bytes, prefixBytes);
    this.#waitingFrom = written;
    this.flush();
    return true;
  }

  #sendStaged(
    ring: CpuRing,
    offset: number,
    first: number,
    bytes: number,
    prefixBytes: number,
  ): boolean {
    this.#stage(ring, offset, first, bytes, prefixBytes);
    this.flush();
    if (this.#waitingFrom > 0 || this.#waitingTo === 0) return true;
    this.#waitingTo = 0;
    return false;
  }

  /** Copies the frame into the waiting buffer, which is empty: nothing is sent while it is not. */
  #stage(ring: CpuRing, offset: number, first: number, bytes: number, prefixBytes: number): void {
    const waiting = this.#waitingBytes;
    const { data } = ring.ring;
    waiting.set(this.#prefix.subarray(0, prefixBytes), 0);
    waiting.set(data.subarray(offset, offset + first), prefixBytes);
    if (bytes > first) waiting.set(data.subarray(0, bytes - first), prefixBytes + first);
    let to = prefixBytes + bytes;
    if (this.#options.hasChecksums) {
      const digest = this.#hash.digest;
      waiting.set(new Uint8Array(digest.buffer, digest.byteOffset, FRAME_CHECKSUM_BYTES), to);
      to += FRAME_CHECKSUM_BYTES;
    }
    this.#begunAt = 0;
    this.#waitingFrom = 0;
    this.#waitingTo = to;
  }

  /** Moves what waits to the front, with its frame's header, when `bytes` more would not fit. */
  #makeRoom(bytes: number): void {
    if (this.#waitingTo + bytes <= WAITING_BYTES_MAX) return;
    this.#findBegunFrame();
    const at = this.#begunAt;
    this.#waitingBytes.copyWithin(0, at, this.#waitingTo);
    this.#waitingFrom -= at;
    this.#waitingTo -= at;
    this.#begunAt = 0;
  }

  /**
   * Moves #begunAt to the frame that holds the next byte to write, and gives its end; a frame of
   * which nothing has been written is not begun, and the end is where it would begin.
   */
  #findBegunFrame(): number {
    let end = this.#begunAt;
    while (end < this.#waitingFrom) {
      this.#begunAt = end;
      end += FRAME_HEADER_BYTES + frameBodyBytes(this.#waitingBytes, end);
    }
    if (end === this.#waitingFrom) this.#begunAt = end;
    return end;
  }

  #note(result: number): void {
    if (result === -EAGAIN) return;
    // A virtio port takes nothing once its controller is being removed: it does not say why.
    const errno = result === 0 && this.#options.isStaged ? ENODEV : -result;
    this.failure =
      errno === 0
        ? new RangeError(`Cannot write to ${this.name}: it takes no bytes`)
        : new SysError(`write to ${this.name}`, errno);
  }
}
