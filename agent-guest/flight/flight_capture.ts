/**
 * The stream of a flight recorder: nothing but dumps, and what they need to be understood.
 *
 *   Hello{overwrite}, Events        to each receiver
 *   Dump{1, "host"}                 a dump begins
 *   ClockSample...  Task...         of all the time that it reaches back to
 *   Samples...                      of each CPU, from the rings that a dump is copied into
 *   Dump{1, complete, tsc}, Stats   it has been sent
 *
 * Recording goes on whether somebody listens or not. A dump that nobody has taken waits for the
 * next receiver, and so does the wish for another one.
 */
import type { CpuRing } from "../../shared/event/event_set.ts";
import { countSamples } from "../../shared/perf/record.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import {
  type Attach,
  ByeReason,
  type Control,
  type CpuStats,
  ErrorCode,
  type SymbolRequest,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { newNonce } from "../../shared/wire/nonce.ts";
import { sendGoodbye } from "../goodbye.ts";
import { type StreamDescription, sendHello, sendsSymbolsUnasked } from "../hello.ts";
import { type Counters, Ledger } from "../ledger.ts";
import { Receiver, type ReceiverLedger, SymbolTurns } from "../receiver.ts";
import type { Outlet } from "../sink/outlet.ts";
import type { Sink, SinkHost } from "../sink/sink.ts";
import { KERNEL_REQUEST, permittedRequest } from "../symbol_answers.ts";
import { FlightClock } from "./flight_clock.ts";
import type { FlightRecorder } from "./recorder.ts";
import { Taker } from "./taker.ts";

/** While a dump is being sent: how often receivers are looked at. */
const SENDING_MS = 10;
/** A sign of life to receivers between dumps. */
const STATS_MS = 10_000;
/** Longest sleep: nothing is due in between. */
const IDLE_MS_MAX = 5000;
/** A port whose host is away has to be looked at. */
const ABSENT_MS_MAX = 100;
/** How long a dump waits for a receiver that does not read; a later one would have to wait too. */
const PATIENCE_MS = 10_000;

export interface FlightOptions extends StreamDescription {
  readonly onStatus: (text: string) => void;
}

export class FlightCapture implements SinkHost {
  /** Budgets of a server do not apply here. */
  readonly capture = undefined;
  readonly #recorder: FlightRecorder;
  readonly #options: FlightOptions;
  #streamNonce = newNonce();
  readonly #clock: FlightClock;
  #sink: Sink | undefined;
  #takers: Taker[] = [];
  readonly #symbolTurns = new SymbolTurns();
  /** Of the host that vanished, until it comes back or another one does. */
  #waiting: Taker | undefined;
  /** What the last dump was for, and when the rings had been read. */
  #cause = "";
  #dumpTsc = 0n;
  /** Counters before the dump that lies in the rings. */
  #before: Counters[];
  #nextStatsMs = 0;
  #patientUntilMs = 0;
  /** By ring: samples that were recorded since the last dump, once recording has stopped. */
  #notDumped: number[] = [];

  constructor(recorder: FlightRecorder, options: FlightOptions) {
    this.#recorder = recorder;
    this.#options = options;
    this.#clock = new FlightClock(recorder.set);
    this.#before = this.#counters();
  }

  attachSink(sink: Sink): void {
    this.#sink = sink;
    this.#recorder.start();
  }

