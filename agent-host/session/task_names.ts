/**
 * Names of one machine's tasks by thread id: from snapshots and from COMM and FORK records. A guest
 * could name millions, so the map is bounded, and what does not fit prints as <...>.
 */
import { TASK_COMM_BYTES } from "../analyze/side_records.ts";

/** Names kept of one machine: the default pid_max, and over. */
export const TASK_NAMES_MAX = 65536;

export class TaskNames {
  /** Names that found no room. */
  refused = 0;
  readonly #names = new Map<number, Uint8Array>();

  get size(): number {
    return this.#names.size;
  }

  /** Copies bytes[from, to), cut to what the kernel allows a comm. */
  set(tid: number, bytes: Uint8Array, from: number, to: number): void {
    if (!this.#names.has(tid) && this.#names.size >= TASK_NAMES_MAX) {
      this.refused++;
      return;
    }
    this.#names.set(tid, bytes.slice(from, Math.min(to, from + TASK_COMM_BYTES - 1)));
  }

  /** A forked task begins with its parent's name. */
  fork(tid: number, parentTid: number): void {
    const name = this.#names.get(parentTid);
    if (name !== undefined && !this.#names.has(tid)) this.set(tid, name, 0, name.length);
  }

  exit(tid: number): void {
    this.#names.delete(tid);
  }

  get(tid: number): Uint8Array | undefined {
    return this.#names.get(tid);
  }
}
