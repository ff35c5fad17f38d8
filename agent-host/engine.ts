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
import { PollSet } from "../shared/sys/poll.ts";
import type { Consumer } from "./consumer.ts";
import { SourceError } from "./link/source.ts";
import { type Machines, openMachines } from "./machines.ts";
import type { EngineOrder } from "./protocol.ts";
import { Report } from "./results.ts";
import type { Guest } from "./session/guest.ts";
import { Session } from "./session/session.ts";

/** Longest wait of the loop: acknowledgements, pings and readings of the clock are due by time. */
const POLL_MS_MAX = 20;
/** How long the end waits for the guests' last words. */
const LEAVE_MS_MAX = 2000;
/** A wait longer than this is told to the user, once. */
const PATIENCE_MS = 2000;

export class Engine {
  readonly #order: EngineOrder;
  readonly #onStatus: (text: string) => void;
  readonly #stop: Int32Array;
  readonly #poll = new PollSet();
  readonly #session: Session;
  readonly #machines: Machines;
  readonly #report: Report;
  #consumer: Consumer | undefined;
  #startMs = performance.now();
  #hasComplained = false;

  /** Connects and opens everything. Throws typed errors. */
  constructor(order: EngineOrder, onStatus: (text: string) => void) {
    this.#order = order;
    this.#onStatus = onStatus;
    this.#stop = new Int32Array(order.stopFlag);
    this.#session = new Session(order.key, (chunk, from, to) =>
      this.#consumer?.run(chunk, from, to),
    );
    this.#machines = openMachines(order, this.#session, onStatus);
    this.#report = new Report(order, this.#session, this.#machines);
  }

  run(): ExitCode {
    try {
      while (!this.#isStopped && !this.#isReady()) this.#round();
      if (this.#isReady()) this.#begin();
      while (!this.#isStopped && this.#consumer?.isDone !== true && !this.#isExhausted()) {
        this.#round();
        this.#release();
      }
      return this.#finish();
    } finally {
      this.#machines.close();
      this.#poll.close();
    }
  }

  get #isStopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  /** Every guest has said what it sends, and every clock is known. */
  #isReady(): boolean {
    const { guests, hostClock } = this.#machines;
    const missing = guests.find((guest) => !guest.isReady);
    if (missing === undefined && (hostClock === undefined || hostClock.isReady)) return true;
    if (missing?.link.source.hasEnded === true) {
      throw new SourceError(
        `Cannot use ${missing.link.source.name}: it ended before its clock was known`,
      );
    }
    this.#complain(missing);
    return false;
  }

  #complain(missing: Guest | undefined): void {
    if (this.#hasComplained || performance.now() - this.#startMs < PATIENCE_MS) return;
    this.#hasComplained = true;
    const name = missing?.link.source.name ?? "the host's clock";
    const what =
      missing === undefined || missing.link.isStreaming
        ? `Waiting for the clock of ${name} ...`
        : `Waiting for agent-guest behind ${name} ... (it is connected, and nothing answers yet)`;
    this.#onStatus(what);
  }

  #begin(): void {
    this.#machines.checkTimeLine();
    this.#consumer = this.#report.consumer();
    this.#machines.local?.start();
    if (this.#machines.guests.some(({ link }) => !link.source.isFile)) this.#onStatus("Tracing");
  }

  /** One round: wait, read everything there is, decode. */
  #round(): void {
    const { guests, local, hostClock } = this.#machines;
    const hasFiles = guests.some(({ link }) => link.source.isFile && !link.source.hasEnded);
    this.#poll.clear();
    this.#poll.add(this.#order.eventFdNumber, POLLIN);
    const slots = guests.map((guest) => this.#register(guest));
    local?.register(this.#poll);
    this.#poll.wait(hasFiles && this.#session.hasRoom ? 0 : POLL_MS_MAX);
    const nowMs = performance.now();
    hostClock?.tick(nowMs);
    guests.forEach((guest, i) => {
      this.#serve(guest, slots[i]!, nowMs);
    });
    local?.drain(nowMs);
    for (const guest of guests) guest.settle();
  }

  #register({ link }: Guest): number {
    const { source } = link;
    if (source.isFile || source.hasEnded || !this.#session.hasRoom) return -1;
    return this.#poll.add(source.fd.number, source.pollEvents);
  }

  #serve(guest: Guest, slot: number, nowMs: number): void {
    const { link } = guest;
    const isReadable = slot >= 0 && this.#poll.readyEvents(slot) !== 0;
    const isFileDue = link.source.isFile && !link.source.hasEnded && this.#session.hasRoom;
    if (isReadable || (isFileDue && !this.#isAhead(guest))) link.receive(nowMs);
    link.tick(nowMs);
    this.#machines.tick(guest, nowMs);
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
    for (const guest of this.#machines.guests) {
      if (guest.hasEnded) merger.closeSource(guest.rings.mergerSource);
    }
    merger.release();
    const watermark = merger.watermarkCycles();
    if (Number.isFinite(watermark)) this.#consumer?.tick(watermark);
  }

  /** Nothing will ever come: every guest has ended, and the host samples nothing. */
  #isExhausted(): boolean {
    const { guests, local } = this.#machines;
    return local === undefined && guests.every((guest) => guest.hasEnded);
  }

  #finish(): ExitCode {
    const { guests, local } = this.#machines;
    local?.stop();
    this.#sayGoodbye();
    local?.drain(performance.now());
    for (const guest of guests) guest.settle();
    if (this.#consumer === undefined) return EXIT.DONE;
    if (!this.#consumer.isDone) this.#session.merger.flush();
    this.#consumer.finish();
    this.#report.finish();
    for (const { link } of guests) {
      if (!link.source.isFile) this.#onStatus(`Disconnect from ${link.source.name}`);
    }
    return this.#consumer.hasCrossed ? EXIT.THRESHOLD : EXIT.DONE;
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
        link.source.hasEnded ? -1 : this.#poll.add(link.source.fd.number, POLLIN),
      );
      this.#poll.wait(POLL_MS_MAX);
      live.forEach((guest, i) => {
        if (slots[i]! >= 0 && this.#poll.readyEvents(slots[i]!) !== 0) {
          guest.receiveLast(performance.now());
        }
        guest.settle();
      });
      if (!this.#session.hasRoom) this.#session.merger.forceRelease(0);
    }
  }
}
