/**
 * Names of one machine's tasks by thread id: from snapshots and from COMM and FORK records. A guest
 * could name millions, so the map is bounded, and what does not fit prints as <...>.
 */
import { TASK_COMM_BYTES } from "../analyze/side_records.ts";

/** Names kept of one machine: the default pid_max, and over. */
export const TASK_NAMES_MAX = 65536;
/** Of these, at most so many of tasks that have ended. */
export const ENDED_NAMES_MAX = 4096;

export class TaskNames {
  /** Names that found no room. */
  refused = 0;
  readonly #names = new Map<number, Uint8Array>();
  /** Ended tasks, oldest first: what they did last is printed after their end was decoded. */
  readonly #ended = new Set<number>();

  get size(): number {
    return this.#names.size;
  }

  /** Copies bytes[from, to), cut to what the kernel allows a comm. */
  set(tid: number, bytes: Uint8Array, from: number, to: number): void {
    this.#ended.delete(tid);
    if (!this.#names.has(tid) && this.#names.size >= TASK_NAMES_MAX) {
      this.#evict();
      if (this.#names.size >= TASK_NAMES_MAX) {
        this.refused++;
        return;
      }
    }
    this.#names.set(tid, bytes.slice(from, Math.min(to, from + TASK_COMM_BYTES - 1)));
  }

  /** A forked task begins with its parent's name. */
  fork(tid: number, parentTid: number): void {
    const name = this.#names.get(parentTid);
    const isKnown = this.#names.has(tid) && !this.#ended.has(tid);
    if (name !== undefined && !isKnown) this.set(tid, name, 0, name.length);
  }

  /** The task has ended; its name is good until its id is used again, or room is short. */
  exit(tid: number): void {
    if (!this.#names.has(tid)) return;
    this.#ended.delete(tid);
    this.#ended.add(tid);
    if (this.#ended.size > ENDED_NAMES_MAX) this.#evict();
  }

  get(tid: number): Uint8Array | undefined {
    return this.#names.get(tid);
  }

  /** Forgets the task that ended first. */
  #evict(): void {
    for (const tid of this.#ended) {
      this.#ended.delete(tid);
      this.#names.delete(tid);
      return;
    }
  }
}
