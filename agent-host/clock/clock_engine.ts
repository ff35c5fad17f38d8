/**
 * `agent-host clock`: one loop that blocks in poll() over the channels and the wake-up descriptor,
 * keeps their clocks, and shows them: once when they have settled, or again and again (--watch).
 *
 *   clock            until every channel has settled, or --for is over    one picture, at the end
 *   clock --watch    until Ctrl-C, or --for is over                       a picture each second
 */
import { EXIT, type ExitCode } from "../../shared/cli/failure.ts";
import { POLLIN } from "../../shared/sys/abi.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import { PINGS_READY_MIN } from "../align/ping.ts";
import { describeProcess, type Vmm } from "../align/vm_lookup.ts";
import { parsePullTarget } from "../link/pull_target.ts";
import { Source, SourceError } from "../link/source.ts";
import { PATIENCE_MS, unreadyError } from "../link/unready_source.ts";
import { manualOffsetOf, vmPidOf } from "../machines.ts";
import type { ClockOrder } from "../protocol.ts";
import { GuestTime } from "../session/guest_time.ts";
import { HostClock } from "../session/host_clock.ts";
import { TimeLineError } from "../session/time_line.ts";
import { ClockGuest } from "./clock_guest.ts";
import { type ClockPicture, channelPicture, hostPicture } from "./clock_picture.ts";
import { ClockScreen } from "./clock_screen.ts";
import { Settling } from "./settling.ts";

/** Longest wait of the loop: pings and readings of the clock are due by time. */
const POLL_MS_MAX = 20;
/** How long the end waits for the guests' goodbyes. */
const LEAVE_MS_MAX = 500;

interface Channel {
  readonly guest: ClockGuest;
  readonly settling: Settling;
  readonly peer: Vmm | string;
}

/** What the guest's conversions are anchored to: the host's TSC when we began. */
class HostAnchor {
  readonly anchor: bigint;
  constructor(anchor: bigint) {
    this.anchor = anchor;
  }
  setAnchorOnce(): void {}
}

export class ClockEngine {
  readonly #order: ClockOrder;
  readonly #onStatus: (text: string) => void;
  readonly #stop: Int32Array;
  readonly #poll = new PollSet();
  readonly #hostClock: HostClock;
  readonly #hostSettling = new Settling();
  readonly #channels: Channel[] = [];
  readonly #screen: ClockScreen;
  readonly #startMs = performance.now();
  #nextShowMs: number;
  #hasComplained = false;
  #failure: SourceError | undefined;

