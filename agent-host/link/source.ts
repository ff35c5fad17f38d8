/**
 * The byte stream of one guest: a socket or a file, its frame decoder, and the frames we send back.
 * It knows nothing of what the frames mean.
 */
import { statSync } from "node:fs";
import { O_RDONLY, POLLIN, POLLOUT } from "../../shared/sys/abi.ts";
import { EAGAIN, SysError } from "../../shared/sys/errno.ts";
import {
  type Fd,
  openFile,
  readAwaited,
  readStamped,
  writeFrom,
  writeStamped,
} from "../../shared/sys/fd.ts";
import { Mapping } from "../../shared/sys/mapping.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import {
  connectTo,
  finishConnect,
  formatAddress,
  type SocketAddress,
  setNoDelay,
} from "../../shared/sys/socket.ts";
import { type Address, addressOf } from "../../shared/sys/syscall.ts";
import { Xxh64 } from "../../shared/sys/xxh64.ts";
import type { FrameType } from "../../shared/wire/frame.ts";
import { DECODER_BUFFER_BYTES_MIN, FrameDecoder } from "../../shared/wire/frame_decoder.ts";
import { FrameWriter } from "../../shared/wire/frame_writer.ts";
import type { MessageOf } from "../../shared/wire/message.ts";
import { PING_FRAME_BYTES_MAX, pingStampBack, writePing } from "../../shared/wire/ping_frame.ts";
import type { PullTarget } from "./pull_target.ts";
import { SourceError } from "./source_error.ts";
import { connectHint, PATIENCE_MS } from "./unready_source.ts";

export { SourceError } from "./source_error.ts";

/** A peer that does not answer a connect within this is refused. */
const CONNECT_MS_MAX = 5000;
/** What we have to say may wait behind a peer that does not read; then the link is given up. */
const UNSENT_BYTES_MAX = 1024 * 1024;
const BUFFER_BYTES = Math.ceil((DECODER_BUFFER_BYTES_MIN * 2) / 8) * 8;
const PING_AT = 8;
const NO_STAMP = new Uint32Array(2);
const SCRATCH_BYTES = PING_AT + PING_FRAME_BYTES_MAX;

/** Told when something takes longer than a user waits without asking. */
type StatusListener = (text: string) => void;

function waitConnected(fd: Fd, onStatus: StatusListener): void {
  const poll = new PollSet();
  try {
    poll.add(fd.number, POLLOUT);
    const ETIMEDOUT = 110;
    if (poll.wait(PATIENCE_MS) === 0) {
      onStatus(`Waiting for a connection to ${fd.what} ...`);
      const isConnected = poll.wait(CONNECT_MS_MAX - PATIENCE_MS) !== 0;
      if (!isConnected) throw new SysError(`connect to ${fd.what}`, ETIMEDOUT);
    }
    finishConnect(fd);
  } finally {
    poll.close();
  }
}

function connectAny(
  name: string,
  candidates: readonly SocketAddress[],
  onStatus: StatusListener,
): [Fd, SocketAddress] {
  const refusals: string[] = [];
  const codes: string[] = [];
  for (const address of candidates) {
    let fd: Fd | undefined;
    try {
      fd = connectTo(address);
      waitConnected(fd, onStatus);
      if (address.kind === "tcp") setNoDelay(fd);
      return [fd, address];
    } catch (error) {
      fd?.close();
      // A path that is too long for a socket is a RangeError.
      if (!(error instanceof SysError || error instanceof RangeError)) throw error;
      if (error instanceof SysError) codes.push(error.code);
      const refusal = error.message.replace(/^Cannot (?:connect to )?/, "");
      // What was typed says as much where it is the only address.
      refusals.push(refusal.startsWith(`${name}: `) ? refusal.slice(name.length + 2) : refusal);
    }
  }
  throw new SourceError(`Cannot pull from ${name}: ${refusals.join("; ")}`, connectHint(codes));
}

export class Source {
  readonly fd: Fd;
  /** The address it is connected to, or the file's path. */
  readonly name: string;
  readonly isFile: boolean;
  /** Where it is connected; undefined for a file. */
  readonly address: SocketAddress | undefined;
  readonly decoder: FrameDecoder;
  hasEnded = false;
  /** It was given up: its descriptor is closed, and nothing of it is wanted any more. */
  isAbandoned = false;
  bytesRead = 0;
  /** Size of a file when it was opened; 0 for a socket. */
  readonly fileBytes: number;
  /** The decoder's buffer; behind it the TSC of the last read, and a ping frame. */
  readonly #memory = Mapping.anonymous(BUFFER_BYTES + SCRATCH_BYTES);
  readonly #buffer = new Uint8Array(this.#memory.buffer, 0, BUFFER_BYTES);
  readonly #received = new BigUint64Array(this.#memory.buffer, BUFFER_BYTES, 1);
  readonly #scratch = new Uint8Array(this.#memory.buffer, BUFFER_BYTES, SCRATCH_BYTES);
  readonly #scratchView = new DataView(this.#memory.buffer, BUFFER_BYTES, SCRATCH_BYTES);
  readonly #writer = new FrameWriter();
  #sequence = 0;
  #unsent: Uint8Array = new Uint8Array(0);
  #isOverfull = false;

