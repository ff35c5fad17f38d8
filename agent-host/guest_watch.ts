/**
 * What becomes of a run when one of its guests fails, is silent, slow, greedy or hostile: the
 * others go on, with the results that they would have had without it.
 *
 *   a source fails                    it is dropped and told at once; exit code 4 at the end, and
 *                                     the end comes when no guest is left
 *   is not ready while others are     after READY_MS_MAX the run begins without it; it takes part
 *                                     from when it is ready, and exit code 4 if it never is
 *   does not say how far it is, or    after STALL_MS_MAX nobody waits for it: what it sends then
 *   is that far behind                comes late, and is counted so
 *   sends more than is used up        it is not read beyond its share of the memory: the pressure
 *                                     travels back into its own rings
 *   leads into a bug of ours          as a source that fails, with exit code 70
 *   breaks the protocol               each kind of it is told once, when it is first seen
 */
import { BugError, failureOf, formatFailure, isUnforeseen } from "../shared/cli/failure.ts";
import { OutputClosedError } from "../shared/cli/output.ts";
import { readTsc } from "../shared/sys/clock.ts";
import { SourceError } from "./link/source.ts";
import { PATIENCE_MS, unreadyError } from "./link/unready_source.ts";
import type { Machines } from "./machines.ts";
import type { Guest } from "./session/guest.ts";
import { breakStreams } from "./session/guest_streams.ts";
import { machineName } from "./session/machine_name.ts";
import type { Session } from "./session/session.ts";
import { FaultLog } from "./session/session_faults.ts";

/** How long events of others wait for a guest that does not say how far it is. */
export const STALL_MS_MAX = 5000;
/** A guest that has not been heard for this long is called silent rather than behind. */
const SILENT_MS_MIN = 1000;
/** How long guests that are ready wait for one that is not. */
export const READY_MS_MAX = 10_000;
/** How often guests are looked at for what they did wrong. */
const FAULTS_MS = 1000;
/** Of the pool: what all guests together may have waiting, each its part of it. */
const SHARED_POOL = 0.75;

export class GuestWatch {
  /** The first failure, or a bug of ours: it decides the exit code, after the results. */
  failure: SourceError | BugError | undefined;
  readonly #machines: Machines;
  readonly #session: Session;
  readonly #joinsLater: boolean;
  readonly #onStatus: (text: string) => void;
  readonly #stalled = new Set<Guest>();
  readonly #broken = new Set<Guest>();
  /** Those whose stream has ended without a goodbye. */
  readonly #cut = new Set<Guest>();
  /** Those that the run has begun without, and since when they send. */
  readonly #late = new Map<Guest, number>();
  readonly #faults = new FaultLog();
  readonly #startMs = performance.now();
  #readySinceMs: number | undefined;
  #hasComplained = false;
  #nextFaultsMs = 0;

  /** `joinsLater`: a guest that is not ready when the others are may take part later. */
  constructor(
    machines: Machines,
    session: Session,
    joinsLater: boolean,
    onStatus: (text: string) => void,
  ) {
    this.#machines = machines;
    this.#joinsLater = joinsLater;
    this.#session = session;
    this.#onStatus = onStatus;
  }

  /**
   * A source has failed: goes on without it as long as there is another guest. Before there are
   * results (`hasResults`) a failure that leaves nobody is thrown.
   */
  drop(guest: Guest, error: SourceError | BugError, hasResults: boolean): void {
    const others = this.#machines.guests.filter((other) => other !== guest && !other.hasEnded);
    if (others.length === 0 && !hasResults) throw error;
    guest.link.source.abandon();
    if (error instanceof BugError) this.failure = error;
    else this.failure ??= error;
    if (others.length === 0) return;
    this.#onStatus(formatFailure("agent-host", failureOf(error)).trimEnd());
    this.#onStatus(`Going on without ${guest.link.source.name}`);
  }

