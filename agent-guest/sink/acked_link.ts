/**
 * The receiving half of a two-way link, common to ports and unix sockets: who is attached, and what
 * he has acknowledged. Only acknowledged bytes leave the ring, so that a host that was killed, or a
 * QEMU that discarded what we wrote, costs nothing that the ring still holds.
 *
 *   Attach     streaming: events run, Ack moves the tails
 *   Bye        leaving: events stop, the host takes the rest, Stats and our Bye
 *   Bye{keep}  the same, then parted: what it has taken stays in the rings until it acknowledges.
 *              A host that is killed before it has written that finds it there
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
  /** What the host that said goodbye is sent stays until it has acknowledged it. */
  #keeps = false;
  /** The host has said goodbye, and the rings are kept for it; its outlet, while that is open. */
  #isParted = false;
  #parted: Outlet | undefined;
  readonly #host: SinkHost;
  #acked = new Float64Array(0);
  #indexOfCpu: ReadonlyMap<number, number> = new Map();

  constructor(host: SinkHost) {
    this.#host = host;
  }

  /** A reader for `outlet`, whose stream begins when the peer sends Attach. */
  readerFor(outlet: Outlet): PeerReader {
    return new PeerReader(outlet, {
      onAttach: (attach) => {
        this.attached = outlet;
        this.#leavingUntilMs = undefined;
        this.#parted = undefined;
        if (this.#host.begin(outlet, attach)) this.streamTo(outlet);
        else if (this.outlet === outlet) this.outlet = undefined;
      },
      onControl: (control) => this.#host.control(outlet, control),
      onAck: (ack) => {
        if ((this.outlet ?? this.#parted) !== outlet) return;
        for (const position of ack.positions) this.#onAck(position, outlet);
        if (this.#parted === outlet && this.#isAllAcked) this.#forget();
      },
      onPing: (ping, received) => outlet.sendPong(ping, received),
      onSymbols: (id, request) => {
        if (this.outlet === outlet) this.#host.askSymbols(outlet, id, request);
      },
      onBye: ({ keep }) => {
        if (this.outlet !== outlet) {
          if (this.#parted !== outlet) this.#host.end(outlet, false);
          return;
        }
        this.#keeps = keep;
        this.#leavingUntilMs ??= keep ? Infinity : performance.now() + LEAVE_MS_MAX;
      },
      onEnd: (errno) => {
        if (this.outlet === outlet && this.isLeaving) this.#onGone(outlet);
        if (this.outlet === outlet) this.outlet = undefined;
        if (this.#parted === outlet) this.#parted = undefined;
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
    return this.isExpected && !this.isLeaving && !this.#isParted;
  }

  /**
   * What the rings hold goes to `outlet` from where its host has got to, and leaves them when that
   * acknowledges: it may have received what it has not written out yet.
   */
  streamTo(outlet: Outlet): void {
    this.outlet = outlet;
    this.isExpected = true;
    this.#isParted = false;
    this.#acked = Float64Array.from(this.#host.rings, ({ ring }) => ring.tail);
    this.#indexOfCpu = new Map(this.#host.rings.map((ring, index) => [ring.cpu, index]));
  }

  endStream(): void {
    this.outlet = undefined;
    this.#parted = undefined;
    this.isExpected = false;
    this.#isParted = false;
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
    this.#host.end(outlet, this.#keeps);
    if (!this.#keeps) {
      this.endStream();
      return;
    }
    // Not forgotten before it says so once more, even if it has acknowledged all: its own books are
    // not closed, and the ledger is what another run would need to close them.
    this.#part();
    this.#parted = outlet;
  }

  /** It has closed its end before it was sent all. */
  #onGone(outlet: Outlet): void {
    if (this.#keeps) this.#part();
    else this.#endLeaving(outlet);
  }

  /** No events any more, and nothing to send. */
  #part(): void {
    this.outlet = undefined;
    this.#leavingUntilMs = undefined;
    this.#isParted = true;
  }

  #forget(): void {
    this.#host.forget();
    this.endStream();
  }

  releasable(index: number): number {
    const { head } = this.#host.rings[index]!.ring;
    return this.isExpected ? this.#acked[index]! : head;
  }

  get isDrained(): boolean {
    return !this.isExpected || this.#isAllAcked;
  }

  get #isAllAcked(): boolean {
    return this.#host.rings.every((ring, index) => this.#acked[index] === ring.ring.head);
  }

  /** An Ack may only move forward, and not past what was sent: anything else is not obeyed. */
  #onAck({ cpu, position }: CpuPosition, outlet: Outlet): void {
    const index = this.#indexOfCpu.get(cpu);
    const to = Number(position);
    if (index === undefined || to < this.#acked[index]! || to > outlet.positions[index]!) {
      this.refusedAcks++;
      return;
    }
    this.#acked[index] = to;
  }
}
