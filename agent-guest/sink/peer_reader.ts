/**
 * Reads what a host says on a two-way link: Attach, Ack, Ping, Control, Symbols, Bye. Else
 * is skipped and counted; the guest obeys this vocabulary only.
 */

import { POLLIN, POLLOUT } from "../../shared/sys/abi.ts";
import { EAGAIN } from "../../shared/sys/errno.ts";
import { type Fd, readAwaited, readStamped } from "../../shared/sys/fd.ts";
import { Mapping } from "../../shared/sys/mapping.ts";
import type { Address } from "../../shared/sys/syscall.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import {
  DECODER_BUFFER_BYTES_MIN,
  type Frame,
  FrameDecoder,
} from "../../shared/wire/frame_decoder.ts";
import type {
  Ack,
  Attach,
  Bye,
  Control,
  SymbolRequest,
  Symbols,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage, MessageError } from "../../shared/wire/message.ts";
import { PingView, readPing } from "../../shared/wire/ping_frame.ts";
import type { Outlet } from "./outlet.ts";
import { PeerBudget, SLICE_MS } from "./talk_budget.ts";

const TSC_BYTES = 8;
/** Reads from one peer per wake-up: more waits for the next, so that no peer starves the rings. */
const READS_PER_WAKE_MAX = 16;
/** Longest time awake for one announced ping, whatever the host says. */
const AWAIT_US_MAX = 1000;
/** Cycles between two looks at the time while awake: 20 to 100 us. */
const AWAKE_CYCLES = 100_000;

export interface PeerListener {
  onAttach(attach: Attach): void;
  onAck(ack: Ack): void;
  /** `received` is this machine's TSC, read right after the bytes came: low, high. */
  onPing(ping: PingView, received: Uint32Array): void;
  onControl(control: Control): void;
  onSymbols(id: number, request: SymbolRequest): void;
  onBye(bye: Bye): void;
  /** The peer closed its end; `errno` says how reading failed, 0 when it ended in good order. */
  onEnd(errno: number): void;
}

export class PeerReader {
  /** Frames that a host has no business to send, or that could not be read. */
  refusedFrames = 0;
  /** The decoder's buffer, and behind it the TSC of the last read. */
  readonly #memory = Mapping.anonymous(DECODER_BUFFER_BYTES_MIN + TSC_BYTES);
  readonly #buffer = new Uint8Array(this.#memory.buffer, 0, DECODER_BUFFER_BYTES_MIN);
  readonly #tscAddress = (this.#memory.address + DECODER_BUFFER_BYTES_MIN) as Address;
  readonly #received = new Uint32Array(this.#memory.buffer, DECODER_BUFFER_BYTES_MIN, 2);
  readonly #decoder = new FrameDecoder({ buffer: this.#buffer });
  readonly #outlet: Outlet;
  readonly #listener: PeerListener;
  readonly #ping = new PingView();
  readonly #budget: PeerBudget;
  /** Not all that has been read was heard: the turn was over, or the outlet full. read() again. */
  isBehind = false;
  /**
   * The last Attach that was read, until it is known that no other one follows at once. Hosts that
   * come and go faster than they are served leave many, and each would begin a stream for nobody.
   */
  #attach: Attach | undefined;
  /** Until when it is worth staying awake for the next ping; 0 when none is announced. */
  #awakeUntilMs = 0;
  #awakeAtMs = 0;

  /** Reads what comes at the outlet's descriptor. */
  constructor(outlet: Outlet, listener: PeerListener, budget = new PeerBudget()) {
    this.#outlet = outlet;
    this.#listener = listener;
    this.#budget = budget;
  }

  close(): void {
    this.#memory.close();
  }

  /**
   * Reads all that is there, and what an announced ping brings: to be woken takes longer than the
   * way. A virtio port without a host reads 0 like a closed socket.
   */
  read(): void {
    const untilMs = performance.now() + SLICE_MS;
    if (!this.wantsInput) return;
    if (this.isBehind) this.#dispatchAll(untilMs);
    this.#readUntil(this.#outlet.fd, untilMs);
    const fromMs = performance.now();
    this.#deliverAttach();
    this.#budget.talk.take(fromMs, performance.now());
  }