  /** Connects or opens. Throws SourceError. */
  constructor(target: PullTarget, onStatus: StatusListener = () => {}) {
    this.isFile = target.kind === "file";
    if (target.kind === "file") {
      this.fd = Source.#open(target.path);
      this.fileBytes = statSync(target.path).size;
      this.address = undefined;
      this.name = target.path;
    } else {
      this.fileBytes = 0;
      [this.fd, this.address] = connectAny(target.name, target.candidates, onStatus);
      this.name = formatAddress(this.address);
    }
    const hash = new Xxh64();
    this.decoder = new FrameDecoder({
      buffer: this.#buffer,
      hash: (bytes) => hash.reset().update(bytes).finish(),
    });
  }

  static #open(path: string): Fd {
    try {
      return openFile(path, O_RDONLY);
    } catch (error) {
      if (error instanceof SysError) throw new SourceError(error.message);
      throw error;
    }
  }

  /** What to wait for: reading always, writing only while something is unsent. */
  get pollEvents(): number {
    return this.#unsent.length > 0 ? POLLIN | POLLOUT : POLLIN;
  }

  /**
   * Reads once, trying for up to `awaitCycles` of the TSC. False when there was nothing, or the
   * stream has ended (see hasEnded).
   */
  read(awaitCycles = 0): boolean {
    const at = this.decoder.reserveAt();
    const address = (this.#memory.address + at) as Address;
    const tscAddress = (this.#memory.address + BUFFER_BYTES) as Address;
    const room = this.#buffer.length - at;
    const got =
      awaitCycles === 0
        ? readStamped(this.fd, address, room, tscAddress)
        : readAwaited(this.fd, address, room, tscAddress, awaitCycles);
    if (got > 0) {
      this.decoder.commit(got);
      this.bytesRead += got;
      return true;
    }
    if (got === -EAGAIN) return false;
    const ECONNRESET = 104;
    if (got !== 0 && got !== -ECONNRESET) {
      throw new SourceError(new SysError(`read ${this.name}`, -got).message);
    }
    this.hasEnded = true;
    return false;
  }

  /** This machine's TSC right after the last read. */
  get receivedTsc(): bigint {
    return this.#received[0]!;
  }

  /**
   * Sends a ping and gives its stamp, taken at the last moment. Not while older frames wait: it
   * would wait too. With `awaitUs` the guest is told to stay awake for the next one.
   */
  ping(seq: number, awaitUs = 0): bigint | undefined {
    if (this.isFile || this.hasEnded || this.#unsent.length > 0) return undefined;
    const bytes = writePing(this.#scratch, PING_AT, seq, NO_STAMP, this.#sequence, awaitUs);
    const address = (this.#memory.address + BUFFER_BYTES + PING_AT) as Address;
    const stampAt = bytes - pingStampBack(awaitUs);
    const written = writeStamped(this.fd, address, bytes, stampAt);
    if (written <= 0) return undefined;
    this.#sequence = (this.#sequence + 1) >>> 0;
    if (written < bytes) this.#unsent = this.#scratch.slice(PING_AT + written, PING_AT + bytes);
    return this.#scratchView.getBigUint64(PING_AT + stampAt, true);
  }

  /**
   * Sends a message; what the peer does not take now waits. Nothing is sent to a file. A peer that
   * lets too much wait is at fault; flush() says so, where its owner expects to hear of it.
   */
  send<T extends FrameType>(type: T, message: MessageOf[T]): void {
    if (this.isFile || this.hasEnded) return;
    const frame = this.#writer.encode(type, message, this.#sequence);
    this.#sequence = (this.#sequence + 1) >>> 0;
    this.#isOverfull ||= this.#unsent.length + frame.length > UNSENT_BYTES_MAX;
    if (this.#isOverfull) return;
    const joined = new Uint8Array(this.#unsent.length + frame.length);
    joined.set(this.#unsent);
    joined.set(frame, this.#unsent.length);
    this.#unsent = joined;
    this.#writeUnsent();
  }

  /** Writes what waits. Throws SourceError when that has become too much. */
  flush(): void {
    this.#writeUnsent();
    if (!this.#isOverfull) return;
    throw new SourceError(`Cannot send to ${this.name}: it does not read what we say`);
  }

  #writeUnsent(): void {
    while (this.#unsent.length > 0) {
      const written = writeFrom(this.fd, addressOf(this.#unsent), this.#unsent.length);
      if (written === -EAGAIN) return;
      // The reader will find the end of the stream: it says why, we need not.
      if (written <= 0) {
        this.#unsent = new Uint8Array(0);
        return;
      }
      this.#unsent = this.#unsent.slice(written);
    }
  }

  /** Gives the peer up, and lets it know: what it sends is refused from now on. */
  abandon(): void {
    this.hasEnded = true;
    this.isAbandoned = true;
    this.#unsent = new Uint8Array(0);
    this.fd.close();
  }

  close(): void {
    this.fd.close();
    this.#memory.close();
  }
}
