/**
 * push=[IP:]PORT: listens on tcp and broadcasts to every client. One-way: nobody acknowledges.
 * The ring is everybody's buffer; a client that falls further behind than the ring allows misses
 * what lies between, which is counted for it, and never holds the others back.
 */
import type { Fd } from "../../shared/sys/fd.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import {
  formatAddress,
  listenOn,
  type SocketAddress,
  setNoDelay,
} from "../../shared/sys/socket.ts";
import { Listener } from "./listener.ts";
import { Outlet } from "./outlet.ts";
import { type PeerListener, PeerReader } from "./peer_reader.ts";
import type { Sink, SinkHost } from "./sink.ts";
import { PeerBudget } from "./talk_budget.ts";

/** More clients than this are refused: each may cost a buffer of WAITING_BYTES_MAX. */
export const CLIENTS_MAX = 64;
/**
 * Of the ring: a client further behind than this is moved on. The kernel writes as much again
 * before it wakes us (the watermark), and must still have room then, or all would lose events.
 */
const LAG_SHARE_MAX = 0.25;

class Client {
  readonly outlet: Outlet;
  readonly reader: PeerReader;
  slot = -1;
  isGone = false;

  constructor(fd: Fd, name: string, host: SinkHost, budget: PeerBudget) {
    const rings = host.rings.length;
    this.outlet = new Outlet(fd, name, rings, { isStaged: false, hasChecksums: false });
    const listener: PeerListener = {
      // The stream has begun at accept, and nobody acknowledges a broadcast.
      onAttach: () => {},
      onAck: () => {},
      onControl: (control) => host.control(this.outlet, control),
      onPing: (ping, received) => this.outlet.sendPong(ping, received),
      // What it needs of the kernel's it gets unasked.
      onSymbols: () => {},
      onBye: () => {
        this.isGone = true;
      },
      onEnd: () => {
        this.isGone = true;
      },
    };
    this.reader = new PeerReader(this.outlet, listener, budget);
  }

  close(): void {
    this.outlet.close();
    this.reader.close();
  }
}

export class BroadcastSink implements Sink {
  readonly name: string;
  readonly failure = undefined;
  /** Nobody is waited for: who leaves takes what goes out at once. */
  readonly isLeaving = false;
  readonly #host: SinkHost;
  readonly #listener: Listener;
  #clients: Client[] = [];
  #outlets: Outlet[] = [];
  #served = 0;
  /** Anybody may be any number of clients: they have the time of one. */
  readonly #budget = new PeerBudget();
  #turn = 0;

  /** Throws SysError when the address is in use. */
  constructor(address: SocketAddress, host: SinkHost) {
    this.name = `tcp ${formatAddress(address)}`;
    this.#host = host;
    this.#listener = new Listener(listenOn(address), (text) => host.status(text));
  }

  get outlets(): readonly Outlet[] {
    return this.#outlets;
  }

  get wantsEvents(): boolean {
    return this.#clients.length > 0;
  }

  register(poll: PollSet): void {
    this.#listener.register(poll);
    for (const client of this.#clients) {
      const events = client.reader.pollEvents;
      client.slot = events === 0 ? -1 : poll.add(client.outlet.fd.number, events);
    }
  }

  service(poll: PollSet): void {
    // Another one first each time, as the last ones may find no time left.
    this.#turn++;
    for (let i = 0; i < this.#clients.length; i++) {
      const client = this.#clients[(this.#turn + i) % this.#clients.length]!;
      const ready = client.slot < 0 ? 0 : poll.readyEvents(client.slot);
      client.reader.serve(ready);
    }
    this.#removeGone();
    this.#listener.service(poll, (fd) => this.#accept(fd));
  }

  send(): void {
    const { rings, lagShareMax } = this.#host;
    for (const { outlet } of this.#clients) {
      rings.forEach((ring, index) => {
        const { head, bytes } = ring.ring;
        outlet.sendRing(index, ring, head);
        const position = outlet.wholeUpTo(index, ring);
        if (head - position <= bytes * (lagShareMax ?? LAG_SHARE_MAX)) return;
        this.#host.missed(outlet, index, position, head);
        outlet.seek(index, head);
      });
    }
    this.#removeGone();
  }

  releasable(index: number): number {
    const ring = this.#host.rings[index]!;
    let position = ring.ring.head;
    for (const { outlet } of this.#clients) {
      position = Math.min(position, outlet.wholeUpTo(index, ring));
    }
    return position;
  }

  get isDrained(): boolean {
    const { rings } = this.#host;
    return this.#clients.every(
      ({ outlet }) =>
        !outlet.isBlocked &&
        rings.every((ring, index) => outlet.positions[index] === ring.ring.head),
    );
  }

  close(): void {
    for (const client of this.#clients) client.close();
    this.#clients = [];
    this.#outlets = [];
    this.#listener.close();
  }

  #accept(fd: Fd): void {
    if (this.#clients.length === CLIENTS_MAX) {
      this.#host.status(`Refused a client of ${this.name}: ${CLIENTS_MAX} are connected`);
      fd.close();
      return;
    }
    setNoDelay(fd);
    this.#served++;
    const name = `client ${this.#served} of ${this.name}`;
    const client = new Client(fd, name, this.#host, this.#budget);
    this.#clients.push(client);
    this.#outlets = this.#clients.map(({ outlet }) => outlet);
    this.#host.begin(client.outlet, undefined);
  }

  #removeGone(): void {
    const gone = this.#clients.filter((c) => c.isGone || c.outlet.failure !== undefined);
    if (gone.length === 0) return;
    this.#clients = this.#clients.filter((client) => !gone.includes(client));
    this.#outlets = this.#clients.map(({ outlet }) => outlet);
    for (const client of gone) {
      this.#host.end(client.outlet, false);
      client.close();
    }
  }
}
