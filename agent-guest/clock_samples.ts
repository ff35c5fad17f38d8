/**
 * What relates the rings' stamps to the TSC, taken about once a second: a bracketed reading of the
 * clock, or the kernel's own conversion where it publishes one. The host does the arithmetic.
 *
 * The first readings follow each other quickly, so that a line through them is good soon; the last
 * ones are kept for hosts that attach later. They are all taken on one CPU, the reference. Now and
 * then a reading on each other CPU shows whether its TSC is in step with that one:
 *
 *   CPU 0   | | |  |   |     |     |     |     |     |      every second
 *   CPU 1                   |                      |        every SWEEP_MS, and at the start
 *   CPU 2                   |                      |
 */
import type { EventSet } from "../shared/event/event_set.ts";
import { isolatedCpus } from "../shared/event/machine.ts";
import { stillOffered } from "../shared/perf/user_time.ts";
import { CLOCK_REALTIME } from "../shared/sys/abi.ts";
import { CpuVisitor } from "../shared/sys/affinity.ts";
import { clockBracket } from "../shared/sys/clock.ts";
import type { ClockSample } from "../shared/wire/gen/vmspan/v1/channel.ts";

/** Pauses before the first readings; then STEADY_MS. */
const EARLY_MS = [0, 5, 20, 60, 150, 300];
const STEADY_MS = 1000;
/** Readings kept for late hosts: the oldest goes when a new one comes. */
export const HISTORY_MAX = 16;
/** A reading keeps the narrowest bracket of this many; each takes some 60 ns. */
const ROUNDS = 32;
/** A host wants three for a line; a recording of 0.1 s has had one. */
const LAST_READINGS = 3;

/** Between two looks at the other CPUs; each costs some 20 us of this thread's time. */
const SWEEP_MS = 10_000;
/** CPUs that one look takes in; the next one goes on from there. */
export const SWEEP_CPUS_MAX = 64;

export class ClockSampler {
  readonly #set: EventSet;
  readonly #visitor: CpuVisitor;
  /** The CPU that the readings of the line are taken on. */
  readonly reference: number;
  /** The CPUs beside the reference that may be visited. */
  readonly #others: readonly number[];
  readonly #readings: ClockSample[] = [];
  /** By CPU: the last reading on each of the others. */
  readonly #visits = new Map<number, ClockSample>();
  #taken = 0;
  #nextMs = 0;
  #nextSweepMs = Infinity;
  #swept = 0;

  /**
   * Reads on the first of `cpus`, and now and then on the others. Without any, wherever it runs.
   * `avoided` are CPUs that must not be visited: isolated ones.
   */
  constructor(set: EventSet, cpus: readonly number[] = [], avoided: readonly number[] = []) {
    this.#set = set;
    this.#visitor = new CpuVisitor(avoided);
    const [reference = 0, ...others] = cpus.filter((cpu) => this.#visitor.mayVisit(cpu));
    this.reference = reference;
    // The kernel's own conversion is said to hold for all CPUs, and nothing can be read beside it.
    this.#others = set.clock.source === "fitted" ? others : [];
  }

  /** The last readings, for a host that attaches now. */
  get history(): readonly ClockSample[] {
    return [...this.#readings, ...this.#visits.values()];
  }

  /** New readings, when some are due. */
  poll(nowMs: number): readonly ClockSample[] {
    if (nowMs < this.#nextMs) return [];
    this.#taken++;
    this.#nextMs = nowMs + (EARLY_MS[this.#taken] ?? STEADY_MS);
    const [sample] = this.takeNow() as [ClockSample];
    if (this.#readings.length === HISTORY_MAX) this.#readings.shift();
    this.#readings.push(sample);
    if (this.#taken === EARLY_MS.length) this.#nextSweepMs = nowMs;
    return nowMs >= this.#nextSweepMs ? [sample, ...this.#sweep(nowMs)] : [sample];
  }

  /** A reading on each of the other CPUs that can be had. */
  #sweep(nowMs: number): ClockSample[] {
    this.#nextSweepMs = nowMs + SWEEP_MS;
    const samples: ClockSample[] = [];
    const count = Math.min(this.#others.length, SWEEP_CPUS_MAX);
    for (let i = 0; i < count; i++) {
      const cpu = this.#others[this.#swept++ % this.#others.length]!;
      const sample = this.#visitor.visit(cpu, () => this.#take(cpu));
      if (sample === undefined) continue;
      this.#visits.set(cpu, sample);
      samples.push(sample);
    }
    return samples;
  }

  /** Whether readings come at a steady pace: there are enough for a line. */
  get isSettled(): boolean {
    return this.#taken >= EARLY_MS.length;
  }

  /** For a stream that ends: what a line still lacks when it ends before the early readings. */
  lastReadings(): readonly ClockSample[] {
    const missing = this.isSettled ? 0 : LAST_READINGS;
    return Array.from({ length: missing }, () => this.takeNow()[0]!);
  }

  /** A reading now, whether it is due or not. */
  takeNow(): readonly ClockSample[] {
    const { reference } = this;
    return [this.#visitor.visit(reference, () => this.#take(reference)) ?? this.#take(reference)];
  }

  /** Milliseconds until the next reading is due. */
  dueInMs(nowMs: number): number {
    return Math.max(0, this.#nextMs - nowMs);
  }

  #take(cpu: number): ClockSample {
    const realtime = clockBracket(CLOCK_REALTIME, 4);
    return {
      cpu,
      epoch: 0,
      conversion: this.#conversion(),
      realtimeNs: realtime.ns,
      realtimeTsc: (realtime.tscBefore + realtime.tscAfter) / 2n,
    };
  }

  #conversion(): ClockSample["conversion"] {
    const { clock } = this.#set;
    if (clock.source === "exact") {
      const { timeZero, timeMult: mult, timeShift: shift } = stillOffered(this.#set.userTime());
      return { $case: "exact", value: { timeZero, mult, shift } };
    }
    const { tscBefore, ns, tscAfter } = clockBracket(clock.clockId, ROUNDS);
    return { $case: "fitted", value: { tscBefore, perfNs: ns, tscAfter } };
  }
}

/** The sampler of a set's clock, on the CPUs that the set samples. */
export function clockSamplerOf(set: EventSet): ClockSampler {
  const cpus = set.rings.map(({ cpu }) => cpu);
  return new ClockSampler(set, cpus, isolatedCpus());
}
