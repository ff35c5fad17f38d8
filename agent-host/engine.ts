/**
 * The engine: one loop that blocks in poll() over host rings, guests and the wake-up descriptor,
 * moves what came through the pipeline, and lets the command's consumer have it in time order.
 *
 *   host rings --\                                   /-- trace: lines
 *                 >-- decode -- merge by watermark --<
 *   guests ------/                                   \-- multi-trace: tables
 */
import { EXIT, type ExitCode } from "../shared/cli/failure.ts";
import { POLLIN } from "../shared/sys/abi.ts";
import { Garbage } from "../shared/sys/garbage.ts";
import { PollSet } from "../shared/sys/poll.ts";
import type { Consumer } from "./consumer.ts";
import { GuestWatch } from "./guest_watch.ts";
import { DUMP_HINT } from "./link/dump_state.ts";
import { SourceError } from "./link/source.ts";
import { type Machines, openMachines } from "./machines.ts";
import { pairingHints } from "./pairing_hints.ts";
import { defaultKeyOf, type EngineOrder } from "./protocol.ts";
import { Report } from "./results.ts";
import { ResumeKeeper } from "./resume_keeper.ts";
import type { Guest } from "./session/guest.ts";
import { machineName } from "./session/machine_name.ts";
import { Session } from "./session/session.ts";
import { TimeLineError } from "./session/time_line.ts";

/** Longest wait of the loop: acknowledgements, pings and readings of the clock are due by time. */
const POLL_MS_MAX = 20;
/** Growth of the process that is worth a collection. */
const GARBAGE_BYTES = 16 * 1024 * 1024;
/** How long the end waits for the names of frames. */
const NAMES_MS_MAX = 1000;
/** How long the end waits for the guests' last words. */
const LEAVE_MS_MAX = 2000;
/** More events than these take the kernel noticeable time to close. */
const EVENTS_CLOSED_SOON = 64;
/** How often the user is told how far recordings have been read. */
const PROGRESS_MS = 2000;

export class Engine {
  readonly #order: EngineOrder;
  readonly #onStatus: (text: string) => void;
  readonly #stop: Int32Array;
  readonly #poll = new PollSet();
  readonly #garbage = new Garbage(GARBAGE_BYTES);
  readonly #session: Session;
  readonly #machines: Machines;
  readonly #report: Report;
  readonly #watch: GuestWatch;
  readonly #resume: ResumeKeeper | undefined;
  #consumer: Consumer | undefined;
  #nextProgressMs = 0;

  /** Connects and opens everything. Throws typed errors. */
  constructor(order: EngineOrder, onStatus: (text: string) => void) {
    this.#order = order;
    this.#onStatus = onStatus;
    this.#stop = new Int32Array(order.stopFlag);
    this.#session = new Session(defaultKeyOf(order));
    this.#machines = openMachines(order, this.#session, onStatus);
    this.#report = new Report(order, this.#session, this.#machines);
    const { resume, guests } = this.#machines;
    const wallNsOf = (cycles: number): bigint | undefined => this.#report.wallNs(cycles);
    const writeOut = (): void => this.#report.flush();
    this.#resume = resume && new ResumeKeeper(resume, guests, wallNsOf, writeOut);
    // A dump is asked of those that are there, and what --resume goes on with has to be there.
    const joinsLater = order.command !== "dump" && resume === undefined;
    this.#watch = new GuestWatch(this.#machines, this.#session, joinsLater, onStatus);
  }

  /** Runs to the end. Throws SourceError after the results when a source failed in mid-run. */
  run(): ExitCode {
    try {
      const isReady = (): boolean => this.#watch.isReady(performance.now());
      while (!this.#isStopped && !this.#isTimeUp && !isReady()) this.#round();
      if (isReady()) this.#begin();
      while (!this.#isStopped && !this.#isTimeUp && !this.#isDone() && !this.#isExhausted()) {
        this.#round();
        this.#release();
        this.#resume?.commit(performance.now());
        this.#watch.tellFaults(performance.now());
        this.#tellProgress();
      }
      const exitCode = this.#finish();
      if (this.#watch.failure !== undefined) throw this.#watch.failure;
      if (this.#isTimeUp) throw new TimeLineError();
      return exitCode;
    } finally {
      this.#close();
    }
  }

  #close(): void {
    const events = this.#machines.local?.events.length ?? 0;
    // The kernel waits for a grace period per tracepoint: several seconds for syscalls:*.
    if (events > EVENTS_CLOSED_SOON) this.#onStatus(`Closing ${events} events ...`);
    this.#machines.close();
    this.#poll.close();
  }

  get #isStopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  get #isTimeUp(): boolean {
    return this.#machines.hostClock?.isAtEnd === true;
  }

  /** How far recordings have been read, every PROGRESS_MS. Live guests show themselves. */
  #tellProgress(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextProgressMs) return;
    this.#nextProgressMs = nowMs + PROGRESS_MS;
    for (const { link } of this.#machines.guests) {
      const { isFile, hasEnded, name, bytesRead, fileBytes } = link.source;
      if (!isFile || hasEnded || bytesRead > fileBytes) continue;
      const percent = Math.floor((100 * bytesRead) / Math.max(1, fileBytes));
      this.#onStatus(`Reading ${name}: ${percent} %`);
    }
  }