  get sink(): Sink {
    if (this.#sink === undefined) throw new RangeError("Cannot use a recorder before its sink");
    return this.#sink;
  }

  get rings(): readonly CpuRing[] {
    return this.#recorder.set.rings;
  }

  get hasEnded(): boolean {
    return this.#recorder.set.hasEnded;
  }

  /** A dump fills a ring at once, and nothing is lost by waiting for it to be taken. */
  get lagShareMax(): number {
    if (performance.now() >= this.#patientUntilMs) return 0;
    return this.#takers.some(({ isDone, isStuck }) => !isDone && !isStuck) ? Infinity : 0;
  }

  status(text: string): void {
    this.#options.onStatus(text);
  }

  /** Asks for a dump. */
  request(cause: string): void {
    this.#recorder.request(cause);
  }

  register(poll: PollSet): void {
    this.#recorder.register(poll);
    this.sink.register(poll);
  }

  dueInMs(nowMs: number): number {
    if (this.#symbolTurns.isDue(this.#receivers, nowMs)) return 0;
    if (this.#isSending) return SENDING_MS;
    const idleMs = this.sink.isAbsent === true ? ABSENT_MS_MAX : IDLE_MS_MAX;
    const dumpMs = this.#hasContent ? Infinity : this.#recorder.dueInMs(nowMs);
    return Math.min(idleMs, dumpMs, this.#clock.dueInMs(nowMs));
  }

  pump(poll: PollSet, nowMs: number): void {
    this.#recorder.notePoll(poll);
    this.sink.service(poll);
    if (this.#clock.tick(nowMs)) for (const taker of this.#takers) taker.sendClock(this.#clock);
    if (!this.#hasContent && !this.#isSending) this.#dump(nowMs);
    if (this.#isSending || this.sink.isLeaving) this.#send();
    this.#release();
    this.#symbolTurns.work(this.#receivers);
    if (nowMs < this.#nextStatsMs) return;
    this.#nextStatsMs = nowMs + STATS_MS;
    for (const { receiver } of this.#takers) this.#sendStats(receiver, false);
  }

  begin(outlet: Outlet, attach: Attach | undefined): boolean {
    outlet.setRings(this.rings.length);
    const before = this.#takePrevious(outlet);
    const resumed = before !== undefined && attach?.streamNonce === this.#streamNonce;
    if (before !== undefined && !resumed) this.#giveUp(before);
    // Whoever has positions of the stream before must not take this one for it.
    if (!resumed && this.#takers.length === 0) this.#streamNonce = newNonce();
    const resume = new Map(attach?.resume.map((at) => [at.cpu, Number(at.position)]));
    this.rings.forEach(({ cpu, ring }, index) => {
      const wanted = resumed ? resume.get(cpu) : undefined;
      const isHeld = wanted !== undefined && wanted >= ring.tail && wanted <= ring.head;
      // Where others are taking a dump, this one comes in time for the next.
      const start = this.#takers.length > 0 ? ring.head : ring.tail;
      outlet.seek(index, isHeld ? wanted : start);
    });
    outlet.restart();
    const { agentVersion, ...options } = this.#options;
    const nonces = { streamNonce: this.#streamNonce, attachNonce: attach?.attachNonce ?? 0n };
    sendHello(outlet, this.#recorder.set, { ...options, agentVersion, ...nonces });
    const ledger = resumed ? before.receiver.ledger : this.#newLedger();
    const receiver = new Receiver(outlet, ledger, (text) => this.status(text));
    const isDone = !this.#hasContent || this.#takers.length > 0;
    const taker = new Taker(receiver, isDone);
    this.#takers.push(taker);
    taker.sendClock(this.#clock);
    if (!isDone) this.#announce(taker);
    if (sendsSymbolsUnasked(this.#recorder.set, options)) receiver.symbols.ask(0, KERNEL_REQUEST);
    return true;
  }

  askSymbols(outlet: Outlet, id: number, request: SymbolRequest): void {
    const taker = this.#takers.find(({ receiver }) => receiver.outlet === outlet);
    taker?.receiver.symbols.ask(id, permittedRequest(request, this.#recorder.set));
  }

  control(outlet: Outlet, { id, request }: Control): void {
    if (request?.$case === "dump") this.request("host");
    const message = "Cannot do what the host asks: this agent is a flight recorder";
    const hint = "start it as agent-guest serve";
    const refusal = { code: ErrorCode.UNSUPPORTED, message, hint, text: "", position: 0 };
    const error = request?.$case === "dump" ? undefined : refusal;
    outlet.send(FrameType.CONTROL_REPLY, { id, error, events: [], more: false });
  }

  vanish(outlet: Outlet): void {
    const taker = this.#takers.find(({ receiver }) => receiver.outlet === outlet);
    if (taker === undefined) return;
    this.#takers = this.#takers.filter((candidate) => candidate !== taker);
    this.#waiting = taker;
  }

  end(outlet: Outlet, keeps: boolean): void {
    const taker = this.#takers.find(({ receiver }) => receiver.outlet === outlet);
    if (taker === undefined) return;
    this.#takers = this.#takers.filter((candidate) => candidate !== taker);
    if (outlet.failure !== undefined) return;
    taker.receiver.dropUnsent(this.rings, "host left");
    this.#sendStats(taker.receiver, true);
    sendGoodbye(outlet, ByeReason.DETACHED, 0);
    if (keeps) this.#waiting = taker;
    else if (this.#takers.length === 0) this.#forgetDump();
  }

  forget(): void {
    this.#waiting = undefined;
    if (this.#takers.length === 0) this.#forgetDump();
  }

  missed(outlet: Outlet, ringIndex: number, from: number, to: number): void {
    const taker = this.#takers.find(({ receiver }) => receiver.outlet === outlet);
    if (taker !== undefined) taker.isStuck = outlet.isBlocked;
    taker?.receiver.miss(this.rings[ringIndex]!, ringIndex, from, to);
  }

  /** Stops recording; what a dump has taken is still sent. */
  stopEvents(): void {
    this.#notDumped = this.#recorder.stop();
    const known = [...this.#takers, ...(this.#waiting === undefined ? [] : [this.#waiting])];
    for (const { receiver } of known) this.#dropNotDumped(receiver.ledger);
  }

  finish(exitCode: number): ReceiverLedger[] {
    const reason = exitCode === 0 ? ByeReason.DONE : ByeReason.ERROR;
    const reports = this.#takers.map(({ receiver }) => {
      receiver.symbols.finish();
      receiver.dropUnsent(this.rings, "not taken before the end");
      const rows = this.#sendStats(receiver, true);
      sendGoodbye(receiver.outlet, reason, exitCode);
      return { name: receiver.outlet.name, rows };
    });
    const { name } = this.sink;
    const waiting = this.#waiting;
    if (waiting !== undefined) return [...reports, { name, rows: this.#giveUp(waiting) }];
    return reports.length > 0 || !this.#hasContent ? reports : [{ name, rows: this.#untaken() }];
  }

  close(): void {
    this.#sink?.close();
    this.#recorder.close();
  }

  /** The rings hold a dump, or a part of one, that was not taken. */
  get #hasContent(): boolean {
    return this.rings.some(({ ring }) => ring.tail !== ring.head);
  }

  get #isSending(): boolean {
    return this.#takers.some(({ isDone }) => !isDone);
  }

  #counters(): Counters[] {
    return this.rings.map((_, index) => this.#recorder.countersOf(index));
  }

  get #receivers(): Receiver[] {
    return this.#takers.map(({ receiver }) => receiver);
  }

  /** From the last dump on, or from before it when it has not been taken. */
  #newLedger(): Ledger {
    const takesDump = this.#hasContent && this.#takers.length === 0;
    const read = (index: number): Counters => this.#recorder.countersOf(index);
    const begun = takesDump ? this.#before : this.#counters();
    const ledger = new Ledger(this.#recorder.set, true, read, begun);
    if (takesDump) this.#dropNotDumped(ledger);
    return ledger;
  }

  #dropNotDumped(ledger: Ledger): void {
    this.#notDumped.forEach((events, index) => {
      if (events > 0) ledger.drop(index, "not dumped", events, 0);
    });
  }

  /** The rows of a dump that no receiver came for. */
  #untaken(): CpuStats[] {
    const ledger = this.#newLedger();
    return this.rings.flatMap((ring, index) => {
      const { tail, head } = ring.ring;
      const events = countSamples(ring.ring, tail, head);
      ledger.drop(index, "not taken before the end", events, head - tail);
      return ledger.row(ring, index, tail, tail) ?? [];
    });
  }

  #takePrevious(outlet: Outlet): Taker | undefined {
    const own = this.#takers.find(({ receiver }) => receiver.outlet === outlet);
    const before = own ?? this.#waiting;
    this.#takers = this.#takers.filter((taker) => taker !== before);
    this.#waiting = undefined;
    return before;
  }

  /** Another host came instead of the one that vanished: what waited for that one goes. */
  #giveUp({ receiver }: Taker): CpuStats[] {
    receiver.dropUnacked(this.rings, (index) => this.sink.releasable(index));
    const rows = this.#rows(receiver);
    this.#forgetDump();
    return rows;
  }

  /** What was taken in part is nothing for another receiver. */
  #forgetDump(): void {
    for (const { ring } of this.rings) ring.setTail(ring.head);
  }

  #dump(nowMs: number): void {
    const before = this.#counters();
    const cause = this.#recorder.dump(nowMs);
    if (cause === "") return;
    this.#before = before;
    this.#cause = cause;
    this.#dumpTsc = readTsc();
    this.#patientUntilMs = nowMs + PATIENCE_MS;
    this.#clock.readNow(nowMs);
    let events = 0;
    for (const { ring } of this.rings) events += countSamples(ring, ring.tail, ring.head);
    const when = this.#takers.length === 0 ? ", which wait for a receiver" : "";
    this.status(`Dump ${this.#recorder.dumps} (${cause}): ${events} events${when}`);
    for (const taker of this.#takers) this.#announce(taker);
  }

  /** A dump begins for this receiver. */
  #announce(taker: Taker): void {
    taker.isDone = false;
    this.#mark(taker.receiver.outlet, false);
    taker.sendClock(this.#clock);
    taker.receiver.nameTasksAgain();
  }

  /** Names first: whoever prints an event wants to know whose it is. */
  #send(): void {
    const isPatient = performance.now() < this.#patientUntilMs;
    let isNaming = false;
    for (const taker of this.#takers) {
      const { receiver } = taker;
      const { isBlocked } = receiver.outlet;
      if (!isBlocked) {
        taker.isStuck = false;
        receiver.sendTasks();
      }
      isNaming ||= receiver.isNaming && !(isBlocked && (taker.isStuck || !isPatient));
    }
    if (isNaming && !this.sink.isLeaving) return;
    this.sink.send();
    for (const taker of this.#takers) this.#complete(taker);
  }

  /** Tells a receiver that it has all of the dump, or that no more of it will come. */
  #complete(taker: Taker): void {
    const { receiver, isDone, isStuck } = taker;
    const { outlet } = receiver;
    const hasAll = this.rings.every(({ ring }, i) => outlet.positions[i] === ring.head);
    if (isDone || (outlet.isBlocked && !isStuck) || !hasAll) return;
    taker.isDone = true;
    this.#mark(outlet, true);
    this.#sendStats(receiver, false);
  }

  #mark(outlet: Outlet, complete: boolean): void {
    const tsc = complete ? this.#dumpTsc : 0n;
    const mark = { number: this.#recorder.dumps, trigger: this.#cause, complete, tsc };
    outlet.send(FrameType.DUMP, mark);
  }

  /** Gives back what has arrived; a dump without any receiver stays. */
  #release(): void {
    if (this.#takers.length === 0 && this.#waiting === undefined) return;
    this.rings.forEach(({ ring }, index) => {
      const position = this.sink.releasable(index);
      if (position > ring.tail) ring.setTail(position);
    });
  }

  #sendStats(receiver: Receiver, final: boolean): CpuStats[] {
    const rows = this.#rows(receiver);
    receiver.sendStats(rows, final);
    return rows;
  }

  #rows({ ledger, outlet }: Receiver): CpuStats[] {
    return this.rings
      .map((ring, i) => ledger.row(ring, i, outlet.positions[i]!, this.sink.releasable(i)))
      .filter((row) => row !== undefined);
  }
}