  /** Connects to every source. Throws typed errors. */
  constructor(order: ClockOrder, onStatus: (text: string) => void) {
    this.#order = order;
    this.#onStatus = onStatus;
    this.#stop = new Int32Array(order.stopFlag);
    this.#screen = new ClockScreen(order.isJson, order.isTerminal && order.watchMs > 0);
    this.#nextShowMs = order.watchMs > 0 ? this.#startMs : Infinity;
    const session = new HostAnchor(readTsc());
    this.#hostClock = new HostClock(session.anchor);
    const vmPid = vmPidOf(order.vm, order.sources.length);
    const manualOffset = manualOffsetOf(order);
    try {
      for (const text of order.sources) {
        const source = new Source(parsePullTarget(text), onStatus);
        if (!source.isFile) onStatus(`Connected to ${source.name}`);
        this.#channels.push(this.#open(source, session, vmPid, manualOffset));
      }
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  #open(
    source: Source,
    session: HostAnchor,
    vmPid: number | undefined,
    manualOffset: bigint | undefined,
  ): Channel {
    const machine = this.#channels.length + 1;
    const time =
      source.isFile && manualOffset === undefined
        ? undefined
        : new GuestTime({
            anchor: session.anchor,
            manualOffset,
            vmPid,
            trustPairs: false,
            source,
            hostClock: this.#hostClock,
            machine,
            onStatus: this.#onStatus,
          });
    const guest = new ClockGuest(session, machine, source, time, this.#order.agentVersion);
    const owner = time?.owner;
    const peer = typeof owner === "number" ? describeProcess(owner) : (owner?.message ?? "");
    return { guest, settling: new Settling(), peer };
  }

  /** Runs to the end. Throws SourceError after the last picture when a source failed. */
  run(): ExitCode {
    try {
      while (!this.#isOver()) {
        this.#round();
        const nowMs = performance.now();
        if (nowMs < this.#nextShowMs || !this.#hostClock.isReady) continue;
        this.#nextShowMs = Math.max(nowMs, this.#nextShowMs + this.#order.watchMs);
        this.#screen.show(this.#picture(nowMs));
      }
      if (this.#hostClock.isReady) this.#screen.show(this.#picture(performance.now()));
      this.#sayGoodbye();
      this.#failure ??= this.#whyUnknown();
      if (this.#failure !== undefined) throw this.#failure;
      if (this.#hostClock.isAtEnd) throw new TimeLineError();
      return EXIT.DONE;
    } finally {
      this.#close();
    }
  }

  get #isStopped(): boolean {
    return Atomics.load(this.#stop, 0) !== 0;
  }

  #isOver(): boolean {
    const { forMs, watchMs } = this.#order;
    if (this.#isStopped || this.#failure !== undefined || this.#hostClock.isAtEnd) return true;
    if (forMs > 0) return performance.now() - this.#startMs >= forMs;
    const hasEnded =
      this.#channels.length > 0 && this.#channels.every(({ guest }) => guest.hasEnded);
    // A recording is read at once: the host's own clock takes longer.
    return this.#hostSettling.isSettled && (hasEnded || (watchMs === 0 && this.#isSettled));
  }

  get #isSettled(): boolean {
    return (
      this.#hostSettling.isSettled &&
      this.#channels.every(({ settling, guest }) => settling.isSettled || guest.hasEnded)
    );
  }

  /** One round: wait, read everything there is, ping, and see who has settled. */
  #round(): void {
    const guests = this.#guests;
    this.#poll.clear();
    this.#poll.add(this.#order.eventFdNumber, POLLIN);
    const slots = guests.map(({ link }) => {
      const { source } = link;
      return source.isFile || source.hasEnded
        ? -1
        : this.#poll.add(source.fd.number, source.pollEvents);
    });
    const hasFiles = guests.some(({ link }) => link.source.isFile && !link.source.hasEnded);
    this.#poll.wait(hasFiles ? 0 : POLL_MS_MAX);
    const nowMs = performance.now();
    this.#hostClock.tick(nowMs);
    guests.forEach((guest, i) => {
      this.#serve(guest, slots[i]!, nowMs);
    });
    this.#note(nowMs);
  }

  get #guests(): ClockGuest[] {
    return this.#channels.map(({ guest }) => guest);
  }

  #serve(guest: ClockGuest, slot: number, nowMs: number): void {
    const { link, conversion } = guest;
    const { source } = link;
    try {
      const isReadable = slot >= 0 && this.#poll.readyEvents(slot) !== 0;
      if (isReadable || (source.isFile && !source.hasEnded)) link.receive(nowMs);
      link.tick(nowMs);
      conversion.time?.tick(link, nowMs);
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      this.#failure ??= error;
      source.hasEnded = true;
    }
  }

  #note(nowMs: number): void {
    const { fit, isReady } = this.#hostClock;
    const host = { method: "host", isReady, boundCycles: fit.boundCycles };
    this.#hostSettling.note(host, nowMs);
    for (const { guest, settling } of this.#channels) {
      const { conversion, hello } = guest;
      const alignment = conversion.time?.alignment;
      // Where round trips can be had, they have to have checked what is in force.
      const isChecked =
        alignment === undefined ||
        hello?.twoWay !== true ||
        alignment.ping.pingCount >= PINGS_READY_MIN;
      const cpu = hello?.cpus[0]?.cpu ?? 0;
      const isKnown = guest.isReady && isChecked;
      const boundCycles = isKnown ? guest.boundOf(cpu) : Infinity;
      settling.note({ method: alignment?.method ?? "", isReady: isKnown, boundCycles }, nowMs);
    }
    this.#complain(nowMs);
  }

  #complain(nowMs: number): void {
    if (this.#hasComplained || nowMs - this.#startMs < PATIENCE_MS) return;
    const silent = this.#guests.find((guest) => !guest.isReady && !guest.hasEnded);
    if (silent === undefined) return;
    this.#hasComplained = true;
    this.#onStatus(`Waiting for ${silent.link.waitingFor} ...`);
  }

  #picture(nowMs: number): ClockPicture {
    const host = hostPicture(this.#hostClock);
    const { tsc, realtimeNs } = this.#hostClock.wall;
    const since = Number(BigInt.asIntN(64, readTsc() - tsc)) * (1e9 / host.tsc.hz);
    return {
      wallNs: realtimeNs + BigInt(Math.round(since)),
      elapsedMs: nowMs - this.#startMs,
      isSettled: this.#isSettled,
      host,
      channels: this.#channels.map(({ guest, settling, peer }) =>
        channelPicture({ guest, peer, isSettled: settling.isSettled }, host.tsc),
      ),
    };
  }

  /** The first channel whose clock is not known in the end: not what was asked for. */
  #whyUnknown(): SourceError | undefined {
    if (this.#isStopped) return undefined;
    const unknown = this.#guests.find((guest) => !guest.isReady);
    if (unknown === undefined) return undefined;
    return unreadyError("tell the clock of", unknown.link, this.#startMs);
  }

  /** Tells live guests that we leave, and reads on until they have said goodbye. */
  #sayGoodbye(): void {
    const live = this.#guests.filter(({ link, hasEnded }) => {
      return !link.source.isFile && link.isStreaming && !hasEnded;
    });
    for (const { link } of live) link.leave();
    const deadlineMs = performance.now() + LEAVE_MS_MAX;
    while (live.some((guest) => !guest.hasEnded) && performance.now() < deadlineMs) {
      this.#poll.clear();
      for (const { link } of live) {
        const { source } = link;
        if (!source.hasEnded) this.#poll.add(source.fd.number, source.pollEvents);
      }
      this.#poll.wait(POLL_MS_MAX);
      for (const { link } of live) {
        if (!link.source.hasEnded) this.#receiveLast(link);
      }
    }
  }

  /** After our goodbye the peer's closing its end is no error any more. */
  #receiveLast(link: ClockGuest["link"]): void {
    try {
      link.source.flush();
      link.receive(performance.now());
    } catch (error) {
      if (!(error instanceof SourceError)) throw error;
      link.source.hasEnded = true;
    }
  }

  #close(): void {
    for (const { guest } of this.#channels) guest.close();
    this.#poll.close();
  }
}
