/**
 * One stream: a set of events, the sink that takes it, and what the stream says beside the samples.
 * Samples are forwarded as they lie in the rings; nothing here looks into a record.
 *
 * Events run only while somebody listens (or may come back for what the rings still hold): an agent
 * that waits costs its guest nothing.
 */
import type { CpuRing, EventSet } from "../shared/event/event_set.ts";
import { readTsc } from "../shared/sys/clock.ts";
import type { PollSet } from "../shared/sys/poll.ts";
import { FrameType } from "../shared/wire/frame.ts";
import {
  type Attach,
  ByeReason,
  type Control,
  type CpuStats,
  type SymbolRequest,
} from "../shared/wire/gen/vmspan/v1/channel.ts";
import { newNonce } from "../shared/wire/nonce.ts";
import { type ClockSampler, clockSamplerOf } from "./clock_samples.ts";
import { refuseControl } from "./fixed_events.ts";
import { sendGoodbye } from "./goodbye.ts";
import { type StreamDescription, sendHello, sendsSymbolsUnasked } from "./hello.ts";
import { Ledger } from "./ledger.ts";
import { Receiver, type ReceiverLedger, SymbolTurns } from "./receiver.ts";
import { ShedCount } from "./shed_count.ts";
import type { Outlet } from "./sink/outlet.ts";
import type { Sink, SinkHost } from "./sink/sink.ts";
import { KERNEL_REQUEST, permittedRequest } from "./symbol_answers.ts";

/**
 * How often what lies below the rings' watermarks is forwarded. It bounds how late an event reaches
 * the host, and is the rate at which an idle guest is woken.
 */
export const FLUSH_MS = 100;
/** The same in the first second of a stream, when somebody waits for its first event. */
const EAGER_FLUSH_MS = 10;
const EAGER_MS = 1000;
const STATS_MS = 10_000;
/** How often the user is told of receivers that are too slow: it may happen at each wake-up. */
const MISSED_STATUS_MS = 1000;

export interface CaptureOptions extends StreamDescription {
  readonly onStatus: (text: string) => void;
}

export class Capture implements SinkHost {
  readonly set: EventSet;
  readonly #options: CaptureOptions;
  #streamNonce = newNonce();
  readonly #clock: ClockSampler;
  #sink: Sink | undefined;
  #receivers: Receiver[] = [];
  #previousTsc = 0n;
  #nextStatsMs = 0;
  #nextMissedMs = 0;
  #nextFlushMs = 0;
  #eagerUntilMs = 0;
  #ringSlots = { from: 0, to: 0 };
  /** Of the host that vanished, until it comes back or another one does. */
  #waiting: Receiver | undefined;
  readonly #shed: ShedCount;
  readonly #symbolTurns = new SymbolTurns();

  constructor(set: EventSet, options: CaptureOptions) {
    this.set = set;
    this.#options = options;
    this.#clock = clockSamplerOf(set);
    this.#shed = new ShedCount(set);
  }

  /** Of the stream that the next receiver may resume. */
  get streamNonce(): bigint {
    return this.#streamNonce;
  }

  /** Sets the sink, which needs the capture to exist first. */
  attachSink(sink: Sink): void {
    this.#sink = sink;
  }

