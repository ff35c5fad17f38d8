/**
 * The protocol with one guest, over a Source: attach and re-attach, acknowledge, ping, say goodbye.
 * What the frames carry goes to a listener; nothing of it is believed here beyond its framing.
 *
 *   host                                   guest
 *     Attach{nonce, resume}  ------------>             repeated until answered
 *              <------------  Hello{nonce, serving}      from a guest that waits to be asked
 *     Control{open}          ------------>
 *              <------------  Hello{nonce}, Events, ClockSample...
 *              <------------  Samples, Progress, Lost, Task, Stats
 *     Ack{positions}, Ping   ------------>
 *     Bye                    ------------>
 *              <------------  the rest, Stats{final}, Bye
 */
import { FrameType } from "../../shared/wire/frame.ts";
import type { Frame } from "../../shared/wire/frame_decoder.ts";
import type { Bye, CpuPosition, Event, Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage, MessageError } from "../../shared/wire/message.ts";
import { newNonce } from "../../shared/wire/nonce.ts";
import { PongView, readPong } from "../../shared/wire/ping_frame.ts";
import { readSamples, SamplesView } from "../../shared/wire/samples_reader.ts";
import { AttachAttempts } from "./attach_attempts.ts";
import { DUMP_HINT, DumpState } from "./dump_state.ts";
import { FrameBudget } from "./frame_budget.ts";
import type { GuestListener } from "./guest_listener.ts";
import { Asker, type Question, refusalOf } from "./guest_question.ts";
import { HOST_FRAMES } from "./host_frames.ts";
import { endError, NOT_OURS_HINT } from "./link_end.ts";
import { type Source, SourceError } from "./source.ts";
import { truncationOf } from "./truncation.ts";

/** A guest that sends nothing for this long is asked again: its agent may have been restarted. */
const SILENCE_MS_MAX = 3000;
/** The same for a flight recorder, which says something every ten seconds. */
const FLIGHT_SILENCE_MS_MAX = 30_000;
/**
 * Received positions are acknowledged after so many bytes, or so much time: a small part of a ring,
 * so that the guest always has room, and rarely enough to wake it for something.
 */
const ACK_BYTES = 256 * 1024;
const ACK_MS = 50;
/**
 * Reads of one wake-up, and time for what they brought, so that other sources have their turn: a
 * million frames of a few bytes take as long to read as one large one, and a second to dispatch.
 */
const READS_PER_WAKE_MAX = 4;
const DISPATCH_MS_MAX = 20;
/** Events that one guest may describe, and the bytes of their formats: 2,000 take 3 MB. */
const EVENTS_MAX = 4096;
const FORMAT_BYTES_MAX = 16 * 1024 * 1024;
/** Before its Hello a peer may send the rest of an older stream: more than this is none of ours. */
const FOREIGN_BYTES_MAX = 8 * 1024 * 1024;

/** How a link goes on with what another host has begun. */
export interface Continuation {
  /** The stream that it had, 0 for none. */
  readonly streamNonce: bigint;
  /** Acknowledge what has come; otherwise the owner does, when it has been used: acknowledge(). */
  readonly acknowledgesItself: boolean;
}

export class GuestLink {
  readonly source: Source;
  /** Of a flight recorder. */
  readonly dump: DumpState;
  /** The guest said goodbye. */
  bye: Bye | undefined;
  /** Frames that were not what their type says. */
  malformedFrames = 0;
  /** Frames that only a host sends. */
  misdirectedFrames = 0;
  /** A recording is read as fast as it goes; a guest only as fast as any may be. */
  readonly budget = new FrameBudget();
  readonly #listener: GuestListener;
  readonly #agentVersion: string;
  readonly #asker: Asker | undefined;
  readonly #samples = new SamplesView();
  readonly #pong = new PongView();
  readonly #acknowledgesItself: boolean;
  #attachNonce = 0n;
  #streamNonce = 0n;
  #hello: Hello | undefined;
  #events: Event[] = [];
  #formatBytes = 0;
  #garbageBefore = 0;
  #isStreaming = false;
  #hasBacklog = false;
  readonly #attempts = new AttachAttempts();
  #lastFrameMs = 0;
  #nextAckMs = 0;
  #unackedBytes = 0;
  /** What the guest was told last that it may forget. */
  #acknowledged: CpuPosition[] = [];
  #hasLeft = false;

