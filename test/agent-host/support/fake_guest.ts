/**
 * A guest played by the test, behind a real socket: it answers what it is told to answer. By
 * default it attaches politely, answers pings and keeps its clock, so that a test adds only its own
 * mischief.
 *
 *   const guest = await FakeGuest.listen({ path });       or { port: 0 }
 *   const peer = await guest.attached();                  the host is there and has been greeted
 *   peer.samples(0, 0, markerRecord(nowNs(), 1));
 *   peer.progress();
 */
import { createServer, type Server, type Socket } from "node:net";
import { readTsc } from "../../../shared/sys/clock.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import type {
  Attach,
  CpuPosition,
  Hello,
  Stats,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { clockSampleNow, fakeHello, StreamWriter } from "./guest_stream.ts";

const DEADLINE_MS = 20_000;
const CLOCK_MS = 50;

export interface GuestManners {
  /** What it says of itself; the nonces are filled in. */
  readonly hello?: Partial<Hello>;
  /** Waits for Attach, expects Ack: ports and unix sockets. Otherwise it begins at accept: tcp. */
  readonly twoWay?: boolean;
  /** Whether it says Hello when it is asked to, as it is every second. */
  readonly answersAttach?: () => boolean;
  readonly answersPings?: boolean;
  /** Sends a reading of its clock every 50 ms. */
  readonly keepsClock?: boolean;
  /** Answers the host's goodbye with its own, and these totals. */
  readonly answersBye?: boolean;
  readonly totals?: () => Stats["cpus"];
  /** Its TSC minus this machine's. */
  readonly tscOffset?: bigint;
  /** Instead of all of this: only what the test does with the socket. */
  readonly isSilent?: boolean;
}

/** One connection of a host. */
export class FakePeer {
  readonly socket: Socket;
  readonly writer = new StreamWriter();
  readonly attaches: Attach[] = [];
  readonly acks = new Map<number, number>();
  hasSaidBye = false;
  hasClosed = false;
  isGreeted = false;
  /** Where the next span of its ring 0 begins, for those who keep count of it here. */
  position = 0;
  readonly #manners: GuestManners;
  readonly #decoder = new FrameDecoder();
  #clock: ReturnType<typeof setInterval> | undefined;

  constructor(socket: Socket, manners: GuestManners) {
    this.socket = socket;
    this.#manners = manners;
    socket.on("error", () => {
      // The host may be killed at any moment: "close" follows.
    });
    socket.on("close", () => {
      this.hasClosed = true;
      clearInterval(this.#clock);
    });
    if (manners.isSilent === true) return;
    socket.on("data", (bytes: Uint8Array | string) => this.#read(bytes as Uint8Array));
    if (manners.twoWay !== true) this.greet(0n);
  }

  /** Hello, then the clock. */
  greet(attachNonce: bigint): void {
    const { hello, twoWay, keepsClock } = this.#manners;
    const message = fakeHello({ ...hello, attachNonce, twoWay: twoWay === true });
    this.send(this.writer.frame(FrameType.HELLO, message));
    this.isGreeted = true;
    if (keepsClock === false || this.#clock !== undefined) return;
    this.clock();
    this.#clock = setInterval(() => this.clock(), CLOCK_MS);
  }

  clock(): void {
    this.send(this.writer.frame(FrameType.CLOCK_SAMPLE, clockSampleNow(this.#manners.tscOffset)));
  }

  samples(cpu: number, position: number, span: ArrayLike<number>, isStart = true): void {
    this.send(this.writer.samples(cpu, position, span, isStart));
  }

  /** Everything up to now has been sent. */
  progress(tsc = this.tsc()): void {
    this.send(this.writer.frame(FrameType.PROGRESS, { tsc }));
  }

  /** Its TSC now. */
  tsc(): bigint {
    return BigInt.asUintN(64, readTsc() + (this.#manners.tscOffset ?? 0n));
  }

  send(bytes: Uint8Array): void {
    if (!this.socket.destroyed) this.socket.write(bytes);
  }

  /** Waits for something that the host does. */
  async until(condition: (peer: FakePeer) => boolean, what: string): Promise<void> {
    await waitUntil(() => condition(this), DEADLINE_MS, what);
  }

  #read(bytes: Uint8Array): void {
    const receivedTsc = this.tsc();
    this.#decoder.push(bytes);
    for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next()) {
      const { type, payloadStart: from, payloadEnd: to } = frame;
      if (type === FrameType.ATTACH) this.#onAttach(decodeMessage(type, frame.bytes, from, to));
      else if (type === FrameType.PING) {
        const ping = decodeMessage(type, frame.bytes, from, to);
        if (this.#manners.answersPings === false) continue;
        const stamps = { echoTsc: ping.senderTsc, receivedTsc, sentTsc: this.tsc() };
        this.send(this.writer.frame(FrameType.PONG, { seq: ping.seq, ...stamps }));
      } else if (type === FrameType.ACK) {
        this.#onAck(decodeMessage(type, frame.bytes, from, to).positions);
      } else if (type === FrameType.BYE) this.#onBye();
    }
  }

  #onAttach(attach: Attach): void {
    this.attaches.push(attach);
    const { twoWay, answersAttach } = this.#manners;
    if (twoWay === true && answersAttach?.() !== false) this.greet(attach.attachNonce);
  }

  #onBye(): void {
    this.hasSaidBye = true;
    const { answersBye, totals } = this.#manners;
    if (answersBye !== false) this.send(this.writer.goodbye(totals?.() ?? []));
  }

  #onAck(positions: readonly CpuPosition[]): void {
    for (const { cpu, position } of positions) this.acks.set(cpu, Number(position));
  }
}

export class FakeGuest implements AsyncDisposable {
  readonly peers: FakePeer[] = [];
  readonly #server: Server;

  constructor(server: Server) {
    this.#server = server;
  }

  /** Listens; port 0 lets the kernel choose. */
  static async listen(
    where: { readonly path: string } | { readonly port: number },
    manners: GuestManners = {},
  ): Promise<FakeGuest> {
    const server = createServer();
    const guest = new FakeGuest(server);
    server.on("connection", (socket) => guest.peers.push(new FakePeer(socket, manners)));
    const address = "path" in where ? where : { ...where, host: "127.0.0.1" };
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, resolve);
    });
    return guest;
  }

  get port(): number {
    const address = this.#server.address();
    if (address === null || typeof address === "string") throw new RangeError("No tcp port here");
    return address.port;
  }

  /** The connection number `index`, once it is there. */
  async connected(index = 0): Promise<FakePeer> {
    const peer = () => this.peers[index];
    return await waitUntil(peer, DEADLINE_MS, `connection ${index} of a host`);
  }

  /** The same, greeted. */
  async attached(index = 0): Promise<FakePeer> {
    const peer = await this.connected(index);
    await peer.until(({ isGreeted }) => isGreeted, "the host to attach");
    return peer;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const { socket } of this.peers) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