  get sink(): Sink {
    if (this.#sink === undefined) throw new RangeError("Cannot use a capture before its sink");
    return this.#sink;
  }

  get rings(): readonly CpuRing[] {
    return this.set.rings;
  }

  /** Nothing can come any more: the tasks that were to be sampled have ended. */
  get hasEnded(): boolean {
    return this.set.hasEnded;
  }

  /** As of a server, whose capture comes and goes. */
  get capture(): Capture {
    return this;
  }

  status(text: string): void {
    this.#options.onStatus(text);
  }

  register(poll: PollSet): void {
    const from = poll.count;
    this.set.register(poll);
    this.#ringSlots = { from, to: poll.count };
    this.sink.register(poll);
  }

  /** Milliseconds until what lies below the rings' watermarks is forwarded too. */
  dueInMs(nowMs: number): number {
    if (this.#symbolTurns.isDue(this.#receivers, nowMs)) return 0;
    return Math.max(0, this.#nextFlushMs - nowMs);
  }

  /**
   * One round: serve the sink, give back what has arrived, and forward what the rings hold when
   * that is due. Being woken by an acknowledgement is no reason to send: it would make a loop of
   * tiny spans and their acknowledgements.
   */
  pump(poll: PollSet, nowMs: number): void {
    const tsc = readTsc();
    this.set.noteHangUps(poll);
    const wasBlocked = this.sink.outlets.some((outlet) => outlet.isBlocked);
    this.sink.service(poll);
    if (this.sink.wantsEvents !== this.set.isEnabled) this.#toggle();
    const isUnblocked = wasBlocked && this.sink.outlets.some((outlet) => !outlet.isBlocked);
    const isDue = nowMs >= this.#nextFlushMs || isUnblocked || this.sink.isLeaving;
    if (isDue || this.#isRingReady(poll)) {
      this.#nextFlushMs = nowMs + (nowMs < this.#eagerUntilMs ? EAGER_FLUSH_MS : FLUSH_MS);
      this.#forward(nowMs);
      // Stamps are taken just before a record is committed. One round later even a record that was
      // being written when this round read the heads has been seen.
      this.#previousTsc = tsc;
    } else this.#release();
    this.#symbolTurns.work(this.#receivers);
  }

  #isRingReady(poll: PollSet): boolean {
    for (let slot = this.#ringSlots.from; slot < this.#ringSlots.to; slot++) {
      if (poll.readyEvents(slot) !== 0) return true;
    }
    return false;
  }

  #forward(nowMs: number): void {
    for (const ring of this.rings) ring.ring.refreshHead();
    this.sink.send();
    this.#release();
    if (this.#receivers.length > 0) this.#accompany(nowMs);
  }

  #release(): void {
    for (let index = 0; index < this.rings.length; index++) {
      const { ring } = this.rings[index]!;
      const position = this.sink.releasable(index);
      if (position > ring.tail) ring.setTail(position);
    }
  }

  begin(outlet: Outlet, attach: Attach | undefined): boolean {
    outlet.setRings(this.rings.length);
    const before = this.#takePrevious(outlet);
    const resumed = before !== undefined && attach?.streamNonce === this.streamNonce;
    const ledger = resumed ? before.ledger : this.#startLedger(before);
    const resume = new Map(attach?.resume.map((at) => [at.cpu, Number(at.position)]));
    this.rings.forEach(({ cpu, ring }, index) => {
      const wanted = resumed ? resume.get(cpu) : undefined;
      const isHeld = wanted !== undefined && wanted >= ring.tail && wanted <= ring.head;
      outlet.seek(index, isHeld ? wanted : resumed ? ring.tail : ring.head);
    });
    outlet.restart();
    this.#nextFlushMs = 0;
    this.#eagerUntilMs = performance.now() + EAGER_MS;
    this.#sendHello(outlet, attach?.attachNonce ?? 0n);
    const receiver = new Receiver(outlet, ledger, (text) => this.status(text));
    this.#receivers.push(receiver);
    if (sendsSymbolsUnasked(this.set, this.#options)) receiver.symbols.ask(0, KERNEL_REQUEST);
    return true;
  }

  askSymbols(outlet: Outlet, id: number, request: SymbolRequest): void {
    const receiver = this.#receivers.find((candidate) => candidate.outlet === outlet);
    receiver?.symbols.ask(id, permittedRequest(request, this.set));
  }

  /** Fixed events: whoever started the agent has chosen them. */
  control(outlet: Outlet, { id, request }: Control): void {
    refuseControl(outlet, id, request?.$case === "dump");
  }

  vanish(outlet: Outlet): void {
    const receiver = this.#receivers.find((candidate) => candidate.outlet === outlet);
    if (receiver === undefined) return;
    this.#receivers = this.#receivers.filter((candidate) => candidate !== receiver);
    this.#waiting = receiver;
  }

  isStreamingTo(outlet: Outlet): boolean {
    return this.#receivers.some((receiver) => receiver.outlet === outlet);
  }

  /** Nobody will come back: tells the user of what waited, and gives the ledger's rows. */
  abandon(): CpuStats[] {
    this.stopEvents();
    const waiting = this.#waiting;
    this.#waiting = undefined;
    return waiting === undefined ? [] : this.#giveUp(waiting);
  }

  /**
   * Stops what comes from being recorded, for `place`'s sake; the kernel counts what it would have
   * been. Everybody is told of the place at once, and of the number when recording goes on.
   */
  pause(place: string): void {
    this.#shed.pause(place);
    for (const receiver of this.#receivers) receiver.sendShed(this.rings, place, undefined);
  }

  resume(): void {
    const { place } = this.#shed;
    if (place === "") return;
    const events = this.#shed.resume(this.#ledgers());
    for (const receiver of this.#receivers) receiver.sendShed(this.rings, place, events);
  }

  end(outlet: Outlet, keeps: boolean): void {
    const receiver = this.#receivers.find((candidate) => candidate.outlet === outlet);
    if (receiver === undefined) return;
    if (outlet.failure === undefined) this.#close(receiver);
    this.#receivers = this.#receivers.filter((candidate) => candidate !== receiver);
    if (keeps) this.#waiting = receiver;
  }

  forget(): void {
    this.#waiting = undefined;
  }

  missed(outlet: Outlet, ringIndex: number, from: number, to: number): void {
    const receiver = this.#receivers.find((candidate) => candidate.outlet === outlet);
    receiver?.miss(this.rings[ringIndex]!, ringIndex, from, to);
  }

  /** Stops the events; after it only what the rings hold is left to send. */
  stopEvents(): void {
    this.#stopFor(this.#ledgers());
  }

  /** The same, with the ledgers that what was shed until now belongs to. */
  #stopFor(ledgers: readonly Ledger[]): void {
    this.set.disable();
    this.#shed.settle(ledgers);
    for (const ring of this.rings) ring.ring.refreshHead();
  }

  /** Says the ledger and goodbye to everybody; gives each receiver's rows. */
  finish(exitCode: number): ReceiverLedger[] {
    const reason = exitCode === 0 ? ByeReason.DONE : ByeReason.ERROR;
    const readings = this.#clock.lastReadings();
    const reports = this.#receivers.map((receiver) => {
      for (const reading of readings) receiver.outlet.send(FrameType.CLOCK_SAMPLE, reading);
      receiver.symbols.finish();
      receiver.dropUnsent(this.rings, "not taken before the end");
      const rows = this.#sendStats(receiver, true);
      sendGoodbye(receiver.outlet, reason, exitCode);
      return { name: receiver.outlet.name, rows };
    });
    if (this.#waiting === undefined) return reports;
    return [...reports, { name: this.sink.name, rows: this.#giveUp(this.#waiting) }];
  }

  close(): void {
    this.#sink?.close();
    this.closeEvents();
  }

  /** The sink goes on without them. */
  closeEvents(): void {
    this.set.close();
  }

  #toggle(): void {
    if (this.sink.wantsEvents) this.set.enable();
    else this.set.disable();
  }

  /** The session that this outlet had, or that waits for a host to come back; it is no more. */
  #takePrevious(outlet: Outlet): Receiver | undefined {
    const before = this.#receivers.find((receiver) => receiver.outlet === outlet) ?? this.#waiting;
    this.#receivers = this.#receivers.filter((receiver) => receiver !== before);
    this.#waiting = undefined;
    return before;
  }

  /** A ledger from here on. The first receiver's is exact, as it begins while nothing moves. */
  #startLedger(before: Receiver | undefined): Ledger {
    if (this.#receivers.length > 0) return new Ledger(this.set, false);
    this.#stopFor(before === undefined ? [] : [before.ledger]);
    if (before !== undefined) this.#giveUp(before);
    for (const { ring } of this.rings) ring.setTail(ring.head);
    // Whoever has positions of the stream that ends here must not take this one for it.
    this.#streamNonce = newNonce();
    return new Ledger(this.set, true);
  }

  /** Whose ledgers are open. */
  #ledgers(): Ledger[] {
    const waiting = this.#waiting === undefined ? [] : [this.#waiting];
    return [...this.#receivers, ...waiting].map(({ ledger }) => ledger);
  }

  /** Closes the ledger of a host that vanished and is not back: what waited for it goes. */
  #giveUp(receiver: Receiver): CpuStats[] {
    receiver.dropUnacked(this.rings, (index) => this.sink.releasable(index));
    return this.#rows(receiver.ledger, (index) => this.sink.releasable(index));
  }

  #sendHello(outlet: Outlet, attachNonce: bigint): void {
    sendHello(outlet, this.set, { ...this.#options, streamNonce: this.streamNonce, attachNonce });
    for (const sample of this.#clock.history) outlet.send(FrameType.CLOCK_SAMPLE, sample);
  }

  /** Clock, task names, progress, statistics: what goes beside the samples. */
  #accompany(nowMs: number): void {
    const samples = this.#clock.poll(nowMs);
    const withStats = nowMs >= this.#nextStatsMs;
    if (withStats) this.#nextStatsMs = nowMs + STATS_MS;
    for (const receiver of this.#receivers) {
      const { outlet } = receiver;
      if (!outlet.isCrowded) {
        for (const sample of samples) outlet.send(FrameType.CLOCK_SAMPLE, sample);
      }
      if (outlet.isBlocked) continue;
      receiver.sendTasks();
      receiver.sendProgress(this.rings, this.#previousTsc);
      if (withStats) this.#sendStats(receiver, false);
    }
    if (nowMs >= this.#nextMissedMs) this.#sayMissed(nowMs);
  }

  #sayMissed(nowMs: number): void {
    for (const receiver of this.#receivers) {
      if (receiver.missed === 0) continue;
      this.status(`${receiver.outlet.name} is too slow: ${receiver.missed} events not sent`);
      receiver.missed = 0;
      this.#nextMissedMs = nowMs + MISSED_STATUS_MS;
    }
  }

  /**
   * A receiver leaves politely: it gets what the rings hold. The ledger of the last one is closed
   * while nothing moves; for others events go on, so that their totals cannot be compared.
   */
  #close(receiver: Receiver): void {
    const { outlet } = receiver;
    const isLast = this.#receivers.length === 1;
    if (isLast) this.stopEvents();
    // Not through the sink, which has let go of this receiver already.
    for (const [index, ring] of this.rings.entries()) {
      outlet.sendRing(index, ring, ring.ring.head);
    }
    if (isLast) {
      receiver.dropUnsent(this.rings, "host left");
      this.#sendStats(receiver, true);
    }
    sendGoodbye(outlet, ByeReason.DETACHED, 0);
  }

  #sendStats(receiver: Receiver, final: boolean): CpuStats[] {
    const { outlet, ledger } = receiver;
    const cpus = this.#rows(ledger, (index) => outlet.positions[index]!);
    receiver.sendStats(cpus, final);
    return cpus;
  }

  #rows(ledger: Ledger, sentOf: (index: number) => number): CpuStats[] {
    this.#shed.settle(this.#ledgers());
    return this.rings
      .map((ring, i) => ledger.row(ring, i, sentOf(i), this.sink.releasable(i)))
      .filter((row) => row !== undefined);
  }
}
