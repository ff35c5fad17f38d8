/**
 * A sink takes the stream of one capture. The capture asks it, once per wake-up, to serve its
 * descriptors, to send what the rings hold, and how far each ring may be given back.
 */
import type { CpuRing } from "../../shared/event/event_set.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import type { Attach, Control, SymbolRequest } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./outlet.ts";

/** What a sink needs of its capture. */
export interface SinkHost {
  readonly rings: readonly CpuRing[];
  /**
   * A receiver came: begin its stream. `attach` is what a two-way host said of itself. False when
   * there is nothing to send before it has asked for it: see HostSink.streamTo().
   */
  begin(outlet: Outlet, attach: Attach | undefined): boolean;
  /** A two-way host asks for something. */
  control(outlet: Outlet, control: Control): void;
  /** The host on a two-way link wants names for addresses. */
  askSymbols(outlet: Outlet, id: number, request: SymbolRequest): void;
  /**
   * The host said goodbye: what it has not taken is no longer wanted. With `keeps` it may ask again
   * for what it has taken, until forget().
   */
  end(outlet: Outlet, keeps: boolean): void;
  /** The host that said goodbye has acknowledged all that it was sent. */
  forget(): void;
  /** The host went without a word, and may come back: its ledger waits, its outlet is dead. */
  vanish(outlet: Outlet): void;
  /** Of a ring: how far a receiver of a broadcast may fall behind; undefined for the sink's own. */
  readonly lagShareMax?: number;
  /** What a receiver missed because it was too slow. */
  missed(outlet: Outlet, ringIndex: number, from: number, to: number): void;
  status(text: string): void;
}

export interface Sink {
  /** For messages: `tcp 127.0.0.1:9900`. */
  readonly name: string;
  /** Receivers whose stream has begun. */
  readonly outlets: readonly Outlet[];
  /** Whether events should run at all: somebody listens, or may come back for them. */
  readonly wantsEvents: boolean;
  /** Its host is away, and nothing tells when it comes: it has to be looked at. */
  readonly isAbsent?: boolean;
  /** A receiver has said goodbye: it is to be sent the rest as soon as it takes it. */
  readonly isLeaving: boolean;
  /** Adds the descriptors to wait for; called before each poll. */
  register(poll: PollSet): void;
  /** Accepts, reads, writes what waited. */
  service(poll: PollSet): void;
  /** Sends all rings up to their heads, as far as receivers take it. */
  send(): void;
  /** How far ring `index` may be given back to the kernel. */
  releasable(index: number): number;
  /** Whether everything up to the heads has arrived, as far as this sink can know. */
  readonly isDrained: boolean;
  /** Why it cannot go on; undefined while it can. */
  readonly failure: Error | undefined;
  close(): void;
}

/** A sink whose one host may say what it wants. */
export interface HostSink extends Sink {
  /** A stream has begun to a host that was attached without one. */
  streamTo(outlet: Outlet): void;
  /** The stream is over: nobody is expected to come back for it. */
  endStream(): void;
}
