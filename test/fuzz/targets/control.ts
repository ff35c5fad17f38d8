/**
 * What a hostile host says to a guest: Attach, Ack, Ping, Control, Symbols, Bye and whatever else,
 * to the whole of an agent-guest behind a unix socket, once as `serve` and once as `trace` would
 * run it. It is answered in whole frames, or not at all, and whatever was asked for is refused with
 * a typed error or counted.
 *
 *   seed   16   17 ~~ | 18   19  ...  31 | 32  ...       sixteen inputs a connection at most: to
 *          connection     connection                      make one takes longer than to obey
 *
 * An input that leaves its last frame open is followed by zeros (~), since the next one would be
 * taken for the rest of it, or by the end of the connection if the frame claims to be longer still.
 */
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Capture } from "../../../agent-guest/capture.ts";
import { LIMITS_DEFAULT } from "../../../agent-guest/serve/limits.ts";
import { Server } from "../../../agent-guest/serve/server.ts";
import { HostSocketSink } from "../../../agent-guest/sink/host_socket_sink.ts";
import { TalkBudget } from "../../../agent-guest/sink/talk_budget.ts";
import { readMachineInfo } from "../../../shared/event/machine.ts";
import { EAGAIN } from "../../../shared/sys/errno.ts";
import { type Fd, readInto, writeFrom } from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { connectTo, type SocketAddress } from "../../../shared/sys/socket.ts";
import type { Address } from "../../../shared/sys/syscall.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { DECODER_BUFFER_BYTES_MIN, FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import { openEvents } from "../../shared/event/kernel.ts";
import type { Outcome, Target } from "../campaign.ts";
import { bytesCorpus } from "../corpus.ts";
import { INPUT_BYTES_MAX } from "../mutate.ts";

/** Rounds of the agent's loop that one input gets. */
const ROUNDS = 3;
/** Begin a campaign at a multiple of it to see again what a connection has seen. */
const INPUTS_PER_CONNECTION = 16;
const PADDING_BYTES = 4096;
/** Rounds of a millisecond until it has seen that the host has gone, and obeyed it until then. */
const LEAVE_ROUNDS_MAX = 2000;
const READ_BYTES = 1024 * 1024;
/** An event that never happens, for a stream without samples. */
const SILENT_EVENT = "raw_syscalls:sys_enter/id==99999/";
/** To begin its stream takes milliseconds, as it names all tasks: one input in so many. */
const TRACING_EVERY = 64;
const LIMITS = { ...LIMITS_DEFAULT, graceMs: 0 };
/** Ids that no kernel has: what is opened is refused by it, which takes no time. */
const EVENTS = { "irq/irq_handler_entry": 999_999_999, "irq/softirq_entry": 999_999_998 };

/** A guest in this process, and the way to it. */
interface FuzzedGuest {
  readonly address: SocketAddress;
  readonly loop: Server | Capture;
}

interface Connection {
  readonly fd: Fd;
  readonly loop: Server | Capture;
}

class Guests {
  readonly #guests: readonly FuzzedGuest[];
  readonly #paths: string[] = [];
  readonly #poll = new PollSet();
  readonly #memory = Mapping.anonymous(READ_BYTES);
  readonly #bytes = new Uint8Array(this.#memory.buffer);
  readonly #decoder = new FrameDecoder({ buffer: new Uint8Array(DECODER_BUFFER_BYTES_MIN) });
  /** Sees where an input's frames end. */
  readonly #framing = new FrameDecoder({ buffer: new Uint8Array(DECODER_BUFFER_BYTES_MIN) });
  #connection: Connection | undefined;
  /** What the agents said of a bug. */
  #bug = "";
  #hasLeft = false;

  constructor() {
    this.#guests = [this.#serving(), this.#tracing()];
  }

