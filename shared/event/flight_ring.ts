/**
 * The flight recorder of one CPU: a ring that the kernel overwrites, and a second one of the same
 * size, ours, into which a dump puts what the first holds, oldest record first. To everything
 * behind it (sinks, acknowledgements, resuming) the second is a ring like any other: its positions
 * count the bytes of all dumps, and it does not move between them.
 *
 *   kernel   | 6 | 5 | 4 | 3 | .. | 8 | 7 |  --- dump --->  | 3 | 4 | 5 | 6 | 7 | 8 |   Ring
 *              overwritable, PROT_READ                        anonymous memory
 */
import { BackwardRing, type RingCopy, unroll, type Walk, walkBack } from "../perf/backward_ring.ts";
import { CONTROL_BYTES, Ring } from "../perf/ring.ts";
import { CpuVisitor } from "../sys/affinity.ts";
import { Mapping } from "../sys/mapping.ts";
import type { PerfCount } from "../sys/perf_event.ts";

/** Offset of data_head in the control page of our own ring, in words. */
const DATA_HEAD_WORD = 1024 / 4;
const WORD_RANGE = 2 ** 32;
/** Readings of the counters until two agree: between them an interrupt may have counted. */
const COUNT_READINGS_MAX = 100;

/** What a FlightRing asks of the events that write into it. */
export interface FlightSource {
  readonly cpu: number;
  pause(isPaused: boolean): void;
  /** Over all events of this CPU. */
  count(): PerfCount;
}

/** The state of one CPU when its ring was looked at, output paused. */
export interface FlightCut {
  readonly count: PerfCount;
  /** Samples in the ring that no cut before this one has seen. */
  readonly samples: number;
}

export class FlightRing {
  /** What dumps have put there. */
  readonly ring: Ring;
  readonly address: number;
  readonly #backward: BackwardRing;
  readonly #memory: Mapping;
  readonly #control: Uint32Array;
  readonly #data: Uint8Array;
  /** Bytes that had been written to the kernel's ring when it was last cut. */
  #cutAt = 0;

  constructor(kernelMemory: Mapping) {
    const ringBytes = kernelMemory.bytes - CONTROL_BYTES;
    this.#backward = new BackwardRing(kernelMemory.buffer, ringBytes);
    this.#memory = Mapping.anonymous(kernelMemory.bytes);
    this.#control = new Uint32Array(this.#memory.buffer, 0, CONTROL_BYTES / 4);
    this.#data = new Uint8Array(this.#memory.buffer, CONTROL_BYTES, ringBytes);
    this.ring = new Ring(this.#memory.buffer, ringBytes);
    this.address = this.#memory.address + CONTROL_BYTES;
  }

  /**
   * Looks at what has been written since the last cut, and with `isKept` puts it into `ring`, which
   * must be empty. `scratch` has the ring's size.
   */
  cut(source: FlightSource, scratch: Uint8Array, isKept: boolean): FlightCut {
    const { copy, count } = this.#copy(source, scratch);
    const walk = walkBack(copy, this.#cutAt);
    this.#cutAt = copy.written;
    if (isKept) this.#keep(copy, walk);
    return { count, samples: walk.samples };
  }

  close(): void {
    this.#memory.close();
  }

  /** The events of the time that this takes are lost, and counted as such by the kernel. */
  #copy(source: FlightSource, scratch: Uint8Array): { copy: RingCopy; count: PerfCount } {
    const copyPaused = (): { copy: RingCopy; count: PerfCount } => {
      source.pause(true);
      try {
        // On its own CPU and paused, no record is being written: counts and ring agree.
        return { count: steadyCount(source), copy: this.#backward.copy(scratch) };
      } finally {
        source.pause(false);
      }
    };
    // From elsewhere it works as well, but for a record that may be under way and missing.
    return new CpuVisitor().visit(source.cpu, copyPaused) ?? copyPaused();
  }

  #keep(copy: RingCopy, walk: Walk): void {
    const { ring } = this;
    if (ring.tail !== ring.head) throw new RangeError("Cannot dump into a ring that is not empty");
    const head = ring.head + walk.bytes;
    unroll(copy, walk, this.#data, head);
    this.#control[DATA_HEAD_WORD] = head % WORD_RANGE;
    this.#control[DATA_HEAD_WORD + 1] = Math.floor(head / WORD_RANGE);
    ring.refreshHead();
  }
}

function steadyCount(source: FlightSource): PerfCount {
  let count = source.count();
  for (let i = 0; i < COUNT_READINGS_MAX; i++) {
    const again = source.count();
    if (again.produced === count.produced && again.lost === count.lost) break;
    count = again;
  }
  return count;
}