  /** What to wait for at the outlet's descriptor; 0 for nothing. */
  get pollEvents(): number {
    return (this.wantsInput ? POLLIN : 0) | (this.#outlet.isBlocked ? POLLOUT : 0);
  }

  /** Reads and writes what is ready, as poll() says. */
  serve(ready: number): void {
    if ((ready & ~POLLOUT) !== 0 || this.isBehind) this.read();
    if ((ready & POLLOUT) !== 0) this.#outlet.flush();
  }

  #readUntil(fd: Fd, untilMs: number): void {
    for (let reads = 0; reads < READS_PER_WAKE_MAX && !this.isBehind; ) {
      const at = this.#decoder.reserveAt();
      const to = (this.#memory.address + at) as Address;
      const room = this.#buffer.length - at;
      const isAwake = this.#awakeUntilMs > 0;
      const got = isAwake
        ? readAwaited(fd, to, room, this.#tscAddress, AWAKE_CYCLES)
        : readStamped(fd, to, room, this.#tscAddress);
      if (isAwake) this.#countAwake();
      if (got === -EAGAIN) {
        if (this.#awakeUntilMs > 0) continue;
        return;
      }
      reads++;
      if (got <= 0) {
        this.#attach = undefined;
        this.#decoder.reset();
        this.#listener.onEnd(-got);
        return;
      }
      this.#decoder.commit(got);
      this.#dispatchAll(untilMs);
    }
  }

  /** The host announces another ping: stays awake for it, as far as that is for us to give. */
  #stayAwake(awaitUs: number): void {
    const nowMs = performance.now();
    this.#awakeUntilMs = 0;
    if (awaitUs === 0) return;
    this.#awakeAtMs = nowMs;
    const ms = Math.min(awaitUs, AWAIT_US_MAX) / 1000;
    if (this.#budget.awake.has(ms, nowMs)) this.#awakeUntilMs = nowMs + ms;
  }

  #countAwake(): void {
    const nowMs = performance.now();
    this.#budget.awake.take(nowMs - this.#awakeAtMs);
    this.#awakeAtMs = nowMs;
    if (nowMs >= this.#awakeUntilMs) this.#awakeUntilMs = 0;
  }

  #onSymbols({ id, request }: Symbols): void {
    if (request === undefined) this.refusedFrames++;
    else this.#listener.onSymbols(id, request);
  }

  /**
   * Whether it is worth waiting for what the host says: not while it has said too much, nor while
   * it does not read what it was answered before.
   */
  get wantsInput(): boolean {
    return !this.#outlet.isCrowded && this.#budget.talk.isLeft(performance.now());
  }

  #deliverAttach(): void {
    const attach = this.#attach;
    this.#attach = undefined;
    if (attach !== undefined) this.#listener.onAttach(attach);
  }

  /** Obeys what was read, or as much as one turn allows. */
  #dispatchAll(untilMs: number): void {
    const fromMs = performance.now();
    let nowMs = fromMs;
    this.isBehind = false;
    for (let frame = this.#decoder.next(); frame !== undefined; frame = this.#decoder.next()) {
      this.#dispatch(frame);
      nowMs = performance.now();
      this.isBehind = nowMs >= untilMs || this.#outlet.isCrowded;
      if (this.isBehind) break;
    }
    this.#budget.talk.take(fromMs, nowMs);
  }

  #dispatch(frame: Frame): void {
    const { type, bytes, payloadStart: from, payloadEnd: to } = frame;
    if (type !== FrameType.ATTACH) this.#deliverAttach();
    try {
      if (type === FrameType.PING) {
        if (readPing(bytes, from, to, this.#ping)) {
          this.#listener.onPing(this.#ping, this.#received);
          this.#stayAwake(this.#ping.awaitUs);
        } else this.refusedFrames++;
      } else if (type === FrameType.ACK) this.#listener.onAck(decodeMessage(type, bytes, from, to));
      else if (type === FrameType.ATTACH) {
        this.#attach = decodeMessage(type, bytes, from, to);
      } else if (type === FrameType.SYMBOLS) {
        this.#onSymbols(decodeMessage(type, bytes, from, to));
      } else if (type === FrameType.CONTROL) {
        this.#listener.onControl(decodeMessage(type, bytes, from, to));
      } else if (type === FrameType.BYE) {
        this.#listener.onBye(decodeMessage(type, bytes, from, to));
      } else this.refusedFrames++;
    } catch (error) {
      if (!(error instanceof MessageError)) throw error;
      this.refusedFrames++;
    }
  }
}
