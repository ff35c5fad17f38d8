/**
 * One stream: a set of events, the sink that takes it, and what the stream says beside the samples.
 * Samples are forwarded as they lie in the rings; nothing here looks into a record.
 *
 * Events run only while somebody listens (or may come back for what the rings still hold): an agent
 * that waits costs its guest nothing.
 */
import type { CpuRing, EventSet } from "../shared/event/event_set.ts";
import type { MachineInfo } from "../shared/event/machine.ts";
import { snapshotTaskNames, type TaskName } from "../shared/event/task_names.ts";
import { countSamples } from "../shared/perf/record.ts";
import { readTsc } from "../shared/sys/clock.ts";
import type { PollSet } from "../shared/sys/poll.ts";
import { FrameType } from "../shared/wire/frame.ts";
import { type Attach, ByeReason, type CpuStats } from "../shared/wire/gen/vmspan/v1/channel.ts";
import { ClockSampler } from "./clock_samples.ts";
import { buildHello, splitEvents } from "./hello.ts";
import { Ledger } from "./ledger.ts";
import type { Outlet } from "./sink/outlet.ts";
import type { Sink, SinkHost } from "./sink/sink.ts";

/** Time that one wake-up may spend on naming tasks. */
const TASK_SLICE_MS = 4;
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

interface Session {
  readonly outlet: Outlet;
  readonly ledger: Ledger;
  tasks: Generator<TaskName[], void> | undefined;
  /** Events that it missed since the user was told. */
  missed: number;
}

export interface CaptureOptions {
  readonly machine: MachineInfo;
  readonly isTscDisplay: boolean;
  readonly isTwoWay: boolean;
  readonly agentVersion: string;
  readonly onStatus: (text: string) => void;
}

export class Capture implements SinkHost {
  readonly set: EventSet;
  readonly #options: CaptureOptions;
  readonly #streamNonce: bigint;
  readonly #clock: ClockSampler;
  #sink: Sink | undefined;
  #sessions: Session[] = [];
  #previousTsc = 0n;
  #nextStatsMs = 0;
  #nextMissedMs = 0;
  #nextFlushMs = 0;
  #eagerUntilMs = 0;
  #ringSlots = { from: 0, to: 0 };
  /** Of the host that vanished, until it comes back or another one does. */
  #waiting: Session | undefined;

  constructor(set: EventSet, options: CaptureOptions) {
    this.set = set;
    this.#options = options;
    this.#streamNonce = crypto.getRandomValues(new BigUint64Array(1))[0]! | 1n;
    this.#clock = new ClockSampler(set);
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
    if (this.#sessions.length > 0) this.#accompany(nowMs);
  }

  #release(): void {
    for (let index = 0; index < this.rings.length; index++) {
      const { ring } = this.rings[index]!;
      const position = this.sink.releasable(index);
      if (position > ring.tail) ring.setTail(position);
    }
  }