  /**
   * Serving a guest has thrown `error`, and there are results. What we did not foresee costs that
   * guest only: it is told as the bug that it is, and the guest not touched again. What is no
   * guest's doing, as a full disk, is thrown.
   */
  onError(guest: Guest, error: unknown): void {
    if (error instanceof SourceError) {
      this.drop(guest, error, true);
      return;
    }
    if (error instanceof OutputClosedError || !isUnforeseen(error)) throw error;
    this.#broken.add(guest);
    this.drop(guest, new BugError(`Cannot go on with ${guest.link.source.name}`, error), true);
  }

  /** We have a bug that its stream leads into. */
  isBroken(guest: Guest): boolean {
    return this.#broken.has(guest);
  }

  /**
   * Every guest has said what it sends, and every clock is known, but for those that the others
   * have waited long enough for. Throws SourceError when nobody is left.
   */
  isReady(nowMs: number): boolean {
    const { guests, hostClock } = this.#machines;
    const living = guests.filter((guest) => !guest.hasEnded || guest.isReady);
    const missing = living.filter((guest) => !guest.isReady && !this.#late.has(guest));
    const ended = guests.find((guest) => guest.hasEnded && !guest.isReady);
    if (ended !== undefined && !ended.link.source.isAbandoned) {
      const { name } = ended.link.source;
      const error = new SourceError(`Cannot use ${name}: it ended before its clock was known`);
      if (ended.link.source.isFile) throw error;
      this.drop(ended, error, false);
    }
    if (missing.length > 0 && missing.length < living.length) {
      this.#readySinceMs ??= nowMs;
      const isOver = nowMs - this.#readySinceMs > READY_MS_MAX;
      if (isOver) for (const guest of missing) this.#leaveBehind(guest);
    }
    const isHostReady = hostClock === undefined || hostClock.isReady;
    if (missing.length === 0 && isHostReady) return true;
    this.#complain(missing[0]);
    return false;
  }

  /**
   * Begins without a guest of which nothing has come. One that sends, and is not ready, costs time
   * and memory for what cannot be understood: it is dropped.
   */
  #leaveBehind(guest: Guest): void {
    const { source, waitingFor } = guest.link;
    if (source.bytesRead > 0 || !this.#joinsLater) {
      this.#giveUp(guest);
      return;
    }
    this.#late.set(guest, Infinity);
    this.#onStatus(`Going on without ${source.name} until it is ready: waiting for ${waitingFor}`);
  }

