/**
 * Names of one machine's tasks by thread id: from snapshots and from COMM and FORK records. A guest
 * could name millions, so the map is bounded, and what does not fit prints as <...>.
 *
 * A record is decoded before the lines around it are printed, so a name knows since when it holds:
 *
 *   tid 4711   "bash" until 17:03:05.120400, then "make"
 *
 * A task moves between CPUs, and their rings are decoded one after the other: what is told last may
 * be what happened first. So names are kept in the order of their times.
 */
import { TASK_COMM_BYTES } from "../analyze/side_records.ts";
import { widen } from "../analyze/widen.ts";
import { RecentForks } from "./recent_forks.ts";

/** Names kept of one machine: the default pid_max, and over. */
export const TASK_NAMES_MAX = 65536;
/** Tasks that have ended and are known to have, with their names: at most so many. */
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

function isEqual(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
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
  /**
   * When tasks ended, in the order in which that was read: what they did last is printed after
   * their end was decoded. Of some it is read before their first name.
   */
  readonly #ended = new Map<number, number>();
  readonly #forks = new RecentForks();

  get size(): number {
    return this.#slots.size;
  }

  /**
   * Copies bytes[from, to), cut to what the kernel allows a comm. Without `sinceCycles` it is what
   * a snapshot says: the task is there, and has that name for as far back as anybody asks.
   */
  set(tid: number, bytes: Uint8Array, from: number, to: number, sinceCycles = -Infinity): void {
    this.#put(tid, bytes.subarray(from, Math.min(to, from + NAME_BYTES_MAX)), sinceCycles);
    // Its children may have been read before the name that they inherit.
    const isLate = sinceCycles > -Infinity && sinceCycles < this.#forks.newestCycles;
    if (isLate) this.#forks.each(tid, sinceCycles, this.#inherit);
  }

  #put(tid: number, name: Uint8Array, sinceCycles: number): void {
    if (!this.#isOver(tid, sinceCycles)) this.#ended.delete(tid);
    const known = this.#slots.get(tid);
    if (known === undefined) {
      const slot = this.#takeSlot();
      if (slot < 0) {
        this.refused++;
        return;
      }
      this.#slots.set(tid, slot);
      this.#write(slot, name, sinceCycles);
      return;
    }
    const newest = this.#sinceCycles[known]!;
    if (sinceCycles === -Infinity) {
      // A snapshot that tells what is known says nothing of the time before it.
      if (isEqual(this.#textAt(known), name)) return;
      this.#older.delete(tid);
    } else if (sinceCycles < newest) {
      this.#keepOlder(tid, name, sinceCycles);
      return;
    } else if (sinceCycles > newest) {
      this.#keepOlder(tid, this.#textAt(known), newest);
    }
    this.#write(known, name, sinceCycles);
  }

  #write(slot: number, name: Uint8Array, sinceCycles: number): void {
    this.#text.set(name, slot * SLOT_BYTES);
    this.#text[slot * SLOT_BYTES + NAME_BYTES_MAX] = name.length;
    this.#sinceCycles[slot] = sinceCycles;
  }

  /** A name that the task had before the one in its slot takes its place among the others. */
  #keepOlder(tid: number, name: Uint8Array, sinceCycles: number): void {
    const known = this.#older.get(tid) ?? [];
    const newer = known.filter((other) => other.sinceCycles > sinceCycles);
    const before = known.filter((other) => other.sinceCycles < sinceCycles);
    const older = [...newer, { bytes: name.slice(), sinceCycles }, ...before];
    this.#older.set(tid, older.slice(0, NAMES_PER_TASK_MAX - 1));
  }

  /** Room for one more name; -1 when there is none. */
  #takeSlot(): number {
    while (this.#slots.size >= TASK_NAMES_MAX && this.#ended.size > 0) this.#forgetFirst();
    if (this.#slots.size >= TASK_NAMES_MAX) return -1;
    const slot = this.#freeSlots.pop() ?? this.#slots.size;
    if (slot >= this.#sinceCycles.length) this.#grow();
    return slot;
  }

  #grow(): void {
    this.#text = widen(this.#text, new Uint8Array(2 * this.#text.length));
    this.#sinceCycles = widen(this.#sinceCycles, new Float64Array(2 * this.#sinceCycles.length));
  }

  #textAt(slot: number): Uint8Array {
    const at = slot * SLOT_BYTES;
    return this.#text.subarray(at, at + this.#text[at + NAME_BYTES_MAX]!);
  }

  /** A forked task begins with its parent's name. */
  fork(tid: number, parentTid: number, sinceCycles = -Infinity): void {
    this.#forks.add(tid, parentTid, sinceCycles);
    this.#inherit(tid, parentTid, sinceCycles);
  }

  readonly #inherit = (tid: number, parentTid: number, sinceCycles: number): void => {
    const isTimed = sinceCycles > -Infinity;
    const name = this.get(parentTid, isTimed ? sinceCycles : Infinity);
    if (name === undefined) return;
    const slot = this.#slots.get(tid);
    const isNew = slot === undefined || (this.#ended.has(tid) && !this.#isOver(tid, sinceCycles));
    // A snapshot may be later than the fork, and than an exec that no record tells of any more.
    const isInSnapshot = slot !== undefined && this.#sinceCycles[slot] === -Infinity;
    if (!isNew && (isInSnapshot || !isTimed)) return;
    this.#put(tid, name, sinceCycles);
  };

  /** Whether what the task did at a time was before its end, as far as that is known. */
  #isOver(tid: number, cycles: number): boolean {
    return cycles > -Infinity && cycles < (this.#ended.get(tid) ?? -Infinity);
  }

  /**
   * The task has ended; its name is good until its id is used again, or room is short. A name that
   * is read later is of the same task if it is older than that.
   */
  exit(tid: number, cycles: number): void {
    const slot = this.#slots.get(tid);
    // Its id has been used again since.
    if (slot !== undefined && this.#sinceCycles[slot]! > cycles) return;
    this.#ended.delete(tid);
    this.#ended.set(tid, cycles);
    if (this.#ended.size > ENDED_NAMES_MAX) this.#forgetFirst();
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

  /** Forgets the task whose end was read first. */
  #forgetFirst(): void {
    for (const tid of this.#ended.keys()) {
      this.#ended.delete(tid);
      const slot = this.#slots.get(tid);
      if (slot === undefined) return;
      this.#freeSlots.push(slot);
      this.#slots.delete(tid);
      this.#older.delete(tid);
      return;
    }
  }
}