  begin(outlet: Outlet, attach: Attach | undefined): void {
    const before = this.#takePrevious(outlet);
    const resumed = before !== undefined && attach?.streamNonce === this.#streamNonce;
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
    this.#sessions.push({
      outlet,
      ledger,
      tasks: snapshotTaskNames(),
      missed: 0,
    });
    this.#sendTasks(this.#sessions[this.#sessions.length - 1]!);
  }

  vanish(outlet: Outlet): void {
    const session = this.#sessions.find((candidate) => candidate.outlet === outlet);
    if (session === undefined) return;
    this.#sessions = this.#sessions.filter((candidate) => candidate !== session);
    this.#waiting = session;
  }

  end(outlet: Outlet): void {
    const session = this.#sessions.find((candidate) => candidate.outlet === outlet);
    if (session === undefined) return;
    if (outlet.failure === undefined) this.#close(session);
    this.#sessions = this.#sessions.filter((candidate) => candidate !== session);
  }

  missed(outlet: Outlet, ringIndex: number, from: number, to: number): void {
    const { cpu, ring } = this.rings[ringIndex]!;
    const events = countSamples(ring, from, to);
    const session = this.#sessions.find((candidate) => candidate.outlet === outlet);
    if (session !== undefined) {
      session.missed += events;
      session.ledger.drop(ringIndex, "slow client", events, to - from);
    }
    outlet.send(FrameType.LOST, {
      cpu,
      place: "slow client",
      events: BigInt(events),
      bytes: BigInt(to - from),
      fromPosition: BigInt(from),
      toPosition: BigInt(to),
    });
  }

  /** Stops the events; after it only what the rings hold is left to send. */
  stopEvents(): void {
    this.set.disable();
    for (const ring of this.rings) ring.ring.refreshHead();
  }

  /** Says the ledger and goodbye to everybody; gives each receiver's rows. */
  finish(exitCode: number): { name: string; rows: CpuStats[] }[] {
    const reason = exitCode === 0 ? ByeReason.DONE : ByeReason.ERROR;
    const reports = this.#sessions.map((session) => {
      this.#countUnsent(session, "not taken before the end");
      const rows = this.#sendStats(session, true);
      session.outlet.send(FrameType.BYE, { reason, exitCode, message: "" });
      return { name: session.outlet.name, rows };
    });
    if (this.#waiting === undefined) return reports;
    return [...reports, { name: this.sink.name, rows: this.#closeWaiting(this.#waiting) }];
  }

  close(): void {
    this.#sink?.close();
    this.set.close();
  }

  #toggle(): void {
    if (this.sink.wantsEvents) this.set.enable();
    else this.set.disable();
  }

  /** The session that this outlet had, or that waits for a host to come back; it is no more. */
  #takePrevious(outlet: Outlet): Session | undefined {
    const before = this.#sessions.find((session) => session.outlet === outlet) ?? this.#waiting;
    this.#sessions = this.#sessions.filter((session) => session !== before);
    this.#waiting = undefined;
    return before;
  }

  /** A ledger from here on. The first receiver's is exact, as it begins while nothing moves. */
  #startLedger(before: Session | undefined): Ledger {
    if (this.#sessions.length > 0) return new Ledger(this.set, false);
    this.stopEvents();
    if (before !== undefined) this.#giveUp(before);
    for (const { ring } of this.rings) ring.setTail(ring.head);
    return new Ledger(this.set, true);
  }

  /** Another host came instead of the one that vanished: what waited for that one goes. */
  #giveUp(session: Session): void {
    const rows = this.#closeWaiting(session);
    const dropped = rows
      .flatMap(({ drops }) => drops)
      .reduce((sum, { events }) => sum + events, 0n);
    if (dropped > 0n) this.status(`${dropped} events waited for a host that did not come back`);
  }

  /** Closes the ledger of a host that is not there: what it has not acknowledged is dropped. */
  #closeWaiting({ ledger }: Session): CpuStats[] {
    this.rings.forEach((_, index) => {
      this.#drop(ledger, index, "host did not come back", this.sink.releasable(index));
    });
    return this.#rows(ledger, (index) => this.sink.releasable(index));
  }

  #sendHello(outlet: Outlet, attachNonce: bigint): void {
    const { machine, isTscDisplay, isTwoWay, agentVersion } = this.#options;
    const [first, ...rest] = splitEvents(this.set);
    const hello = buildHello(this.set, machine, {
      streamNonce: this.#streamNonce,
      attachNonce,
      agentVersion,
      isTscDisplay,
      isTwoWay,
      events: first ?? [],
      start: outlet.positions,
    });
    outlet.send(FrameType.HELLO, hello);
    for (const events of rest) outlet.send(FrameType.EVENTS, { events });
    for (const sample of this.#clock.history) outlet.send(FrameType.CLOCK_SAMPLE, sample);
  }

  /** Clock, task names, progress, statistics: what goes beside the samples. */
  #accompany(nowMs: number): void {
    const sample = this.#clock.poll(nowMs);
    const withStats = nowMs >= this.#nextStatsMs;
    if (withStats) this.#nextStatsMs = nowMs + STATS_MS;
    for (const session of this.#sessions) {
      const { outlet } = session;
      if (sample !== undefined && !outlet.isCrowded) outlet.send(FrameType.CLOCK_SAMPLE, sample);
      if (outlet.isBlocked) continue;
      this.#sendTasks(session);
      this.#sendProgress(session);
      if (withStats) this.#sendStats(session, false);
    }
    if (nowMs >= this.#nextMissedMs) this.#sayMissed(nowMs);
  }

  #sayMissed(nowMs: number): void {
    for (const session of this.#sessions) {
      if (session.missed === 0) continue;
      this.status(`${session.outlet.name} is too slow: ${session.missed} events not sent`);
      session.missed = 0;
      this.#nextMissedMs = nowMs + MISSED_STATUS_MS;
    }
  }

  #sendTasks(session: Session): void {
    const deadlineMs = performance.now() + TASK_SLICE_MS;
    while (session.tasks !== undefined && performance.now() < deadlineMs) {
      const next = session.tasks.next();
      if (next.done) session.tasks = undefined;
      else session.outlet.send(FrameType.TASK, { tasks: next.value });
    }
  }

  #sendProgress({ outlet }: Session): void {
    const isComplete = this.rings.every(({ ring }, i) => outlet.positions[i] === ring.head);
    if (!isComplete || this.#previousTsc === 0n) return;
    outlet.send(FrameType.PROGRESS, { tsc: this.#previousTsc });
  }

  #sendStats(session: Session, final: boolean): CpuStats[] {
    const { outlet, ledger } = session;
    const cpus = this.#rows(ledger, (index) => outlet.positions[index]!);
    const usage = process.cpuUsage();
    outlet.send(FrameType.STATS, {
      cpus,
      final,
      agentCpuNs: BigInt(usage.user + usage.system) * 1000n,
      rssBytes: BigInt(process.memoryUsage.rss()),
    });
    return cpus;
  }

  /**
   * A receiver leaves politely: it gets what the rings hold. The ledger of the last one is closed
   * while nothing moves; for others events go on, so that their totals cannot be compared.
   */
  #close(session: Session): void {
    const { outlet } = session;
    const isLast = this.#sessions.length === 1;
    if (isLast) this.stopEvents();
    // Not through the sink, which has let go of this receiver already.
    for (const [index, ring] of this.rings.entries()) {
      outlet.sendRing(index, ring, ring.ring.head);
    }
    if (isLast) {
      this.#countUnsent(session, "host left");
      this.#sendStats(session, true);
    }
    outlet.send(FrameType.BYE, { reason: ByeReason.DETACHED, exitCode: 0, message: "" });
  }

  #rows(ledger: Ledger, sentOf: (index: number) => number): CpuStats[] {
    return this.rings
      .map((ring, i) => ledger.row(ring, i, sentOf(i), this.sink.releasable(i)))
      .filter((row) => row !== undefined);
  }

  #countUnsent({ outlet, ledger }: Session, place: string): void {
    this.rings.forEach((ring, index) => {
      const start = (): number => outlet.wholeUpTo(index, ring);
      this.#drop(ledger, index, place, this.#counted(ring, start, outlet.positions[index]!));
    });
  }

  /** Counts the samples from `from`, a record's start, to the head as dropped. */
  #drop(ledger: Ledger, index: number, place: string, from: number): void {
    const ring = this.rings[index]!;
    const { head } = ring.ring;
    if (from === head) return;
    const events = this.#counted(ring, () => countSamples(ring.ring, from, head), 0);
    ledger.drop(index, place, events, head - from);
  }

  /** What `count` finds in a ring; `otherwise` when a host has acknowledged half a record. */
  #counted({ cpu }: CpuRing, count: () => number, otherwise: number): number {
    try {
      return count();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.status(`Cannot count drops of CPU ${cpu}: the host acknowledged a part of a record`);
      return otherwise;
    }
  }
}
