/**
 * Where clients connect to a sink. Anybody may, as often as he likes: some are let in each turn of
 * the loop, in a share of its time, since to begin a stream takes milliseconds; the others wait in
 * the kernel, which turns away who does not fit into its queue. What the rest of the agent needs of
 * descriptors is not given to clients.
 */
import { POLLIN } from "../../shared/sys/abi.ts";
import { EMFILE, SysError } from "../../shared/sys/errno.ts";
import { descriptorsMax, type Fd } from "../../shared/sys/fd.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import { acceptFrom } from "../../shared/sys/socket.ts";
import { SLICE_MS, TalkBudget } from "./talk_budget.ts";

/** Clients that are let in at a turn of the loop. */
export const ACCEPTS_PER_TURN_MAX = 16;
/** Descriptors that clients leave: names of tasks and formats of events are read from files. */
export const DESCRIPTORS_KEPT = 16;
/** Pause after one could not be let in, for want of descriptors or memory. */
const RETRY_MS = 1000;

export class Listener {
  readonly #fd: Fd;
  readonly #onStatus: (text: string) => void;
  readonly #budget = new TalkBudget();
  #slot = -1;
  #retryMs = 0;
  /** The user has been told that nobody can be let in. */
  #isShort = false;

  /** Owns `fd`, which listens. */
  constructor(fd: Fd, onStatus: (text: string) => void) {
    this.#fd = fd;
    this.#onStatus = onStatus;
  }

  register(poll: PollSet): void {
    const nowMs = performance.now();
    const mayAccept = nowMs >= this.#retryMs && this.#budget.isLeft(nowMs);
    this.#slot = mayAccept ? poll.add(this.#fd.number, POLLIN) : -1;
  }

  /** Hands those that wait to `take`. */
  service(poll: PollSet, take: (fd: Fd) => void): void {
    if (this.#slot < 0 || poll.readyEvents(this.#slot) === 0) return;
    const fromMs = performance.now();
    let nowMs = fromMs;
    for (let i = 0; i < ACCEPTS_PER_TURN_MAX && nowMs < fromMs + SLICE_MS; i++) {
      const fd = this.#next();
      if (fd === undefined) break;
      take(fd);
      nowMs = performance.now();
    }
    this.#budget.take(fromMs, nowMs);
  }

  close(): void {
    this.#fd.close();
  }

  #next(): Fd | undefined {
    try {
      const fd = acceptFrom(this.#fd);
      if (fd !== undefined && fd.number >= descriptorsMax() - DESCRIPTORS_KEPT) {
        fd.close();
        throw new SysError(`accept on ${this.#fd.what}`, EMFILE, "raise ulimit -n");
      }
      if (fd !== undefined) this.#isShort = false;
      return fd;
    } catch (error) {
      if (!(error instanceof SysError)) throw error;
      this.#retryMs = performance.now() + RETRY_MS;
      if (!this.#isShort) this.#onStatus(`WARNING: ${error.message}`);
      this.#isShort = true;
      return undefined;
    }
  }
}
