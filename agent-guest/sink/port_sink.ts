/**
 * push=/dev/...: a character device, usually a virtio-serial port. Two-way: see acked_link.ts.
 *
 * While the host side of a port is closed, poll() reports POLLHUP at once and read() gives 0: a
 * loop that waited on it would spin. So the port then leaves the poll set, and a timer looks at it.
 */
import {
  O_NOCTTY,
  O_NONBLOCK,
  O_RDWR,
  POLLERR,
  POLLHUP,
  POLLIN,
  POLLOUT,
} from "../../shared/sys/abi.ts";
import { EIO, ENODEV, ENXIO, SysError } from "../../shared/sys/errno.ts";
import { type Fd, openFile } from "../../shared/sys/fd.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import { AckedLink } from "./acked_link.ts";
import { Outlet } from "./outlet.ts";
import type { PeerReader } from "./peer_reader.ts";
import type { Sink, SinkHost } from "./sink.ts";

/** How often a port without a host is looked at. */
const ABSENT_CHECK_MS = 100;
/** The port is gone for good: unplugged, or a terminal that was hung up. */
const GONE = [ENODEV, EIO, ENXIO];

function openPort(path: string): Fd {
  try {
    return openFile(path, O_RDWR | O_NONBLOCK | O_NOCTTY);
  } catch (error) {
    if (!(error instanceof SysError)) throw error;
    const isBusy = error.code === "EBUSY" || error.code === "EMFILE";
    if (!isBusy) throw error;
    const hint = "a virtio port has one opener: stop the other program (fuser -v shows it)";
    throw new SysError(`open "${path}"`, error.errno, hint);
  }
}

export class PortSink implements Sink {
  readonly name: string;
  readonly #host: SinkHost;
  readonly #link: AckedLink;
  readonly #outlet: Outlet;
  readonly #reader: PeerReader;
  readonly #probe = new PollSet();
  #isPresent = false;
  /** A terminal's other end has gone for good: reading gives 0, as of a port without a host. */
  #hasHungUp = false;
  #slot = -1;
  #nextCheckMs = 0;

  /** Throws SysError: ENOENT, EBUSY when another program has the port open. */
  constructor(path: string, host: SinkHost) {
    this.name = `"${path}"`;
    this.#host = host;
    this.#link = new AckedLink(host);
    const options = { isStaged: true, hasChecksums: false };
    this.#outlet = new Outlet(openPort(path), this.name, host.rings.length, options);
    this.#reader = this.#link.readerFor(this.#outlet);
  }

  get outlets(): readonly Outlet[] {
    return this.#link.outlet === undefined ? [] : [this.#link.outlet];
  }

  get wantsEvents(): boolean {
    return this.#link.isExpected;
  }

  register(poll: PollSet): void {
    this.#slot = -1;
    if (!this.#isPresent) this.#checkPresence();
    if (!this.#isPresent) return;
    const events = this.#outlet.isBlocked ? POLLIN | POLLOUT : POLLIN;
    this.#slot = poll.add(this.#outlet.fd.number, events);
  }

  service(poll: PollSet): void {
    if (this.#slot < 0) return;
    const ready = poll.readyEvents(this.#slot);
    this.#hasHungUp ||= (ready & POLLERR) !== 0;
    if ((ready & ~POLLOUT) !== 0) this.#reader.read(this.#outlet.fd);
    if ((ready & POLLOUT) !== 0) this.#outlet.flush();
    if ((ready & POLLHUP) !== 0 || this.#link.hasEnded) this.#onAbsent();
  }

  send(): void {
    this.#link.send();
  }

  releasable(index: number): number {
    return this.#link.releasable(index);
  }

  get isDrained(): boolean {
    return this.#link.isDrained;
  }

  get failure(): Error | undefined {
    const { failure } = this.#outlet;
    const endErrno = this.#hasHungUp ? EIO : this.#link.endErrno;
    const errno = failure instanceof SysError ? failure.errno : endErrno;
    if (!GONE.includes(errno)) return failure;
    return new SysError(`use ${this.name}`, errno, "the port was unplugged");
  }

  close(): void {
    this.#outlet.close();
    this.#reader.close();
    this.#probe.close();
  }

  #checkPresence(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextCheckMs) return;
    this.#nextCheckMs = nowMs + ABSENT_CHECK_MS;
    this.#probe.clear();
    const slot = this.#probe.add(this.#outlet.fd.number, POLLIN);
    this.#probe.wait(0);
    const ready = this.#probe.readyEvents(slot);
    this.#hasHungUp ||= (ready & POLLERR) !== 0;
    if ((ready & POLLHUP) !== 0) {
      // Only reading tells a port that was unplugged from one whose host is not there.
      this.#reader.read(this.#outlet.fd);
      this.#forgetHost();
      return;
    }
    this.#isPresent = true;
    this.#link.hasEnded = false;
    this.#host.status(`Connected to ${this.name}`);
  }

  #onAbsent(): void {
    this.#isPresent = false;
    this.#forgetHost();
    this.#nextCheckMs = performance.now() + ABSENT_CHECK_MS;
    this.#host.status(`Disconnected from ${this.name}`);
  }

  /** What waits was addressed to the host that left; the next one begins with a new Hello. */
  #forgetHost(): void {
    this.#link.hasEnded = false;
    this.#link.outlet = undefined;
    this.#host.vanish(this.#outlet);
    this.#outlet.restart();
  }
}