  #begin(): void {
    this.#nextProgressMs = performance.now() + PROGRESS_MS;
    this.#machines.checkTimeLine();
    const { list } = this.#session.events;
    for (const hint of pairingHints(this.#order, list)) this.#onStatus(hint);
    const consumer = this.#report.consumer();
    this.#resume?.begin();
    consumer.prepare();
    this.#consumer = consumer;
    this.#session.sink = (chunk, from, to) => consumer.run(chunk, from, to);
    const { local, guests } = this.#machines;
    local?.start();
    if (this.#order.command === "dump") this.#askForDumps();
    const isLive = local !== undefined || guests.some(({ link }) => !link.source.isFile);
    if (isLive) this.#onStatus("Tracing");
  }

  /** One round: wait, read everything there is, decode. */
  #round(): void {
    const { guests, local, hostClock } = this.#machines;
    // Files are always there to be read, and so is what a turn has left in a decoder.
    const hasWork = guests.some(({ link }, i) => {
      return (link.source.isFile || link.hasBacklog) && this.#watch.mayRead(guests[i]!);
    });
    this.#poll.clear();
    this.#poll.add(this.#order.eventFdNumber, POLLIN);
    const slots = guests.map((guest) => this.#register(guest));
    local?.register(this.#poll);
    this.#poll.wait(hasWork ? 0 : POLL_MS_MAX);
    local?.noteHangUps(this.#poll);
    const nowMs = performance.now();
    this.#garbage.tick(nowMs);
    hostClock?.tick(nowMs);
    guests.forEach((guest, i) => {
      this.#serve(guest, slots[i]!, nowMs);
    });
    local?.drain(nowMs);
    for (const guest of guests) this.#settle(guest);
  }

  #register(guest: Guest): number {
    const { source } = guest.link;
    if (source.isFile || !this.#watch.mayRead(guest)) return -1;
    return this.#poll.add(source.fd.number, source.pollEvents);
  }

  #serve(guest: Guest, slot: number, nowMs: number): void {
    if (this.#watch.isBroken(guest)) return;
    const { link } = guest;
    const isReadable = slot >= 0 && this.#poll.readyEvents(slot) !== 0;
    const isFileDue = link.source.isFile && this.#watch.mayRead(guest) && !this.#isAhead(guest);
    const isLeftOver = link.hasBacklog && this.#watch.mayRead(guest);
    try {
      if (isReadable || isFileDue || isLeftOver) link.receive(nowMs);
      link.tick(nowMs);
      this.#machines.tick(guest, nowMs);
    } catch (error) {
      this.#onError(guest, error);
    }
  }

  #settle(guest: Guest): void {
    if (this.#watch.isBroken(guest)) return;
    try {
      guest.settle();
    } catch (error) {
      this.#onError(guest, error);
    }
  }

  #onError(guest: Guest, error: unknown): void {
    if (this.#consumer !== undefined) {
      this.#watch.onError(guest, error);
      return;
    }
    // Recordings stand still: what is wrong with one is better mended before there are results.
    if (!(error instanceof SourceError) || guest.link.source.isFile) throw error;
    this.#watch.drop(guest, error, false);
  }

  /** Another file is further back: reading this one would only fill the pool. */
  #isAhead(guest: Guest): boolean {
    return this.#machines.guests.some(
      (other) =>
        other !== guest &&
        other.link.source.isFile &&
        !other.link.source.hasEnded &&
        other.progressCycles < guest.progressCycles,
    );
  }

  /** Hands the merged events on, and lets ended sources hold nobody up. */
  #release(): void {
    const { merger } = this.#session;
    this.#watch.admit(performance.now());
    this.#watch.setAwaited();
    this.#report.admitEvents();
    this.#consumer?.prepare();
    this.#report.display?.renew(merger.frontierCycles);
    merger.release();
    // Somebody is so far behind that nothing could be read any more: go on without him.
    if (!this.#session.hasRoom) merger.forceRelease(this.#session.pool.capacity >>> 1);
    const watermark = merger.watermarkCycles();
    // With nobody to wait for, time is where the last event was.
    const cycles = watermark === Infinity ? merger.frontierCycles : watermark;
    if (Number.isFinite(cycles)) this.#consumer?.tick(cycles);
  }

  /** It has seen what it was asked for. */
  #isDone(): boolean {
    if (this.#consumer?.isDone === true) return true;
    if (this.#order.command !== "dump") return false;
    return this.#machines.guests.every(({ link: { dump } }) => !dump.isExpected);
  }

  /** Asks the flight recorders for what they hold. Throws SourceError for a guest that is none. */
  #askForDumps(): void {
    const other = this.#machines.guests.find((guest) => !guest.isFlight);
    if (other !== undefined) {
      throw new SourceError(
        `Cannot dump ${other.link.source.name}: it sends its events as they happen`,
        DUMP_HINT,
      );
    }
    for (const { link } of this.#machines.guests) link.dump.ask(performance.now());
  }

  /** A dump that was asked for is waited for, as long as a goodbye is. */
  #awaitDumps(): void {
    const deadlineMs = performance.now() + LEAVE_MS_MAX;
    const isWaiting = (): boolean =>
      this.#machines.guests.some(({ link, hasEnded }) => link.dump.isExpected && !hasEnded);
    while (isWaiting() && performance.now() < deadlineMs) {
      this.#round();
      this.#release();
    }
  }

  /** Nothing will ever come: every guest has ended, and the host's task or there is none. */
  #isExhausted(): boolean {
    const { guests, local } = this.#machines;
    if (!guests.every((guest) => guest.hasEnded || this.#watch.isLate(guest))) return false;
    return this.#watch.failure !== undefined || (local?.hasEnded ?? true);
  }

  #finish(): ExitCode {
    const { guests } = this.#machines;
    if (this.#consumer !== undefined) this.#watch.close();
    this.#machines.local?.stop();
    if (this.#consumer !== undefined) this.#awaitDumps();
    if (this.#consumer?.isDone === false) this.#awaitNames();
    this.#sayGoodbye();
    this.#drainLocal();
    for (const guest of guests) this.#settle(guest);
    this.#watch.noteCuts();
    if (this.#consumer === undefined) {
      this.#watch.giveUpWaiting();
      return EXIT.DONE;
    }
    this.#consumer.prepare();
    if (!this.#consumer.isDone) this.#session.merger.flush();
    this.#consumer.finish();
    const verdict = this.#report.finish();
    for (const { link } of guests) {
      if (!link.source.isFile) this.#onStatus(`Disconnect from ${link.source.name}`);
      this.#watch.failure ??= link.truncation;
    }
    this.#resume?.end(this.#watch.failure !== undefined, this.#onStatus);
    if (verdict.state === "unbalanced") {
      const isOurs = verdict.unaccounted.every(({ row }) => row.machine === machineName(0));
      return isOurs ? EXIT.FAILED : EXIT.SOURCE;
    }
    return this.#consumer.hasCrossed ? EXIT.THRESHOLD : EXIT.DONE;
  }

  /** Takes what the host's rings still hold, all of it: the ledger counts on that. */
  #drainLocal(): void {
    const { local } = this.#machines;
    while (local?.drain(performance.now()) === false) this.#session.merger.forceRelease(0);
  }

  /** Frames that were met last are named too: once the guests have been left nobody answers. */
  #awaitNames(): void {
    const { guests } = this.#machines;
    const deadlineMs = performance.now() + NAMES_MS_MAX;
    const isWaiting = (): boolean =>
      guests.some((guest) => !guest.hasEnded && guest.symbols.isWaiting);
    while (this.#watch.failure === undefined && isWaiting() && performance.now() < deadlineMs) {
      this.#round();
    }
  }

  /** Tells live guests that we leave, and takes what they still have to say. */
  #sayGoodbye(): void {
    const live = this.#machines.guests.filter(({ link, hasEnded }) => {
      return !link.source.isFile && link.isStreaming && !hasEnded;
    });
    for (const { link } of live) link.leave();
    const deadlineMs = performance.now() + LEAVE_MS_MAX;
    const isWaiting = (): boolean => live.some((guest) => !guest.hasEnded);
    while (isWaiting() && performance.now() < deadlineMs) {
      this.#poll.clear();
      const slots = live.map(({ link }) =>
        link.source.hasEnded ? -1 : this.#poll.add(link.source.fd.number, link.source.pollEvents),
      );
      this.#poll.wait(live.some(({ link }) => link.hasBacklog) ? 0 : POLL_MS_MAX);
      live.forEach((guest, i) => {
        const isReadable = slots[i]! >= 0 && this.#poll.readyEvents(slots[i]!) !== 0;
        this.#serveLast(guest, isReadable || guest.link.hasBacklog);
        this.#settle(guest);
      });
      if (!this.#session.hasRoom) this.#session.merger.forceRelease(0);
    }
  }

  /** Writes and reads after we said goodbye: the peer closing its end is no error any more. */
  #serveLast(guest: Guest, isDue: boolean): void {
    const { link } = guest;
    try {
      link.source.flush();
      if (isDue) link.receive(performance.now());
    } catch (error) {
      if (!(error instanceof SourceError)) {
        this.#onError(guest, error);
        return;
      }
      if (!link.source.hasEnded) this.#watch.failure ??= error;
      link.source.hasEnded = true;
    }
  }
}
