// SideRecords: the records of a ring that are not samples. Rare, so written for clarity.
//
//   PERF_RECORD_LOST           u64 id, u64 lost
//   PERF_RECORD_LOST_SAMPLES   u64 lost
//   PERF_RECORD_COMM           u32 pid, tid; char comm[], NUL-terminated and padded
//   PERF_RECORD_FORK, EXIT     u32 pid, ppid, tid, ptid; u64 time
//   PERF_RECORD_MMAP2          u32 pid, tid; u64 addr, len, pgoff; u32 maj, min; u64 ino, ...;
//                              u32 prot, flags; char filename[], NUL-terminated and padded
//
// Each ends with the sample id fields when sample_id_all is set, which are not part of its body.

import {
  PERF_RECORD_COMM,
  PERF_RECORD_EXIT,
  PERF_RECORD_FORK,
  PERF_RECORD_LOST,
  PERF_RECORD_LOST_SAMPLES,
  PERF_RECORD_MISC_COMM_EXEC,
  PERF_RECORD_MMAP2,
  PERF_RECORD_THROTTLE,
  PERF_RECORD_UNTHROTTLE,
} from "../../shared/perf/record.ts";
import {
  type CodeMapping,
  PATH_BYTES_MAX,
  recordedMapping,
} from "../../shared/symbol/process_maps.ts";
import type { Chunk } from "./chunk.ts";
import type { DecodeCounters } from "./decode_counters.ts";

/** TASK_COMM_LEN of the kernel, with its NUL. */
export const TASK_COMM_BYTES = 16;

const TWO_32 = 4294967296;
const MMAP2_NAME_AT = 72;
const utf8 = new TextDecoder();

/**
 * Told of task names and lives, rarely. The bytes are only valid during the call; `cycles` is the
 * canonical time from which on it is so.
 */
export interface TaskListener {
  comm(
    machine: number,
    pid: number,
    tid: number,
    memory: Uint8Array,
    from: number,
    to: number,
    cycles: number,
  ): void;
  fork(
    machine: number,
    pid: number,
    tid: number,
    parentPid: number,
    parentTid: number,
    cycles: number,
  ): void;
  exit(machine: number, pid: number, tid: number, cycles: number): void;
  /** A process begins another program. */
  exec?(machine: number, pid: number, cycles: number): void;
  /** A process has mapped code. */
  map?(machine: number, pid: number, mapping: CodeMapping, cycles: number): void;
}

/** Reads them for one ring. */
export class SideRecords {
  readonly #counters: DecodeCounters;
  readonly #trailerBytes: number;
  readonly #tasks: TaskListener | undefined;

  /** `trailerBytes` are those of the sample id fields. */
  constructor(counters: DecodeCounters, trailerBytes: number, tasks: TaskListener | undefined) {
    this.#counters = counters;
    this.#trailerBytes = trailerBytes;
    this.#tasks = tasks;
  }

  /**
   * Reads the record at word `at` with `size` bytes, both checked by the caller, and of canonical
   * time `cycles`. Returns the number of events that it reports as lost.
   */
  read(chunk: Chunk, at: number, size: number, cycles: number): number {
    const { words } = chunk;
    const body = size - this.#trailerBytes;
    switch (words[at]) {
      case PERF_RECORD_LOST:
        if (body < 24) break;
        return this.#lost(words[at + 4]!, words[at + 5]!);
      case PERF_RECORD_LOST_SAMPLES:
        if (body < 16) break;
        return this.#lost(words[at + 2]!, words[at + 3]!);
      case PERF_RECORD_COMM:
        if (body < 24) break;
        this.#comm(chunk, at, Math.min(body - 16, TASK_COMM_BYTES), cycles);
        return 0;
      case PERF_RECORD_FORK:
      case PERF_RECORD_EXIT:
        if (body < 32) break;
        this.#life(chunk, at, cycles);
        return 0;
      case PERF_RECORD_MMAP2:
        if (body < MMAP2_NAME_AT + 8) break;
        this.#map(chunk, at, body, cycles);
        return 0;
      case PERF_RECORD_THROTTLE:
        this.#counters.throttled++;
        return 0;
      case PERF_RECORD_UNTHROTTLE:
        return 0;
    }
    this.#counters.skippedRecords++;
    return 0;
  }

  #lost(lo: number, hi: number): number {
    // A count above 2^53 is no count: taken as it is, sums only become inexact, never negative.
    const events = hi * TWO_32 + lo;
    this.#counters.lostEvents += events;
    return events;
  }

  #comm(chunk: Chunk, at: number, bytesMax: number, cycles: number): void {
    this.#counters.taskRecords++;
    const { words, memory } = chunk;
    const from = at * 4 + 16;
    let to = from;
    while (to < from + bytesMax && memory[to] !== 0) to++;
    const [pid, tid] = [words[at + 2]!, words[at + 3]!];
    this.#tasks?.comm(chunk.machine, pid, tid, memory, from, to, cycles);
    const isExec = (words[at + 1]! & PERF_RECORD_MISC_COMM_EXEC) !== 0;
    if (isExec) this.#tasks?.exec?.(chunk.machine, pid, cycles);
  }

  #map(chunk: Chunk, at: number, body: number, cycles: number): void {
    this.#counters.taskRecords++;
    const { words, memory, machine } = chunk;
    const u64 = (word: number): number => words[at + word + 1]! * TWO_32 + words[at + word]!;
    const nameFrom = at * 4 + MMAP2_NAME_AT;
    const nameEnd = Math.min(at * 4 + body, nameFrom + PATH_BYTES_MAX);
    let nameTo = nameFrom;
    while (nameTo < nameEnd && memory[nameTo] !== 0) nameTo++;
    const mapping = recordedMapping({
      start: u64(4),
      bytes: u64(6),
      fileOffset: u64(8),
      device: [words[at + 10]!, words[at + 11]!],
      inode: u64(12),
      name: utf8.decode(memory.subarray(nameFrom, nameTo)),
    });
    this.#tasks?.map?.(machine, words[at + 2]!, mapping, cycles);
  }

  #life(chunk: Chunk, at: number, cycles: number): void {
    this.#counters.taskRecords++;
    const { words, machine } = chunk;
    const pid = words[at + 2]!;
    const tid = words[at + 4]!;
    if (words[at] === PERF_RECORD_EXIT) this.#tasks?.exit(machine, pid, tid, cycles);
    else this.#tasks?.fork(machine, pid, tid, words[at + 3]!, words[at + 5]!, cycles);
  }
}
