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

/** Room for a name: fifteen characters, and how many there are. */
const SLOT_BYTES = TASK_COMM_BYTES;
const NAME_BYTES_MAX = SLOT_BYTES - 1;
const SLOTS_MIN = 256;

/** A name that a task had before the one that it has. */
interface OlderName {
  readonly bytes: Uint8Array;
  /** Canonical time from which on the task had it. */
  readonly sinceCycles: number;
}

/** Names lie in one piece of memory: as objects, a guest's 65,536 would keep the collector busy. */
export class TaskNames {
  /** Names that found no room. */
  refused = 0;
  readonly #slots = new Map<number, number>();
  readonly #freeSlots: number[] = [];
  #text = new Uint8Array(SLOTS_MIN * SLOT_BYTES);
  #sinceCycles = new Float64Array(SLOTS_MIN);
  /** Newest first. */
  readonly #older = new Map<number, readonly OlderName[]>();
  /** Ended tasks, oldest first: what they did last is printed after their end was decoded. */
  readonly #ended = new Set<number>();

  get size(): number {
    return this.#slots.size;
  }

  /**
   * Copies bytes[from, to), cut to what the kernel allows a comm. Without `sinceCycles` the name is
   * the task's for as far back as anybody asks.
   */
  set(tid: number, bytes: Uint8Array, from: number, to: number, sinceCycles = -Infinity): void {
    this.#ended.delete(tid);
    const known = this.#slots.get(tid);
    if (known !== undefined) this.#keepOlder(tid, known, sinceCycles);
    const slot = known ?? this.#takeSlot();
    if (slot < 0) {
      this.refused++;
      return;
    }
    const end = Math.min(to, from + NAME_BYTES_MAX);
    this.#text.set(bytes.subarray(from, end), slot * SLOT_BYTES);
    this.#text[slot * SLOT_BYTES + NAME_BYTES_MAX] = end - from;
    this.#sinceCycles[slot] = sinceCycles;
    this.#slots.set(tid, slot);
  }

  /** The name that a task has had goes to those before it; of those, what began before is kept. */
  #keepOlder(tid: number, slot: number, sinceCycles: number): void {
    const isOlder = (name: OlderName): boolean => name.sinceCycles < sinceCycles;
    const last = { bytes: this.#textAt(slot).slice(), sinceCycles: this.#sinceCycles[slot]! };
    const older = [last, ...(this.#older.get(tid) ?? [])].filter(isOlder);
    if (older.length === 0) this.#older.delete(tid);
    else this.#older.set(tid, older.slice(0, NAMES_PER_TASK_MAX - 1));
  }

  /** Room for one more name; -1 when there is none. */
  #takeSlot(): number {
    if (this.#slots.size >= TASK_NAMES_MAX) this.#evict();
    if (this.#slots.size >= TASK_NAMES_MAX) return -1;
    const slot = this.#freeSlots.pop() ?? this.#slots.size;
    if (slot >= this.#sinceCycles.length) this.#grow();
    return slot;
  }

  #grow(): void {
    const [text, sinceCycles] = [this.#text, this.#sinceCycles];
    this.#text = new Uint8Array(2 * text.length);
    this.#text.set(text);
    this.#sinceCycles = new Float64Array(2 * sinceCycles.length);
    this.#sinceCycles.set(sinceCycles);
  }

  #textAt(slot: number): Uint8Array {
    const at = slot * SLOT_BYTES;
    return this.#text.subarray(at, at + this.#text[at + NAME_BYTES_MAX]!);
  }

  /** A forked task begins with its parent's name. */
  fork(tid: number, parentTid: number, sinceCycles = -Infinity): void {
    const name = this.get(parentTid, sinceCycles === -Infinity ? Infinity : sinceCycles);
    const isKnown = this.#slots.has(tid) && !this.#ended.has(tid);
    if (name !== undefined && !isKnown) this.set(tid, name, 0, name.length, sinceCycles);
  }

  /** The task has ended; its name is good until its id is used again, or room is short. */
  exit(tid: number): void {
    if (!this.#slots.has(tid)) return;
    this.#ended.delete(tid);
    this.#ended.add(tid);
    if (this.#ended.size > ENDED_NAMES_MAX) this.#evict();
  }

  /**
   * The name that a task had at a time; the oldest that is known for times before it. To be used at
   * once: it is a view of what the next names may overwrite.
   */
  get(tid: number, cycles = Infinity): Uint8Array | undefined {
    const slot = this.#slots.get(tid);
    if (slot === undefined) return undefined;
    const older = this.#older.get(tid);
    if (older === undefined || this.#sinceCycles[slot]! <= cycles) return this.#textAt(slot);
    for (const { bytes, sinceCycles } of older) if (sinceCycles <= cycles) return bytes;
    return older[older.length - 1]!.bytes;
  }

  /** Forgets the task that ended first. */
  #evict(): void {
    for (const tid of this.#ended) {
      this.#ended.delete(tid);
      this.#freeSlots.push(this.#slots.get(tid)!);
      this.#slots.delete(tid);
      this.#older.delete(tid);
      return;
    }
  }
}