  /** `question` is what a guest that serves is asked; other guests send what they send. */
  constructor(
    source: Source,
    listener: GuestListener,
    agentVersion: string,
    question?: Question,
    continuation: Continuation = { streamNonce: 0n, acknowledgesItself: true },
  ) {
    this.source = source;
    this.dump = new DumpState(source);
    this.#listener = listener;
    this.#agentVersion = agentVersion;
    this.#asker = question && new Asker(source, question);
    this.#streamNonce = continuation.streamNonce;
    this.#acknowledgesItself = continuation.acknowledgesItself;
  }

  /** Of the stream that is read, or was. */
  get streamNonce(): bigint {
    return this.#streamNonce;
  }

  /** Tells the guest what it may forget. */
  acknowledge(positions: CpuPosition[]): void {
    if (positions.length === 0) return;
    this.#acknowledged = positions;
    if (this.#isStreaming) this.source.send(FrameType.ACK, { positions });
  }

  /** After leave(), when everything is written: the guest may forget the stream. */
  release(positions: CpuPosition[]): void {
    if (this.#isStreaming) this.source.send(FrameType.ACK, { positions });
  }

  get isStreaming(): boolean {
    return this.#isStreaming;
  }

  get hello(): Hello | undefined {
    return this.#hello;
  }

  /** A wake-up's time was over before all was dispatched that has been read. */
  get hasBacklog(): boolean {
    return this.#hasBacklog;
  }

  /** It has sent so much beside samples that it has to wait. */
  get isThrottled(): boolean {
    return !this.source.isFile && !this.budget.isLeft(performance.now());
  }

  /**
   * Reads and dispatches what is there, or as much as one turn allows; with `awaitCycles` also what
   * comes within so many cycles of the TSC. Throws SourceError.
   */
  receive(nowMs: number, awaitCycles = 0): void {
    const untilMs = performance.now() + DISPATCH_MS_MAX;
    // That nothing has come yet is not what the guest pays for.
    if (awaitCycles === 0) this.budget.takeTurn();
    this.#dispatchRead(nowMs, untilMs);
    for (let i = 0; i < READS_PER_WAKE_MAX && !this.#hasBacklog; i++) {
      if (!this.source.read(i === 0 ? awaitCycles : 0)) break;
      if (i === 0 && awaitCycles > 0) this.budget.takeTurn();
      this.#dispatchRead(nowMs, untilMs);
    }
    if (this.#hello === undefined) this.#checkForeign();
    const isOver = this.source.hasEnded && !this.#hasBacklog;
    const hasHello = this.#hello !== undefined;
    const error = isOver && !this.bye && endError(this.source, hasHello, this.#foreignBytes);
    if (error) throw error;
  }

  /** Dispatches what has been read, until it is time for others. */
  #dispatchRead(nowMs: number, untilMs: number): void {
    const { decoder, receivedTsc } = this.source;
    this.#hasBacklog = false;
    for (;;) {
      const frame = decoder.next();
      if (frame === undefined) break;
      // An agent that was restarted answers pings too, and knows nothing of the stream.
      if (frame.type !== FrameType.PONG) this.#lastFrameMs = nowMs;
      this.budget.takeFrame(frame.type, frame.payloadEnd - frame.payloadStart);
      this.#dispatch(frame, receivedTsc);
      const atMs = performance.now();
      if (atMs < untilMs && (this.source.isFile || this.budget.isLeft(atMs))) continue;
      this.#hasBacklog = true;
      break;
    }
    if (this.#unackedBytes >= ACK_BYTES) this.#acknowledge(nowMs);
  }

  /** What is due by the clock: attaching, acknowledging. */
  tick(nowMs: number): void {
    if (this.source.isFile || this.source.hasEnded || this.bye !== undefined) return;
    this.source.flush();
    const silenceMsMax = this.#hello?.overwrite ? FLIGHT_SILENCE_MS_MAX : SILENCE_MS_MAX;
    const isSilent = this.#isStreaming && nowMs - this.#lastFrameMs > silenceMsMax;
    const isWanted = this.#isStreaming ? isSilent : !this.#isIntroducing(nowMs);
    if (isWanted && this.#attempts.isDue(nowMs)) this.#attach(nowMs);
    if (nowMs >= this.#nextAckMs) this.#acknowledge(nowMs);
  }

  /** Its Hello has come, and the rest of its events is on the way. */
  #isIntroducing(nowMs: number): boolean {
    return this.#events.length > 0 && nowMs - this.#lastFrameMs < SILENCE_MS_MAX;
  }

  /** Sends a ping; gives our TSC right before it left, undefined when it could not leave now. */
  ping(seq: number, awaitUs = 0): bigint | undefined {
    return this.source.ping(seq, awaitUs);
  }

  /**
   * Tells the guest that we leave; it answers with the rest and its last Stats, and keeps what it
   * has sent until acknowledge(), unless the link acknowledges by itself.
   */
  leave(): void {
    if (this.#hasLeft) return;
    this.#hasLeft = true;
    const keep = !this.#acknowledgesItself;
    this.source.send(FrameType.BYE, { reason: 1, exitCode: 0, message: "", keep });
  }

  /** Tells the guest what it may forget, when there is something new since the last time. */
  #acknowledge(nowMs: number): void {
    if (!this.#isStreaming || this.#hello?.twoWay !== true || this.#unackedBytes === 0) return;
    if (!this.#acknowledgesItself) return;
    this.#nextAckMs = nowMs + ACK_MS;
    this.#unackedBytes = 0;
    this.acknowledge(this.#listener.positions());
  }

  #attach(nowMs: number): void {
    if (this.#asker?.isWaiting(nowMs) === true) return;
    this.#attempts.note(nowMs, this.#isStreaming ? 0 : this.source.bytesRead);
    this.#attachNonce = newNonce();
    this.source.send(FrameType.ATTACH, {
      attachNonce: this.#attachNonce,
      streamNonce: this.#streamNonce,
      resume: this.#streamNonce === 0n ? [] : this.#listener.positions(),
      agentVersion: this.#agentVersion,
    });
  }

  #dispatch(frame: Frame, receivedTsc: bigint): void {
    const { type, bytes, payloadStart: from, payloadEnd: to } = frame;
    try {
      if (type === FrameType.HELLO) this.#onHello(decodeMessage(type, bytes, from, to));
      else if (type === FrameType.EVENTS) {
        this.#onEvents(decodeMessage(type, bytes, from, to).events);
      } else if (type === FrameType.PONG) {
        if (readPong(bytes, from, to, this.#pong)) this.#listener.onPong(this.#pong, receivedTsc);
      } else if (type === FrameType.ERROR) {
        throw refusalOf(this.source.name, decodeMessage(type, bytes, from, to));
      } else if (type === FrameType.CONTROL_REPLY) {
        const reply = decodeMessage(type, bytes, from, to);
        this.#asker?.onReply(reply);
        this.dump.onReply(reply);
      } else if (HOST_FRAMES.has(type)) this.misdirectedFrames++;
      else if (this.#isStreaming && this.bye === undefined) {
        this.#dispatchStream(type, bytes, from, to);
      }
      // Others come outside of a stream: what an older one left on the way, or behind a goodbye.
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.malformedFrames++;
      // Asked again, an agent would describe its stream in the same way.
      if (!this.#isStreaming && (type === FrameType.HELLO || type === FrameType.EVENTS)) {
        throw new SourceError(`Cannot use ${this.source.name}: ${error.message}`);
      }
    }
  }

  /** Frames that mean something only within a stream: before Hello they are an older stream's. */
  #dispatchStream(type: number, bytes: Uint8Array, from: number, to: number): void {
    const listener = this.#listener;
    switch (type) {
      case FrameType.SAMPLES:
        this.#unackedBytes += to - from;
        if (readSamples(bytes, from, to, this.#samples)) listener.onSamples(this.#samples, bytes);
        else this.malformedFrames++;
        return;
      case FrameType.PROGRESS:
        listener.onProgress(decodeMessage(type, bytes, from, to).tsc);
        return;
      case FrameType.CLOCK_SAMPLE:
        listener.onClockSample(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.TASK:
        listener.onTask(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.SYMBOLS:
        listener.onSymbols(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.LOST:
        listener.onLost(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.STATS:
        listener.onStats(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.DUMP:
        listener.onDump?.(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.BYE:
        this.bye = decodeMessage(type, bytes, from, to);
    }
  }

  #onHello(hello: Hello): void {
    // An answer to an earlier Attach was still under way; the one to the last comes after it. What
    // follows this one is not of the stream that we know, if that is what it says.
    if (hello.attachNonce !== 0n && hello.attachNonce !== this.#attachNonce) {
      if (hello.streamNonce !== this.#streamNonce) this.#isStreaming = false;
      return;
    }
    // Before the first Hello comes what an agent before it did not finish: that is nobody's fault.
    if (this.#hello === undefined) this.#garbageBefore = this.source.decoder.counters.garbageBytes;
    this.#hello = hello;
    this.#events = [];
    this.#formatBytes = 0;
    this.#isStreaming = false;
    if (hello.serving && hello.eventCount === 0) this.#ask();
    else this.#onEvents(hello.events);
  }

  /** The guest waits to be told what to send. */
  #ask(): void {
    const { name } = this.source;
    if (this.#asker === undefined) {
      throw new SourceError(`Cannot dump ${name}: it serves, and is no flight recorder`, DUMP_HINT);
    }
    this.#asker.ask(this.#attachNonce, this.#lastFrameMs);
  }

  #onEvents(events: readonly Event[]): void {
    const hello = this.#hello;
    // Of an older stream, or once more.
    if (hello === undefined || this.#isStreaming) return;
    this.#events.push(...events);
    if (this.#events.length > EVENTS_MAX || hello.eventCount > EVENTS_MAX) {
      throw new SourceError(`Cannot use ${this.source.name}: it has over ${EVENTS_MAX} events`);
    }
    for (const { format } of events) this.#formatBytes += format.length;
    if (this.#formatBytes > FORMAT_BYTES_MAX) {
      throw new SourceError(
        `Cannot use ${this.source.name}: formats of over ${FORMAT_BYTES_MAX} bytes`,
      );
    }
    if (this.#events.length < hello.eventCount) return;
    this.#asker?.settle();
    // 0 is nobody's nonce: a first stream that claims it would be taken for a known one.
    const resumed = this.#streamNonce !== 0n && this.#streamNonce === hello.streamNonce;
    this.#streamNonce = hello.streamNonce;
    this.#isStreaming = true;
    // It may not have heard this before: a ring that is full would wait for it for good.
    if (resumed) this.acknowledge(this.#acknowledged);
    else {
      this.#acknowledged = [];
      this.dump.restart();
    }
    this.#listener.onStream(hello, this.#events, resumed);
  }

  /** Bytes of no frame that came since the first Hello. */
  get garbageBytes(): number {
    return this.source.decoder.counters.garbageBytes - this.#garbageBefore;
  }

  /** Bytes that came and were no frame. */
  get #foreignBytes(): number {
    const { counters, pendingBytes } = this.source.decoder;
    return counters.garbageBytes + pendingBytes;
  }

  #checkForeign(): void {
    if (this.#foreignBytes <= FOREIGN_BYTES_MAX) return;
    throw new SourceError(
      `Cannot pull from ${this.source.name}: ${this.#foreignBytes} bytes came, and none of ` +
        "agent-guest's",
      NOT_OURS_HINT,
    );
  }

  /** Why a recording that was read to its end holds less than was recorded; undefined for all. */
  get truncation(): SourceError | undefined {
    const { source, bye } = this;
    if (!source.isFile || !source.hasEnded || bye !== undefined) return undefined;
    return truncationOf(source);
  }

  /** What a peer that is connected and not ready is doing, for the user who waits. */
  get waitingFor(): string {
    const { name } = this.source;
    if (this.#isStreaming) return `the clock of ${name}`;
    if (this.#hello?.serving === true) return `${name} to open its events`;
    const foreign = this.#foreignBytes;
    const what = foreign === 0 ? "nothing answers yet" : `${foreign} bytes of something else came`;
    return `agent-guest behind ${name} (it is connected, and ${what})`;
  }
}
