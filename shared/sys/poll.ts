/**
 * poll(2) over a set of descriptors kept in one unmoving array of struct pollfd {i32 fd, i16
 * events, i16 revents}; must match <poll.h>. poll rather than epoll: the sets are small and change
 * rarely, and a perf descriptor's readiness is consumed by being reported in either.
 */
import { SYS } from "./abi.ts";
import { EINTR, SysError } from "./errno.ts";
import { Mapping } from "./mapping.ts";
import { syscall } from "./syscall.ts";

/** Enough for the rings of a 4096-CPU machine plus clients. */
export const POLL_FDS_MAX = 8192;
const POLLFD_BYTES = 8;

export class PollSet {
  readonly #mapping = Mapping.anonymous(POLL_FDS_MAX * POLLFD_BYTES);
  readonly #fds = new Int32Array(this.#mapping.buffer);
  readonly #events = new Uint16Array(this.#mapping.buffer);
  #count = 0;

  get count(): number {
    return this.#count;
  }

  clear(): void {
    this.#count = 0;
  }

  /** Adds a descriptor; returns its slot, for `readyEvents`. */
  add(fdNumber: number, events: number): number {
    if (this.#count === POLL_FDS_MAX) throw new RangeError(`Cannot poll over ${POLL_FDS_MAX} fds`);
    const slot = this.#count++;
    this.#fds[slot * 2] = fdNumber;
    this.#events[slot * 4 + 2] = events;
    this.#events[slot * 4 + 3] = 0;
    return slot;
  }

  /** Changes what a slot waits for. */
  watch(slot: number, events: number): void {
    this.#events[slot * 4 + 2] = events;
  }

  /** Waits; returns how many slots are ready, 0 after `timeoutMs` or a signal. */
  wait(timeoutMs: number): number {
    const result = syscall(SYS.poll, this.#mapping.address, this.#count, timeoutMs, 0, 0, 0);
    if (result >= 0) return result;
    if (result === -EINTR) return 0;
    throw new SysError("poll", -result);
  }

  /** revents of a slot after wait(). */
  readyEvents(slot: number): number {
    return this.#events[slot * 4 + 3]!;
  }

  close(): void {
    this.#mapping.close();
  }
}
