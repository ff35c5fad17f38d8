/**
 * Whether the TSCs of one machine's CPUs agree, as far as readings of its clock on each of them
 * tell: the reference CPU's readings make the line, every other CPU's readings are held against it.
 *
 *   TSC |              x .'      x: TSC of CPU 3 when the clock showed ns, read on CPU 3
 *       |        skew |.'        .': the line of CPU 0
 *       |           .'           skew: how far CPU 3's TSC is ahead, as an interval
 *       +---------------- ns
 *
 * An interval that holds 0 means: in step, as far as can be seen. Kernels use the TSC as a clock
 * only where they found it in step; a guest on kvm-clock may have TSCs that are apart (offsets per
 * vCPU, TSC_ADJUST), and its clock hides that. Such a CPU gets the line moved by the middle of its
 * interval, with half of its width more bound; an interval that leaves the one before behind is a
 * step of that CPU's TSC. Arithmetic on deltas; nothing here reads a clock.
 */
import type { ClockBracket } from "./perf_clock_fit.ts";
import { startTime, TimeMap } from "./time_map.ts";
import type { TimeSegment } from "./time_segment.ts";
import { wrappedDelta } from "./tsc.ts";

/** CPUs that are held against the reference; a hostile sender may claim more. */
export const SKEW_CPUS_MAX = 1024;
/** A skew in force is measured anew when it can be known this much better. */
const BETTER_RATIO = 1.25;

/** How far a CPU's TSC is ahead of the reference CPU's, in cycles: somewhere from lo to hi. */
export interface CpuSkew {
  readonly cpu: number;
  readonly lo: number;
  readonly hi: number;
  /** 0 is not in the interval: the two TSCs are apart. */
  readonly isApart: boolean;
  /** Times that the interval was left behind. */
  readonly epoch: number;
}

interface Known {
  bracket: ClockBracket;
  skew: CpuSkew | undefined;
}

/** A map that was moved or widened, and what it was made of. */
interface Moved {
  readonly map: TimeMap;
  readonly of: TimeSegment;
  readonly by: CpuSkew | undefined;
  readonly extraCycles: number;
}

export class CpuSkews {
  readonly #cpus = new Map<number, Known>();
  readonly #moved = new Map<number, Moved>();
  /** Readings of CPUs beyond SKEW_CPUS_MAX. */
  refusedCount = 0;
  /** Cycles between the least and the greatest TSC that any two CPUs may show at one time. */
  spreadCycles = 0;

  /** The skews that are known, by CPU in the order in which they were first read. */
  list(): CpuSkew[] {
    return [...this.#cpus.values()].flatMap(({ skew }) => (skew === undefined ? [] : [skew]));
  }

  /** The greatest distance from the reference that the CPUs in step may have unseen. */
  get resolutionCycles(): number {
    let worst = 0;
    for (const { isApart, lo, hi } of this.list()) {
      if (!isApart) worst = Math.max(worst, -lo, hi);
    }
    return worst;
  }

  /** CPUs whose TSC is apart from the reference's. */
  get apart(): CpuSkew[] {
    return this.list().filter(({ isApart }) => isApart);
  }

  /** A reading on another CPU than the reference. It waits until `line` is known. */
  add(cpu: number, bracket: ClockBracket, line: TimeMap | undefined): void {
    const known = this.#cpus.get(cpu);
    if (known !== undefined) known.bracket = bracket;
    else if (this.#cpus.size >= SKEW_CPUS_MAX) {
      this.refusedCount++;
      return;
    } else this.#cpus.set(cpu, { bracket, skew: undefined });
    if (line?.newest !== undefined) this.#judge(cpu, this.#cpus.get(cpu)!, line);
  }

  /** The reference's line was renewed: the last readings can be judged better. */
  renew(line: TimeMap): void {
    for (const [cpu, known] of this.#cpus) this.#judge(cpu, known, line);
  }

  /** The clock stepped: nothing of what was read before says anything any more. */
  reset(): void {
    this.#cpus.clear();
    this.#moved.clear();
    this.spreadCycles = 0;
  }

  /**
   * The line for `cpu`: the reference's own, or moved to where its TSC is; with so much more bound.
   * The same object while nothing changes.
   */
  mapFor(cpu: number, line: TimeMap, extraCycles = 0): TimeMap {
    const skew = this.#cpus.get(cpu)?.skew;
    const by = skew?.isApart === true ? skew : undefined;
    const of = line.newest;
    if (of === undefined || (by === undefined && extraCycles === 0)) return line;
    const made = this.#moved.get(cpu);
    if (made?.of === of && made.by === by && made.extraCycles === extraCycles) return made.map;
    const map = movedMap(line, by, extraCycles);
    if (made !== undefined || this.#moved.size <= SKEW_CPUS_MAX) {
      this.#moved.set(cpu, { map, of, by, extraCycles });
    }
    return map;
  }

  #judge(cpu: number, known: Known, line: TimeMap): void {
    const { tscBefore, ns, tscAfter } = known.bracket;
    const { cycles, targetAnchor, boundCycles } = line.convert(ns);
    const lo = Number(wrappedDelta(tscBefore, targetAnchor)) - cycles - boundCycles;
    const hi = Number(wrappedDelta(tscAfter, targetAnchor)) - cycles + boundCycles;
    if (!Number.isFinite(lo) || !Number.isFinite(hi) || lo > hi) return;
    const { skew } = known;
    const wasApart = skew?.isApart === true;
    if (skew !== undefined && lo <= skew.hi && skew.lo <= hi) {
      const isBetter = (skew.hi - skew.lo) / Math.max(hi - lo, 1) > BETTER_RATIO;
      if (!isBetter && skew.isApart === !(lo <= 0 && 0 <= hi)) return;
      known.skew = { ...skew, lo, hi, isApart: !(lo <= 0 && 0 <= hi) };
    } else {
      const epoch = skew === undefined ? 0 : skew.epoch + 1;
      known.skew = { cpu, lo, hi, isApart: !(lo <= 0 && 0 <= hi), epoch };
    }
    if (wasApart || known.skew.isApart) this.#spread();
  }

  #spread(): void {
    let [lo, hi] = [0, 0];
    for (const skew of this.apart) {
      lo = Math.min(lo, skew.lo);
      hi = Math.max(hi, skew.hi);
    }
    this.spreadCycles = hi - lo;
  }
}

/** `line` with every segment moved by the middle of the skew, and half its width more bound. */
function movedMap(line: TimeMap, skew: CpuSkew | undefined, extraCycles: number): TimeMap {
  const { lo, hi, epoch } = skew ?? { lo: 0, hi: 0, epoch: 0 };
  const moved = new TimeMap();
  // Two CPUs that share a line are off from each other by this, too.
  const skewCycles = (hi - lo) / 2 + extraCycles;
  for (const segment of line.segments) {
    const piece = {
      ...segment,
      originCycles: segment.originCycles + (lo + hi) / 2,
      boundCycles: segment.boundCycles + skewCycles,
      wanderCycles: segment.wanderCycles + 2 * skewCycles,
      epoch: segment.epoch + epoch,
    };
    moved.push(piece, startTime(segment));
  }
  return moved;
}
