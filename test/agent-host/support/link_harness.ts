/**
 * A GuestLink on a real socket in this process, with its clock in the test's hands: what the host
 * says comes out as frames, what the listener hears as a list.
 */
import { GuestLink } from "../../../agent-host/link/guest_link.ts";
import type { GuestListener } from "../../../agent-host/link/guest_listener.ts";
import type { Question } from "../../../agent-host/link/guest_question.ts";
import { Source } from "../../../agent-host/link/source.ts";
import { EAGAIN } from "../../../shared/sys/errno.ts";
import { type Fd, readInto, writeFrom } from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { acceptFrom, listenOn } from "../../../shared/sys/socket.ts";
import { type Address, addressOf } from "../../../shared/sys/syscall.ts";
import type { FrameType } from "../../../shared/wire/frame.ts";
import { FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import type { Attach, CpuPosition } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage, frameTypeName, type MessageOf } from "../../../shared/wire/message.ts";
import { StreamWriter } from "./guest_stream.ts";

const READ_BYTES = 256 * 1024;

/** One frame of the host: its type's name and its message. */
export interface Said {
  readonly type: string;
  readonly message: unknown;
}

export class LinkHarness implements Disposable {
  readonly link: GuestLink;
  readonly writer = new StreamWriter();
  /** What the listener was told: "stream 3 resumed", "samples 0 48", ... */
  readonly heard: string[] = [];
  /** What it gives as its positions. */
  positions: CpuPosition[] = [];
  readonly #listener: Fd;
  readonly #peer: Fd;
  readonly #memory = Mapping.anonymous(READ_BYTES);
  readonly #decoder = new FrameDecoder();
  #nowMs = 1000;

  /** `path` is where the socket is made; `question` is for a guest that serves. */
  constructor(path: string, question?: Question) {
    this.#listener = listenOn({ kind: "unix", path });
    const candidates = [{ kind: "unix", path } as const];
    const source = new Source({ kind: "socket", name: `unix:${path}`, candidates });
    this.#peer = acceptFrom(this.#listener)!;
    this.link = new GuestLink(source, this.#makeListener(), "test", question);
  }

  /** Lets time pass, and gives what the host says then. */
  tick(milliseconds = 0): Said[] {
    this.#nowMs += milliseconds;
    this.link.tick(this.#nowMs);
    return this.said();
  }

  /** The host's first Attach. */
  attach(): Attach {
    const [first] = this.tick();
    return first!.message as Attach;
  }

  /** Sends bytes as the guest, and lets the host receive them. */
  send(...parts: readonly Uint8Array[]): void {
    for (const bytes of parts) {
      const written = writeFrom(this.#peer, addressOf(bytes), bytes.length);
      if (written !== bytes.length) throw new RangeError(`Cannot send: wrote ${written}`);
    }
    this.link.receive(this.#nowMs);
  }

  message<T extends FrameType>(type: T, message: MessageOf[T]): void {
    this.send(this.writer.frame(type, message));
  }

  /** What the host has said and nobody has read yet. */
  said(): Said[] {
    const said: Said[] = [];
    for (;;) {
      const got = readInto(this.#peer, this.#memory.address as Address, READ_BYTES);
      if (got === -EAGAIN || got <= 0) return said;
      this.#decoder.push(new Uint8Array(this.#memory.buffer, 0, got).slice());
      for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next()) {
        const { type, bytes, payloadStart, payloadEnd } = frame;
        const message = decodeMessage(type as FrameType, bytes, payloadStart, payloadEnd);
        said.push({ type: frameTypeName(type), message });
      }
    }
  }

  /** The guest closes its end. */
  close(): void {
    this.#peer.close();
    this.link.receive(this.#nowMs);
  }

  [Symbol.dispose](): void {
    this.link.source.close();
    this.#peer.close();
    this.#listener.close();
    this.#memory.close();
  }

  #makeListener(): GuestListener {
    const { heard } = this;
    return {
      onStream: (_hello, events, resumed) => {
        heard.push(`stream ${events.length}${resumed ? " resumed" : ""}`);
      },
      onClockSample: ({ cpu }) => heard.push(`clock ${cpu}`),
      onSamples: ({ cpu, position, spanStart, spanEnd }) => {
        heard.push(`samples ${cpu} ${position} ${spanEnd - spanStart}`);
      },
      onProgress: (tsc) => heard.push(`progress ${tsc}`),
      onPong: ({ seq }) => heard.push(`pong ${seq}`),
      onSymbols: ({ id, end }) => heard.push(`symbols ${id}${end ? " end" : ""}`),
      onTask: ({ tasks }) => heard.push(`tasks ${tasks.length}`),
      onLost: ({ events }) => heard.push(`lost ${events}`),
      onStats: ({ final }) => heard.push(`stats${final ? " final" : ""}`),
      positions: () => this.positions,
    };
  }
}

/** The messages of one type. */
export function ofType(said: readonly Said[], type: string): unknown[] {
  return said.filter((one) => one.type === type).map(({ message }) => message);
}