  #path(name: string): string {
    const path = join(tmpdir(), `vmspan-fuzz-${process.pid}-${name}`);
    this.#paths.push(path);
    return path;
  }

  /** A tracefs of two events. */
  #tracefs(): Tracefs {
    const root = this.#path("tracefs");
    for (const [event, id] of Object.entries(EVENTS)) {
      const folder = `${root}/events/${event}`;
      mkdirSync(folder, { recursive: true });
      writeFileSync(`${folder}/id`, `${id}\n`);
      const fields = "\tfield:int irq;\toffset:8;\tsize:4;\tsigned:1;\n";
      const format = `name: ${event.split("/")[1]}\nID: ${id}\nformat:\n${fields}`;
      writeFileSync(`${folder}/format`, `${format}\nprint fmt: "irq=%d", REC->irq\n`);
    }
    return Tracefs.open(root);
  }

  readonly #onStatus = (text: string): void => {
    if (text.includes("BUG")) this.#bug = text;
    if (text.startsWith("Disconnected from ")) this.#hasLeft = true;
  };

  #serving(): FuzzedGuest {
    const address = { kind: "unix", path: this.#path("serve") } as const;
    const options = { limits: LIMITS, agentVersion: "fuzz", onStatus: this.#onStatus };
    const budget = new TalkBudget(Infinity);
    const loop = new Server({ ...options, tracefs: this.#tracefs(), budget });
    loop.attachSink(new HostSocketSink(address, loop));
    return { address, loop };
  }

  #tracing(): FuzzedGuest {
    const address = { kind: "unix", path: this.#path("trace") } as const;
    const loop = new Capture(openEvents([SILENT_EVENT]), {
      machine: readMachineInfo(),
      isTscDisplay: false,
      isTwoWay: true,
      isServing: false,
      agentVersion: "fuzz",
      onStatus: this.#onStatus,
    });
    loop.attachSink(new HostSocketSink(address, loop));
    return { address, loop };
  }

  run(input: Uint8Array, seed: number): Outcome {
    if (seed % INPUTS_PER_CONNECTION === 0) this.#hangUp();
    const { fd, loop } = this.#connection ?? this.#dial(seed % TRACING_EVERY === 0 ? 1 : 0);
    this.#bytes.set(input);
    const sent = writeFrom(fd, this.#memory.address as Address, input.length);
    for (let i = 0; i < ROUNDS; i++) this.#round(loop);
    const isRefused = this.#readAnswers(fd);
    const isOver = sent === input.length && (this.#endsWithFrame(input) || this.#pad(fd));
    // A stream of trace's names all tasks, each turn.
    if (!isOver || loop instanceof Capture) this.#hangUp();
    if (this.#bug !== "") throw new Error(this.#bug);
    return isRefused ? "error" : "value";
  }

  #dial(which: number): Connection {
    const { address, loop } = this.#guests[which]!;
    this.#connection = { fd: connectTo(address), loop };
    return this.#connection;
  }

  #hangUp(): void {
    if (this.#connection === undefined) return;
    const { fd, loop } = this.#connection;
    this.#connection = undefined;
    fd.close();
    this.#hasLeft = false;
    for (let i = 0; !this.#hasLeft; i++) {
      if (i === LEAVE_ROUNDS_MAX) throw new Error("the guest does not see that its host has gone");
      this.#round(loop, i === 0 ? 0 : 1);
    }
  }

  #endsWithFrame(input: Uint8Array): boolean {
    this.#framing.reset();
    return this.#framesAllOf(input);
  }

  /** Whether no frame is open once these bytes have come. */
  #framesAllOf(bytes: Uint8Array): boolean {
    const framing = this.#framing;
    framing.push(bytes);
    for (let frame = framing.next(); frame !== undefined; ) frame = framing.next();
    return framing.pendingBytes === 0;
  }

  /** Ends an open frame with zeros, if they suffice. */
  #pad(fd: Fd): boolean {
    const zeros = this.#bytes.fill(0, 0, PADDING_BYTES).subarray(0, PADDING_BYTES);
    const sent = writeFrom(fd, this.#memory.address as Address, PADDING_BYTES);
    return sent === PADDING_BYTES && this.#framesAllOf(zeros);
  }

  #round(loop: Server | Capture, waitMs = 0): void {
    this.#poll.clear();
    loop.register(this.#poll);
    this.#poll.wait(waitMs);
    loop.pump(this.#poll, performance.now());
  }

  /** Reads what has been answered: whole frames of messages. Whether something was refused. */
  #readAnswers(fd: Fd): boolean {
    const decoder = this.#decoder;
    decoder.reset();
    let answers = 0;
    let refusals = 0;
    for (;;) {
      const got = readInto(fd, this.#memory.address as Address, READ_BYTES);
      if (got <= 0) {
        if (got === -EAGAIN) break;
        throw new Error(`the guest has closed the connection: ${got}`);
      }
      decoder.push(this.#bytes.subarray(0, got));
      for (let frame = decoder.next(); frame !== undefined; frame = decoder.next()) {
        const { type, bytes, payloadStart, payloadEnd } = frame;
        const message = decodeMessage(type as never, bytes, payloadStart, payloadEnd) as object;
        answers++;
        const isReply = type === FrameType.CONTROL_REPLY;
        if (isReply && (message as { error?: unknown }).error !== undefined) refusals++;
      }
    }
    const { garbageBytes } = decoder.counters;
    if (garbageBytes > 0) throw new Error(`${garbageBytes} bytes of the answer are no frames`);
    return answers === 0 || refusals > 0;
  }

  close(): void {
    this.#connection?.fd.close();
    for (const { loop } of this.#guests) loop.close();
    this.#poll.close();
    this.#memory.close();
    for (const path of this.#paths) rmSync(path, { recursive: true, force: true });
  }
}

export function control(): Target {
  const guests = new Guests();
  const corpus = bytesCorpus("control.txt").filter(({ length }) => length <= INPUT_BYTES_MAX);
  return {
    name: "control",
    corpus,
    run: (input, seed) => guests.run(input, seed),
    close: () => guests.close(),
  };
}
