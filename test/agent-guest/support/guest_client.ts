/**
 * A host's end of a channel, played by the test on a raw descriptor: it attaches, reads,
 * acknowledges, or does none of it.
 *
 *   const client = GuestClient.connect({ kind: "unix", path });
 *   client.attach();
 *   await client.until(() => client.reader.samples === 1000);
 *   client.acknowledge();
 *   client.close();                      // as a killed host does: without Bye
 */
import {
  AF_INET,
  O_NONBLOCK,
  POLLIN,
  POLLOUT,
  SOCK_STREAM,
  SOL_SOCKET,
  SYS,
} from "../../../shared/sys/abi.ts";
import { checked, EAGAIN, SysError } from "../../../shared/sys/errno.ts";
import { Fd, readInto, writeFrom } from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import {
  connectTo,
  encodeSocketAddress,
  finishConnect,
  type SocketAddress,
} from "../../../shared/sys/socket.ts";
import { type Address, addressOf, syscall } from "../../../shared/sys/syscall.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { ByeReason, type CpuPosition } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import type { MessageOf } from "../../../shared/wire/message.ts";
import { DeadlineError, waitUntil } from "../../vm/deadline.ts";
import { StreamReader } from "./stream_reader.ts";

export const DEADLINE_MS = 20_000;
const READ_BYTES = 256 * 1024;
/** Longest pause between two looks at a condition that bytes of the guest need not change. */
const WAIT_MS = 10;

export class GuestClient {
  readonly reader: StreamReader;
  /** The other side has closed. */
  hasEnded = false;
  /** Acknowledges what has come after each read. */
  isAcknowledging = false;
  readonly #fd: Fd;
  readonly #memory = Mapping.anonymous(READ_BYTES);
  readonly #poll = new PollSet();
  readonly #writer = new FrameWriter();
  #sequence = 0;

  /** `reader` goes on with what an earlier connection brought. */
  constructor(fd: Fd, reader = new StreamReader()) {
    this.#fd = fd;
    this.reader = reader;
  }

  /** Connects; throws SysError when nobody listens. */
  static connect(address: SocketAddress, reader?: StreamReader): GuestClient {
    const fd = connectTo(address);
    const poll = new PollSet();
    poll.add(fd.number, POLLOUT);
    poll.wait(DEADLINE_MS);
    poll.close();
    finishConnect(fd);
    return new GuestClient(fd, reader);
  }

  /**
   * Connects with the least receive buffer that the kernel gives, so that little of what is not
   * read hides in the connection.
   */
  static connectNarrow(port: number): GuestClient {
    const address = encodeSocketAddress({ kind: "tcp", host: "127.0.0.1", port });
    const [SO_RCVBUF, RECEIVE_BYTES] = [8, Int32Array.of(2048)];
    const number = checked(syscall(SYS.socket, AF_INET, SOCK_STREAM, 0, 0, 0, 0), "make a socket");
    const optionAt = addressOf(RECEIVE_BYTES);
    checked(syscall(SYS.setsockopt, number, SOL_SOCKET, SO_RCVBUF, optionAt, 4, 0), "narrow it");
    const result = syscall(SYS.connect, number, addressOf(address), address.length, 0, 0, 0);
    checked(result, "connect a narrow client");
    const [F_SETFL, SYS_FCNTL] = [4, 72];
    checked(syscall(SYS_FCNTL, number, F_SETFL, O_NONBLOCK, 0, 0, 0), "make it non-blocking");
    return new GuestClient(new Fd(number, "narrow client"));
  }

  send<T extends FrameType>(type: T, message: MessageOf[T]): void {
    this.sendBytes(this.#writer.encode(type, message, this.#sequence++));
  }

  /** Small frames: they always fit into a socket's buffer. */
  sendBytes(bytes: Uint8Array): void {
    const written = writeFrom(this.#fd, addressOf(bytes), bytes.length);
    if (written !== bytes.length) throw new SysError("send to the guest", -Math.min(written, -1));
  }

  /** Attaches anew, or with `resume` to the stream that the reader knows. */
  attach(options: { readonly resume?: boolean; readonly positions?: CpuPosition[] } = {}): void {
    const resumes = options.resume === true;
    const attachNonce = BigInt(this.#sequence + 1);
    this.reader.awaitHello(attachNonce);
    this.send(FrameType.ATTACH, {
      attachNonce,
      streamNonce: resumes ? this.reader.hello!.streamNonce : 0n,
      resume: resumes ? (options.positions ?? this.reader.positions()) : [],
      agentVersion: "test",
    });
  }

  acknowledge(): void {
    this.send(FrameType.ACK, { positions: this.reader.positions() });
  }

  bye(keep = false): void {
    this.send(FrameType.BYE, { reason: ByeReason.DONE, exitCode: 0, message: "", keep });
  }

  /** Reads what is there, at most `bytesMax`; gives how much that was. */
  read(bytesMax = READ_BYTES): number {
    let total = 0;
    while (total < bytesMax && !this.hasEnded) {
      const wanted = Math.min(READ_BYTES, bytesMax - total);
      const got = readInto(this.#fd, this.#memory.address as Address, wanted);
      if (got === -EAGAIN) break;
      if (got <= 0) {
        this.hasEnded = true;
        break;
      }
      total += got;
      this.reader.push(new Uint8Array(this.#memory.buffer, 0, got).slice());
    }
    const isOver = this.hasEnded || this.reader.bye !== undefined;
    if (total > 0 && this.isAcknowledging && !isOver) this.#acknowledgeIfOpen();
    return total;
  }

  /** The agent may have said goodbye and closed its end since the last read. */
  #acknowledgeIfOpen(): void {
    try {
      this.acknowledge();
    } catch (error) {
      if (!(error instanceof SysError) || error.code !== "EPIPE") throw error;
    }
  }

  /** Reads until the condition holds. Throws DeadlineError. */
  async until(condition: () => boolean, what: string): Promise<void> {
    const endMs = performance.now() + DEADLINE_MS;
    for (;;) {
      this.read(Number.MAX_SAFE_INTEGER);
      if (condition()) return;
      if (performance.now() > endMs) {
        throw new DeadlineError(`Gave up waiting for ${what}: not within ${DEADLINE_MS} ms`);
      }
      if (!this.hasEnded) this.#wait(WAIT_MS);
      // The agent's output, and what else the test has under way, is served meanwhile.
      await new Promise((resolve) => setImmediate(resolve));
    }
  }

  /** Reads until the stream has begun and its events run. */
  async untilSampling(): Promise<void> {
    const before = this.reader.stats.length + this.reader.progress.length;
    const count = (): number => this.reader.stats.length + this.reader.progress.length;
    await this.until(() => count() > before, "a running stream");
  }

  /** Waits until bytes can be read, without reading them. */
  async untilReadable(): Promise<void> {
    await waitUntil(() => this.#wait(0) > 0, DEADLINE_MS, "bytes of the guest");
  }

  /** Closes as a process that was killed does. */
  close(): void {
    this.#fd.close();
    this.#memory.close();
    this.#poll.close();
  }

  #wait(timeoutMs: number): number {
    this.#poll.clear();
    this.#poll.add(this.#fd.number, POLLIN);
    return this.#poll.wait(timeoutMs);
  }
}
