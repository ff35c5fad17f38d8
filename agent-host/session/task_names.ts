/**
 * Names of one machine's tasks by thread id: from snapshots and from COMM and FORK records. A guest
 * could name millions, so the map is bounded, and what does not fit prints as <...>.
 *
 * A record is decoded before the lines around it are printed, so a name knows since when it holds:
 *
 *   tid 4711   "bash" until 17:03:05.120400, then "make"
 */
import { TASK_COMM_BYTES } from "../analyze/side_records.ts";

/** Names kept of one machine: the default pid_max, and over. */
export const TASK_NAMES_MAX = 65536;
/** Of these, at most so many of tasks that have ended. */
export const ENDED_NAMES_MAX = 4096;

/** Names of one task that are kept, newest first: fork and exec follow each other quickly. */
const NAMES_PER_TASK_MAX = 4;

interface Name {
  readonly bytes: Uint8Array;
  /** Canonical time from which on the task has it. */
  readonly sinceCycles: number;
}

export class TaskNames {
  /** Names that found no room. */
  refused = 0;
  readonly #names = new Map<number, readonly Name[]>();
  /** Ended tasks, oldest first: what they did last is printed after their end was decoded. */
  readonly #ended = new Set<number>();

  get size(): number {
    return this.#names.size;
  }

  /**
   * Copies bytes[from, to), cut to what the kernel allows a comm. Without `sinceCycles` the name is
   * the task's for as far back as anybody asks.
   */
  set(tid: number, bytes: Uint8Array, from: number, to: number, sinceCycles = -Infinity): void {
    this.#ended.delete(tid);
    if (!this.#names.has(tid) && this.#names.size >= TASK_NAMES_MAX) {
      this.#evict();
      if (this.#names.size >= TASK_NAMES_MAX) {
        this.refused++;
        return;
      }
    }
    const comm = bytes.slice(from, Math.min(to, from + TASK_COMM_BYTES - 1));
    const known = this.#names.get(tid) ?? [];
    const older = known.filter((name) => name.sinceCycles < sinceCycles);
    const names = [{ bytes: comm, sinceCycles }, ...older].slice(0, NAMES_PER_TASK_MAX);
    this.#names.set(tid, names);
  }

  /** A forked task begins with its parent's name. */
  fork(tid: number, parentTid: number, sinceCycles = -Infinity): void {
    const name = this.get(parentTid, sinceCycles === -Infinity ? Infinity : sinceCycles);
    const isKnown = this.#names.has(tid) && !this.#ended.has(tid);
    if (name !== undefined && !isKnown) this.set(tid, name, 0, name.length, sinceCycles);
  }

  /** The task has ended; its name is good until its id is used again, or room is short. */
  exit(tid: number): void {
    if (!this.#names.has(tid)) return;
    this.#ended.delete(tid);
    this.#ended.add(tid);
    if (this.#ended.size > ENDED_NAMES_MAX) this.#evict();
  }

  /** The name that a task had at a time; the oldest that is known for times before it. */
  get(tid: number, cycles = Infinity): Uint8Array | undefined {
    const names = this.#names.get(tid);
    if (names === undefined) return undefined;
    for (const { bytes, sinceCycles } of names) if (sinceCycles <= cycles) return bytes;
    return names[names.length - 1]!.bytes;
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
