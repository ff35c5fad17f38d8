/**
 * The forks of one machine that were read last. A child inherits the name that its parent has then,
 * and that name may be read later, when it lies in the ring of another CPU:
 *
 *   ring of CPU 0, read first    FORK 4713 of 4711 at 120     inherits "taskset", which is wrong
 *   ring of CPU 1                COMM 4711 "qemu" at 110      4713 is named anew
 */

/** So many are kept: the threads that a program starts with. */
const FORKS_MAX = 64;
/** A fork is looked at again so often: a guest that makes up late names pays for it with forks. */
const USES_MAX = 4;

export class RecentForks {
  /** Nothing that is kept is later. */
  newestCycles = Number.NEGATIVE_INFINITY;
  readonly #tids = new Float64Array(FORKS_MAX);
  readonly #parents = new Float64Array(FORKS_MAX).fill(-1);
  readonly #cycles = new Float64Array(FORKS_MAX);
  readonly #uses = new Uint8Array(FORKS_MAX);
  #next = 0;

  add(tid: number, parentTid: number, cycles: number): void {
    this.#tids[this.#next] = tid;
    this.#parents[this.#next] = parentTid;
    this.#cycles[this.#next] = cycles;
    this.#uses[this.#next] = 0;
    this.#next = (this.#next + 1) % FORKS_MAX;
    if (cycles > this.newestCycles) this.newestCycles = cycles;
  }

  /** Calls `use` for each that is of this parent, and not before `fromCycles`; USES_MAX times. */
  each(
    parentTid: number,
    fromCycles: number,
    use: (tid: number, parentTid: number, cycles: number) => void,
  ): void {
    for (let i = 0; i < FORKS_MAX; i++) {
      if (this.#parents[i] !== parentTid || this.#cycles[i]! < fromCycles) continue;
      if (this.#uses[i]!++ === USES_MAX) {
        this.#parents[i] = -1;
        continue;
      }
      use(this.#tids[i]!, parentTid, this.#cycles[i]!);
    }
  }
}
