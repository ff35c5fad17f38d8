/**
 * push=/dev/...: a character device, usually a virtio-serial port. Two-way: see acked_link.ts.
 *
 * While the host side of a port is closed, poll() reports POLLHUP at once and read() gives 0: a
 * loop that waited on it would spin. So the port then leaves the poll set, and a timer looks at it.
 *
 * A virtio port that is unplugged is waited for: hypervisors unplug and plug it while the agent
 * runs, and nobody is there in the guest to start the agent again. It is found by its name, as it
 * may come back as another device. A terminal that hangs up is gone for good.
 */
import { O_NOCTTY, O_NONBLOCK, O_RDWR, POLLERR, POLLHUP, POLLIN } from "../../shared/sys/abi.ts";
import { EIO, ENODEV, ENXIO, SysError } from "../../shared/sys/errno.ts";
import { type Fd, openFile } from "../../shared/sys/fd.ts";
import { PollSet } from "../../shared/sys/poll.ts";
import { AckedLink } from "./acked_link.ts";
import { Outlet } from "./outlet.ts";
import type { PeerReader } from "./peer_reader.ts";
import type { HostSink, SinkHost } from "./sink.ts";
import { virtioPortName, virtioPorts } from "./virtio_ports.ts";

/** How often a port without a host is looked at. */
const ABSENT_CHECK_MS = 100;
/** How often a port that was unplugged is looked for: at first, and in the long run. */
const REOPEN_MS_MIN = 100;
const REOPEN_MS_MAX = 2000;
/** The device is gone: unplugged, or a terminal that was hung up. */
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

/** The opened device, and who reads what comes from it. */
interface OpenPort {
  readonly outlet: Outlet;
  readonly reader: PeerReader;
}

export class PortSink implements HostSink {
  readonly name: string;
  readonly #path: string;
  /** What the hypervisor calls the port; undefined for a device that cannot come back. */
  readonly #portName: string | undefined;
  readonly #host: SinkHost;
  readonly #link: AckedLink;
  readonly #probe = new PollSet();
  /** Undefined while it is unplugged. */
  #port: OpenPort | undefined;
  #isPresent = false;
  /** A terminal's other end has gone for good: reading gives 0, as of a port without a host. */
  #hasHungUp = false;
  #slot = -1;
  #nextCheckMs = 0;
  #reopenMs = REOPEN_MS_MIN;

  /** Throws SysError: ENOENT, EBUSY when another program has the port open. */
  constructor(path: string, host: SinkHost) {
    this.name = `"${path}"`;
    this.#path = path;
    this.#portName = virtioPortName(path);
    this.#host = host;
    this.#link = new AckedLink(host);
    this.#port = this.#open(path);
  }

  get outlets(): readonly Outlet[] {
    return this.#link.outlet === undefined ? [] : [this.#link.outlet];
  }

  get wantsEvents(): boolean {
    return this.#link.wantsEvents;
  }

  get isLeaving(): boolean {
    return this.#link.isLeaving;
  }

  get isAbsent(): boolean {
    return !this.#isPresent;
  }

  register(poll: PollSet): void {
    this.#slot = -1;
    if (this.#portName !== undefined && this.#isGone) this.#onUnplugged();
    if (this.#port === undefined) this.#reopen();
    if (this.#port === undefined) return;
    if (this.#overrun !== undefined) this.#onOverrun(this.#overrun);
    if (!this.#isPresent) this.#checkPresence(this.#port);
    if (!this.#isPresent) return;
    const { outlet, reader } = this.#port;
    this.#slot = poll.add(outlet.fd.number, reader.pollEvents);
  }

  service(poll: PollSet): void {
    if (this.#slot < 0 || this.#port === undefined) return;
    const { reader } = this.#port;
    const ready = poll.readyEvents(this.#slot);
    this.#hasHungUp ||= (ready & POLLERR) !== 0;
    reader.serve(ready);
    if ((ready & POLLHUP) !== 0 || this.#link.hasEnded) this.#onAbsent();
  }

  streamTo(outlet: Outlet): void {
    this.#link.streamTo(outlet);
  }

  endStream(): void {
    this.#link.endStream();
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
    if (this.#overrun !== undefined) return undefined;
    if (!this.#isGone) return this.#port?.outlet.failure;
    if (this.#portName !== undefined) return undefined;
    return new SysError(`use ${this.name}`, this.#endErrno, "the port was unplugged");
  }

  close(): void {
    this.#closePort();
    this.#probe.close();
  }

  #open(path: string): OpenPort {
    const options = { isStaged: true, hasChecksums: false };
    const outlet = new Outlet(openPort(path), this.name, this.#host.rings.length, options);
    return { outlet, reader: this.#link.readerFor(outlet) };
  }

  #closePort(): void {
    this.#port?.outlet.close();
    this.#port?.reader.close();
    this.#port = undefined;
  }

  get #endErrno(): number {
    const failure = this.#port?.outlet.failure;
    if (failure instanceof SysError) return failure.errno;
    return this.#hasHungUp ? EIO : this.#link.endErrno;
  }

  get #isGone(): boolean {
    return this.#port !== undefined && GONE.includes(this.#endErrno);
  }

  /** What could not be sent to a host that does not read; the port is as good as before. */
  get #overrun(): RangeError | undefined {
    const failure = this.#port?.outlet.failure;
    return failure instanceof RangeError ? failure : undefined;
  }

  /** It finds no stream any more: a host that is gone for all we know. The next one is served. */
  #onOverrun(overrun: RangeError): void {
    this.#host.status(overrun.message);
    this.#onAbsent();
  }

  #onUnplugged(): void {
    this.#host.status(`${this.name} was unplugged: waiting for it to come back`);
    this.#link.hasEnded = false;
    this.#link.endErrno = 0;
    this.#link.outlet = undefined;
    this.#hasHungUp = false;
    this.#isPresent = false;
    this.#host.vanish(this.#port!.outlet);
    this.#closePort();
    this.#reopenMs = REOPEN_MS_MIN;
    this.#nextCheckMs = performance.now() + this.#reopenMs;
  }

  /** Looks for the port that was unplugged, more and more seldom. */
  #reopen(): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextCheckMs) return;
    this.#reopenMs = Math.min(this.#reopenMs * 2, REOPEN_MS_MAX);
    this.#nextCheckMs = nowMs + this.#reopenMs;
    const path = virtioPorts().get(this.#portName!) ?? this.#path;
    try {
      this.#port = this.#open(path);
    } catch (error) {
      // It is not there yet, or its device is and its driver is not: whatever it is may pass.
      if (error instanceof SysError) return;
      throw error;
    }
    this.#host.status(`${this.name} is plugged in again`);
    this.#nextCheckMs = 0;
  }

  #checkPresence({ outlet, reader }: OpenPort): void {
    const nowMs = performance.now();
    if (nowMs < this.#nextCheckMs) return;
    this.#nextCheckMs = nowMs + ABSENT_CHECK_MS;
    this.#probe.clear();
    const slot = this.#probe.add(outlet.fd.number, POLLIN);
    this.#probe.wait(0);
    const ready = this.#probe.readyEvents(slot);
    this.#hasHungUp ||= (ready & POLLERR) !== 0;
    if ((ready & POLLHUP) !== 0) {
      // Only reading tells a port that was unplugged from one whose host is not there.
      reader.read();
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
    const { outlet } = this.#port!;
    this.#host.vanish(outlet);
    outlet.restart();
  }
}
