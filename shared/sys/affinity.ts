/**
 * Going to a CPU for a moment, to read something there: sched_setaffinity(2) of the calling thread,
 * and back to where it may run otherwise.
 *
 *   may run on 0-3     visit(2, read)     runs on 2     read()     may run on 0-3 again
 *
 * A CPU that keeps the thread waiting (a real-time task spins on it, or the machine is overloaded)
 * is left alone for ever more visits; those that the administrator has taken out of the scheduler's
 * hands are not visited at all.
 */
import { SYS } from "./abi.ts";
import { EINVAL } from "./errno.ts";
import { addressOf, syscall } from "./syscall.ts";

/** Bits of a CPU mask: more than any kernel is built for (8192). */
const MASK_BYTES = 1024;
/** A visit that takes longer says that the CPU is not to be had now. */
const VISIT_MS_MAX = 20;
/** Visits left out after slow ones: 1, 2, 4 and so on up to this. */
const REST_MAX = 64;

export class CpuVisitor {
  readonly #before = new Uint8Array(MASK_BYTES);
  readonly #one = new Uint8Array(MASK_BYTES);
  readonly #avoided: Set<number>;
  /** By CPU that let us wait: visits to leave out now, and how many after the last slow one. */
  readonly #resting = new Map<number, { left: number; span: number }>();

  /** `avoided`: CPUs not to be visited. */
  constructor(avoided: Iterable<number> = []) {
    this.#avoided = new Set(avoided);
  }

  /** Whether visits to `cpu` are worth trying. */
  mayVisit(cpu: number): boolean {
    return cpu >= 0 && cpu < MASK_BYTES * 8 && !this.#avoided.has(cpu);
  }

  /** What `read` gives on `cpu`; undefined when this thread cannot, or must not, go there. */
  visit<T>(cpu: number, read: () => T): T | undefined {
    if (!this.mayVisit(cpu) || this.#rests(cpu)) return undefined;
    const startMs = performance.now();
    const at = addressOf(this.#before);
    const bytes = syscall(SYS.sched_getaffinity, 0, MASK_BYTES, at, 0, 0, 0);
    // The kernel says how many bytes its own masks have.
    if (bytes <= 0 || bytes > MASK_BYTES) return undefined;
    this.#one.fill(0);
    this.#one[cpu >>> 3] = 1 << (cpu & 7);
    const result = setAffinity(this.#one, bytes);
    if (result !== 0) {
      // Offline, or outside of this thread's cpuset: for good, as far as we care.
      if (result === -EINVAL) this.#avoided.add(cpu);
      return undefined;
    }
    try {
      if (performance.now() - startMs > VISIT_MS_MAX) this.#rest(cpu);
      else this.#resting.delete(cpu);
      return read();
    } finally {
      setAffinity(this.#before, bytes);
    }
  }

  #rests(cpu: number): boolean {
    const rest = this.#resting.get(cpu);
    return rest !== undefined && rest.left-- > 0;
  }

  #rest(cpu: number): void {
    const before = this.#resting.get(cpu)?.span ?? 0;
    const span = Math.min(Math.max(2 * before, 1), REST_MAX);
    this.#resting.set(cpu, { left: span, span });
  }
}

function setAffinity(mask: Uint8Array, bytes: number): number {
  return syscall(SYS.sched_setaffinity, 0, bytes, addressOf(mask), 0, 0, 0);
}
