/**
 * Listens on a unix socket, mode 0660, or a tcp port, for one host at a time. Two-way: see
 * acked_link.ts. A second host is turned away while the first one is there, and told who that is:
 *
 *   Cannot attach to unix:/run/x.sock: process 4711 (agent-host) is attached
 */
import { rmSync, statSync } from "node:fs";
import { readLineOf } from "../../shared/event/machine.ts";
import { SysError } from "../../shared/sys/errno.ts";
import { type Fd, withUmask } from "../../shared/sys/fd.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import {
  connectTo,
  formatAddress,
  formatTcpEnd,
  listenOn,
  peerPid,
  type SocketAddress,
  setNoDelay,
  setSendBuffer,
  tcpEnds,
} from "../../shared/sys/socket.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import { ErrorCode } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { AckedLink } from "./acked_link.ts";
import { Listener } from "./listener.ts";
import { Outlet } from "./outlet.ts";
import type { PeerReader } from "./peer_reader.ts";
import type { HostSink, SinkHost } from "./sink.ts";

/** A client that does not attach within this gives way to the next one. */
const ATTACH_MS_MAX = 3000;
const SOCKET_MODE = 0o660;
/** Takes what a busy CPU forwards at once; the system's default of 208 KiB takes five turns. */
const SEND_BUFFER_BYTES = 2 * 1024 * 1024;

/** Removes a socket file that nobody listens on any more; leaves a live one for bind to refuse. */
function removeDeadSocket(path: string): void {
  if (!statSync(path, { throwIfNoEntry: false })?.isSocket()) return;
  try {
    connectTo({ kind: "unix", path }).close();
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "ECONNREFUSED") throw error;
    rmSync(path);
  }
}

/** Who is at the other end, as far as the kernel knows. */
function describePeer(fd: Fd, address: SocketAddress): string {
  if (address.kind === "tcp") {
    try {
      return formatTcpEnd(tcpEnds(fd).peer);
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      return "a host that has just gone";
    }
  }
  const pid = peerPid(fd);
  return `process ${pid} (${readLineOf(`/proc/${pid}/comm`) || "gone"})`;
}

export class HostSocketSink implements HostSink {
  readonly name: string;
  readonly failure = undefined;
  readonly #address: SocketAddress;
  readonly #host: SinkHost;
  readonly #link: AckedLink;
  readonly #listener: Listener;
  #outlet: Outlet | undefined;
  #reader: PeerReader | undefined;
  /** Who is attached, for those that are turned away. */
  #holder = "";
  #sinceMs = 0;
  #slot = -1;

  /** Throws SysError when somebody listens there already. */
  constructor(address: SocketAddress, host: SinkHost) {
    const prefix = address.kind === "tcp" ? "tcp " : "";
    this.name = `${prefix}${formatAddress(address)}`;
    this.#address = address;
    this.#host = host;
    this.#link = new AckedLink(host);
    if (address.kind === "unix") removeDeadSocket(address.path);
    // Not by chmod() afterwards: in somebody else's folder it might hit another file by then.
    const fd = withUmask(0o777 & ~SOCKET_MODE, () => listenOn(address));
    this.#listener = new Listener(fd, (text) => host.status(text));
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

  register(poll: PollSet): void {
    this.#listener.register(poll);
    const outlet = this.#outlet;
    if (outlet === undefined) return;
    const events = this.#reader!.pollEvents;
    // A host that is not listened to may have hung up, which poll() would tell again and again.
    this.#slot = events === 0 ? -1 : poll.add(outlet.fd.number, events);
  }

  service(poll: PollSet): void {
    const outlet = this.#outlet;
    if (outlet !== undefined) {
      const ready = this.#slot < 0 ? 0 : poll.readyEvents(this.#slot);
      this.#reader!.serve(ready);
      this.#dropIfEnded();
    }
    this.#listener.service(poll, (fd) => this.#accept(fd));
  }

  streamTo(outlet: Outlet): void {
    this.#link.streamTo(outlet);
  }

  endStream(): void {
    this.#link.endStream();
  }

  send(): void {
    this.#link.send();
    this.#dropIfEnded();
  }

  releasable(index: number): number {
    return this.#link.releasable(index);
  }

  get isDrained(): boolean {
    return this.#link.isDrained;
  }

  close(): void {
    this.#closeClient();
    this.#listener.close();
    if (this.#address.kind === "unix") rmSync(this.#address.path, { force: true });
  }

  #dropIfEnded(): void {
    const outlet = this.#outlet;
    if (outlet === undefined || (!this.#link.hasEnded && outlet.failure === undefined)) return;
    this.#drop(outlet);
  }

  #drop(outlet: Outlet): void {
    this.#link.outlet = undefined;
    this.#link.hasEnded = false;
    this.#host.vanish(outlet);
    this.#holder = "";
    this.#host.status(`Disconnected from ${this.name}`);
    this.#closeClient();
  }

  #closeClient(): void {
    this.#outlet?.close();
    this.#reader?.close();
    this.#outlet = undefined;
    this.#reader = undefined;
  }

  #accept(fd: Fd): void {
    setSendBuffer(fd, SEND_BUFFER_BYTES);
    if (this.#address.kind === "tcp") setNoDelay(fd);
    const options = { isStaged: false, hasChecksums: false };
    const outlet = new Outlet(fd, this.name, this.#host.rings.length, options);
    if (this.#outlet !== undefined && this.#isSilent(this.#outlet)) this.#drop(this.#outlet);
    if (this.#outlet !== undefined) {
      this.#refuse(outlet);
      return;
    }
    this.#sinceMs = performance.now();
    this.#holder = describePeer(fd, this.#address);
    this.#outlet = outlet;
    this.#reader = this.#link.readerFor(outlet);
    this.#link.hasEnded = false;
    this.#host.status(`Connected to ${this.name}`);
  }

  /** It connected and did not say what for: whoever that is must not keep hosts out. */
  #isSilent(outlet: Outlet): boolean {
    const isLate = performance.now() - this.#sinceMs > ATTACH_MS_MAX;
    return isLate && this.#link.attached !== outlet;
  }

  #refuse(outlet: Outlet): void {
    outlet.send(FrameType.ERROR, {
      code: ErrorCode.BUSY,
      message: `Cannot attach to ${this.name}: ${this.#holder} is attached`,
      hint: "one host at a time: stop that one, or trace with push=PORT, which takes many",
      text: "",
      position: 0,
    });
    outlet.close();
  }
}
