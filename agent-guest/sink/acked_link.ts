/**
 * The receiving half of a two-way link, common to ports and unix sockets: who is attached, and what
 * he has acknowledged. Only acknowledged bytes leave the ring, so that a host that was killed, or a
 * QEMU that discarded what we wrote, costs nothing that the ring still holds.
 */
import type { CpuPosition } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./outlet.ts";
import { PeerReader } from "./peer_reader.ts";
import type { SinkHost } from "./sink.ts";

/** How long a host that said goodbye may take for what the rings hold. */
export const LEAVE_MS_MAX = 1000;

export class AckedLink {
  /** The attached host's outlet, or undefined while none is attached. */
  outlet: Outlet | undefined;
  /** The outlet whose peer has said who it is, with a stream or without. */
  attached: Outlet | undefined;
  /** A host has been attached, and did not say goodbye: it may come back for the rest. */
  isExpected = false;
  /** The peer closed its end since this was last reset. */
  hasEnded = false;
  /** The errno with which reading ended last, 0 for an ordinary end. */
  endErrno = 0;
  refusedAcks = 0;
  /** Until when the host that said goodbye is given what the rings hold; undefined for none. */
  #leavingUntilMs: number | undefined;
  readonly #host: SinkHost;
  #acked = new Float64Array(0);
  #indexOfCpu: ReadonlyMap<number, number> = new Map();

  constructor(host: SinkHost) {
    this.#host = host;
  }

  /** A reader for `outlet`, whose stream begins when the peer sends Attach. */
  readerFor(outlet: Outlet): PeerReader {
    return new PeerReader({
      onAttach: (attach) => {
        this.attached = outlet;
        this.#leavingUntilMs = undefined;
        if (this.#host.begin(outlet, attach)) this.streamTo(outlet);
        else if (this.outlet === outlet) this.outlet = undefined;
      },
      onControl: (control) => this.#host.control(outlet, control),
      onAck: (ack) => {
        if (this.outlet === outlet) for (const position of ack.positions) this.#onAck(position);
      },
      onPing: (ping, received) => outlet.sendPong(ping, received),
      onSymbols: (id, request) => {
        if (this.outlet === outlet) this.#host.askSymbols(outlet, id, request);
      },
      onBye: () => {
        if (this.outlet === outlet) this.#leavingUntilMs ??= performance.now() + LEAVE_MS_MAX;
        else this.#host.end(outlet);
      },
      onEnd: (errno) => {
        if (this.outlet === outlet && this.isLeaving) this.#endLeaving(outlet);
        if (this.outlet === outlet) this.outlet = undefined;
        this.hasEnded = true;
        this.endErrno = errno;
      },
    });
  }

  /** A host has said goodbye, and is taking the rest. */
  get isLeaving(): boolean {
    return this.#leavingUntilMs !== undefined;
  }

  /** Whether there is, or may be again, somebody to sample for. */
  get wantsEvents(): boolean {
    return this.isExpected && !this.isLeaving;
  }

  /** What the rings hold goes to `outlet` from now on, and leaves them when it acknowledges. */
  streamTo(outlet: Outlet): void {
    this.outlet = outlet;
    this.isExpected = true;
    this.#acked = outlet.positions.slice();
    this.#indexOfCpu = new Map(this.#host.rings.map((ring, index) => [ring.cpu, index]));
  }

  endStream(): void {
    this.outlet = undefined;
    this.isExpected = false;
    this.#leavingUntilMs = undefined;
  }

  send(): void {
    const { outlet } = this;
    if (outlet === undefined) return;
    this.#host.rings.forEach((ring, index) => {
      outlet.sendRing(index, ring, ring.ring.head);
    });
    if (this.#leavingUntilMs === undefined) return;
    const isTaken = this.#host.rings.every(
      ({ ring }, index) => outlet.positions[index] === ring.head,
    );
    const isOver = performance.now() >= this.#leavingUntilMs;
    if (isOver || (isTaken && !outlet.isBlocked)) this.#endLeaving(outlet);
  }

  #endLeaving(outlet: Outlet): void {
    this.#host.end(outlet);
    this.endStream();
  }

  releasable(index: number): number {
    const { head } = this.#host.rings[index]!.ring;
    return this.isExpected ? this.#acked[index]! : head;
  }

  get isDrained(): boolean {
    if (!this.isExpected) return true;
    return this.#host.rings.every((ring, index) => this.#acked[index] === ring.ring.head);
  }

  /** An Ack may only move forward, and not past what was sent: anything else is not obeyed. */
  #onAck({ cpu, position }: CpuPosition): void {
    const index = this.#indexOfCpu.get(cpu);
    const to = Number(position);
    const outlet = this.outlet!;
    if (index === undefined || to < this.#acked[index]! || to > outlet.positions[index]!) {
      this.refusedAcks++;
      return;
    }
    this.#acked[index] = to;
  }
}
