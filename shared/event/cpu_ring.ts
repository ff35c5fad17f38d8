/**
 * The ring of one CPU and all that writes into it:
 *
 *   fds[0]              maps the ring
 *   fds[1...]           other events, other threads: redirected to it
 *   sides               a dummy event per thread that carries COMM, FORK and EXIT records
 *
 * Side records come from dummies of their own, because the kernel counts whatever finds no room as
 * lost by the event that wrote it: from an event of ours they would count as lost samples.
 */
import { CONTROL_BYTES, Ring } from "../perf/ring.ts";
import { POLLHUP, POLLIN } from "../sys/abi.ts";
import { SysError } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { Mapping } from "../sys/mapping.ts";
import { disablePerfEvent, enablePerfEvent, pausePerfOutput } from "../sys/perf_event.ts";
import type { PollSet } from "../sys/poll.ts";
import { FlightRing } from "./flight_ring.ts";

/** Maps a ring; one that is only read the kernel overwrites. Throws SysError. */
export function mapRing(fd: Fd, ringBytes: number, isReadOnly = false): Mapping {
  const action = `map a ring of ${ringBytes} bytes`;
  try {
    const bytes = CONTROL_BYTES + ringBytes;
    return isReadOnly ? Mapping.readOnlyOfFd(fd, bytes, action) : Mapping.ofFd(fd, bytes, action);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EPERM") throw error;
    const hint =
      "raise /proc/sys/kernel/perf_event_mlock_kb or run with CAP_IPC_LOCK, or ask for less with -m";
    throw new SysError(action, error.errno, hint);
  }
}

/** One CPU's ring with its events' descriptors, first the one whose descriptor maps the ring. */
export class CpuRing {
  readonly cpu: number;
  readonly ring: Ring;
  readonly address: number;
  /** Of each thread in turn, its events in their order. */
  readonly fds: readonly Fd[];
  /** The kernel's ring, with its control page. */
  readonly mapping: Mapping;
  /** Undefined for a ring that is forwarded as it is written: then `ring` is the kernel's. */
  readonly flight: FlightRing | undefined;
  readonly #sides: readonly Fd[];
  /** Events that shall never run again: their counters can still be read. */
  readonly #retired = new Set<Fd>();
  /** The descriptor that is polled: any of them tells of the ring. */
  #polled = 0;
  #slot = -1;

  /** `isOverwrite`: the kernel overwrites its ring, and `ring` holds what dumps have taken. */
  constructor(
    cpu: number,
    fds: readonly Fd[],
    sides: readonly Fd[],
    mapping: Mapping,
    isOverwrite = false,
  ) {
    this.cpu = cpu;
    this.fds = fds;
    this.mapping = mapping;
    this.#sides = sides;
    this.flight = isOverwrite ? new FlightRing(mapping) : undefined;
    this.ring = this.flight?.ring ?? new Ring(mapping.buffer, mapping.bytes - CONTROL_BYTES);
    this.address = this.flight?.address ?? mapping.address + CONTROL_BYTES;
  }

  /** Whether every task that the events were opened on has ended. */
  get hasEnded(): boolean {
    return this.#polled === this.fds.length;
  }

  /** Side records first, so that a task's name comes before its samples. */
  enable(): void {
    for (const fd of [...this.#sides, ...this.fds]) {
      if (!this.#retired.has(fd)) enablePerfEvent(fd);
    }
  }

  /** Stops one event for good. */
  retire(fd: Fd): void {
    this.#retired.add(fd);
    disablePerfEvent(fd);
  }

  /** Stops (or lets again) records from being written, while events go on to be counted. */
  pause(isPaused: boolean): void {
    pausePerfOutput(this.fds[0]!, isPaused);
  }

  disable(): void {
    for (const fd of [...this.fds, ...this.#sides]) disablePerfEvent(fd);
  }

  /** Adds what wakes the reader; nothing when there is nothing more to come. */
  register(poll: PollSet): void {
    // Of a flight recorder only the end of its task is of interest: that is always reported.
    const events = this.flight === undefined ? POLLIN : 0;
    this.#slot = this.hasEnded ? -1 : poll.add(this.fds[this.#polled]!.number, events);
  }

  /**
   * After a wait: a descriptor whose task has ended reports POLLHUP at once and forever, so the
   * next one takes its place.
   */
  noteHangUp(poll: PollSet): void {
    if (this.#slot >= 0 && (poll.readyEvents(this.#slot) & POLLHUP) !== 0) this.#polled++;
  }

  close(): void {
    this.flight?.close();
    this.mapping.close();
    for (const fd of [...this.fds, ...this.#sides]) fd.close();
  }
}