  #giveUp(guest: Guest): void {
    const { source, waitingFor } = guest.link;
    const message = `Cannot use ${source.name}: the others have waited long enough for ${waitingFor}`;
    this.drop(guest, new SourceError(message), false);
  }

  /** The run has begun without it, and it is not ready. */
  isLate(guest: Guest): boolean {
    return this.#late.has(guest);
  }

  /** Takes in guests that are ready now; drops those that send and do not get ready. */
  admit(nowMs: number): void {
    for (const [guest, sendsMs] of this.#late) {
      const { link, hasEnded, isReady, progressCycles } = guest;
      if (hasEnded) this.#late.delete(guest);
      else if (isReady && progressCycles !== -Infinity) {
        this.#late.delete(guest);
        this.#onStatus(`${link.source.name} is ready: its events are seen from now on`);
      } else if (sendsMs === Infinity && link.source.bytesRead > 0) {
        this.#late.set(guest, nowMs);
      } else if (nowMs - sendsMs > READY_MS_MAX) {
        this.#late.delete(guest);
        this.#giveUp(guest);
      }
    }
  }

  /** It was stopped before it began: a guest that was still waited for is why nothing is known. */
  giveUpWaiting(): void {
    const missing = this.#machines.guests.find((guest) => !guest.isReady);
    if (missing === undefined) return;
    this.failure ??= unreadyError("pull from", missing.link, this.#startMs);
  }

  /** The run is over: that a guest never took part is a failure. */
  close(): void {
    for (const { link } of this.#late.keys()) {
      const message = `Cannot use ${link.source.name}: it never got ready, nothing of it was seen`;
      this.failure ??= new SourceError(message);
    }
  }

  #complain(missing: Guest | undefined): void {
    if (this.#hasComplained || performance.now() - this.#startMs < PATIENCE_MS) return;
    this.#hasComplained = true;
    this.#onStatus(`Waiting for ${missing?.link.waitingFor ?? "the host's clock"} ...`);
  }

  /**
   * While memory is short nothing more is read, and the pressure travels back to the guest. Not so
   * before a guest's clock is known: it lies behind what would not be read.
   */
  mayRead(guest: Guest): boolean {
    if (guest.link.source.hasEnded || guest.link.isThrottled) return false;
    if (!guest.isReady) return true;
    return this.#session.hasRoom && !this.#isGreedy(guest);
  }

  /** A live guest that fills more than its part of the memory, and for whom nobody waits. */
  #isGreedy(guest: Guest): boolean {
    const live = this.#machines.guests.filter((other) => {
      return !other.link.source.isFile && !other.hasEnded && !this.#late.has(other);
    });
    if (live.length < 2 || guest.link.source.isFile) return false;
    const { merger, pool } = this.#session;
    const share = Math.floor((pool.capacity * SHARED_POOL) / live.length);
    if (merger.queuedChunks(guest.rings.mergerSource) < share) return false;
    // Whom the others wait for is read on: what they wait for lies in front of it.
    return live.some((other) => !other.isIdle && other.progressCycles < guest.progressCycles);
  }

  /** Decides for whom the merger waits: nobody waits long for a guest that is silent or behind. */
  setAwaited(): void {
    this.noteCuts();
    const nowMs = performance.now();
    for (const guest of this.#machines.guests) this.#setAwaited(guest, nowMs);
  }

  /** Of a stream that was cut off the end is missing: told before what came of it is used up. */
  noteCuts(): void {
    for (const guest of this.#machines.guests) {
      const { source, bye } = guest.link;
      if (!source.hasEnded || bye !== undefined || this.#cut.has(guest)) continue;
      this.#cut.add(guest);
      breakStreams(guest);
    }
  }

  #setAwaited(guest: Guest, nowMs: number): void {
    // What it sent and has not been decoded by now would keep others' memory to the end.
    if (guest.link.source.isAbandoned) guest.rings.discardUndecoded();
    const { merger } = this.#session;
    const { mergerSource } = guest.rings;
    if (this.#late.has(guest)) {
      merger.closeSource(mergerSource);
      return;
    }
    const silentMs = guest.stalledMs(nowMs);
    const isStalled = Math.max(silentMs, this.#behindMs(guest)) > STALL_MS_MAX;
    if (guest.hasEnded || isStalled || guest.isIdle) merger.closeSource(mergerSource);
    else merger.reopenSource(mergerSource);
    if (guest.hasEnded || isStalled === this.#stalled.has(guest)) return;
    const { name } = guest.link.source;
    if (isStalled) this.#stalled.add(guest);
    else this.#stalled.delete(guest);
    const why =
      silentMs > SILENT_MS_MIN
        ? "is silent: going on without it until it returns"
        : "is far behind: going on without it until it has caught up";
    this.#onStatus(`${name} ${isStalled ? why : "is back"}`);
  }

  /** How far what a live guest has sent lies in the past: it may be a little further each time. */
  #behindMs({ link, progressCycles, isFlight }: Guest): number {
    if (isFlight) return 0;
    const hz = this.#machines.hostClock?.frequency?.hz;
    if (hz === undefined || link.source.isFile || progressCycles === -Infinity) return 0;
    const present = Number(BigInt.asIntN(64, readTsc() - this.#session.anchor));
    return ((present - progressCycles) * 1000) / hz;
  }

  /** Tells of each kind of fault when it is first seen; how many there were is told at the end. */
  tellFaults(nowMs: number): void {
    if (nowMs < this.#nextFaultsMs) return;
    this.#nextFaultsMs = nowMs + FAULTS_MS;
    for (const guest of this.#machines.guests) {
      const news = this.#faults.news(guest);
      if (news === "") continue;
      this.#onStatus(`WARNING: ${machineName(guest.machine)} sends what it should not: ${news}`);
    }
  }
}
