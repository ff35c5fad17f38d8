/**
 * A set of opened events: one ring per CPU that all events of this CPU share. The set owns every
 * descriptor, mapping and probe of it, and knows nothing of what the records mean.
 */
import {
  type CallChain,
  type EventAttr,
  encodeAttr,
  type Inherit,
  PERF_COUNT_SW_DUMMY,
  PERF_FORMAT_LOST,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
} from "../perf/attr.ts";
import { CONTROL_BYTES } from "../perf/ring.ts";
import {
  PERF_SAMPLE_CALLCHAIN,
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../perf/sample_type.ts";
import { readUserTime, type UserTime } from "../perf/user_time.ts";
import { CLOCK_MONOTONIC_RAW } from "../sys/abi.ts";
import { rdtsc } from "../sys/clock.ts";
import { ESRCH, SysError } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import type { Mapping } from "../sys/mapping.ts";
import {
  openPerfEvent,
  type PerfCount,
  perfEventId,
  readPerfCount,
  setPerfFilter,
  setPerfOutput,
} from "../sys/perf_event.ts";
import type { PollSet } from "../sys/poll.ts";
import { callChainOf } from "./call_chain.ts";
import { CpuRing, mapRing } from "./cpu_ring.ts";
import { cpusOf } from "./event_cpus.ts";
import { describeRefusals, examineRefusal, type RefusedFilter } from "./filter_error.ts";
import type { FlightCut } from "./flight_ring.ts";
import { globTraps } from "./glob_trap.ts";
import { closeProbes, type ResolvedEvent } from "./resolve.ts";
import { sampledThreads } from "./sampled_threads.ts";

export { CpuRing } from "./cpu_ring.ts";
export { FilterError } from "./filter_error.ts";

/** How records are stamped: perf's own clock, exact in TSC, or a kernel clock to be fitted. */
export type PerfClock =
  | { readonly source: "exact"; readonly clockId: undefined }
  | { readonly source: "fitted"; readonly clockId: number };

export interface EventSetOptions {
  readonly cpus: readonly number[];
  readonly ringBytes: number;
  readonly watermarkBytes: number;
  /** Put process and thread ids into every sample. */
  readonly threadIds: boolean;
  /** Put COMM, FORK and EXIT records into the rings. */
  readonly taskNames: boolean;
  /** Trace only this thread, or -1 for all. */
  readonly pid: number;
  /** `pid` is a process: trace all its threads, those to come included. */
  readonly wholeProcess?: boolean;
  /** The kernel overwrites the oldest records: rings move by cut() only. */
  readonly isOverwrite?: boolean;
  /** The events' probes are another set's: they outlive this one. */
  readonly borrowsProbes?: boolean;
  /** Sample the call chain of every event, not only of those that ask for it. */
  readonly callChains?: boolean;
}

const barrierWords = new Uint32Array(2);
const barrier = (): void => rdtsc(barrierWords);

/**
 * Which clock this machine's rings can be stamped with. The bit in a ring's page decides, not the
 * clocksource's name: a guest on kvm-clock's sched_clock has clocksource "tsc" and no bit.
 */
export function probePerfClock(cpu: number): PerfClock {
  const attr = encodeAttr({
    type: PERF_TYPE_SOFTWARE,
    config: PERF_COUNT_SW_DUMMY,
    sampleType: PERF_SAMPLE_TIME,
    readFormat: 0,
    watermarkBytes: CONTROL_BYTES,
    clockId: undefined,
    taskNames: false,
    inherit: "none",
  });
  using fd = openPerfEvent(attr, -1, cpu, "dummy");
  using mapping = mapRing(fd, CONTROL_BYTES);
  const userTime = readUserTime(mapping.buffer, barrier);
  return userTime === undefined
    ? { source: "fitted", clockId: CLOCK_MONOTONIC_RAW }
    : { source: "exact", clockId: undefined };
}

/**
 * sample_type for a set: the least that tells its records apart. It is the same for all events of
 * the set, so that nothing in a record has to tell which: where some have call chains, the others
 * have an empty one, which takes the eight bytes that PERF_SAMPLE_IDENTIFIER would.
 */
function sampleTypeFor(
  events: readonly ResolvedEvent[],
  options: EventSetOptions,
  chains: readonly (CallChain | undefined)[],
): number {
  let sampleType = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
  if (chains.some((chain) => chain !== undefined)) sampleType |= PERF_SAMPLE_CALLCHAIN;
  // Addresses of user space mean nothing without their process.
  if (chains.some((chain) => chain?.hasUser === true)) sampleType |= PERF_SAMPLE_TID;
  const ids = new Set(events.map((event) => event.id));
  if (ids.size < events.length) sampleType |= PERF_SAMPLE_IDENTIFIER;
  if (options.threadIds) sampleType |= PERF_SAMPLE_TID;
  return sampleType;
}

export class EventSet {
  readonly events: readonly ResolvedEvent[];
  readonly rings: readonly CpuRing[];
  readonly clock: PerfClock;
  readonly sampleType: number;
  readonly options: EventSetOptions;
  /** Whether counts include the records that found no room (Linux 6.0). */
  readonly hasLost: boolean;
  /** By event: what of its call chain is sampled. */
  readonly #chains: readonly (CallChain | undefined)[];
  readonly #inherit: Inherit;
  /** By event: filters that the kernel did not take. Their events run unfiltered. */
  readonly #refused = new Map<ResolvedEvent, RefusedFilter>();
  /** By event: the CPUs that it is opened on (cpus=), undefined for all of the set. */
  readonly #cpusOf: readonly (ReadonlySet<number> | undefined)[];
  #isEnabled = false;
  #isOpen = true;

  /** Opens every event on every CPU, disabled. Takes the events' probes over, also on failure. */
  constructor(events: readonly ResolvedEvent[], options: EventSetOptions) {
    this.events = events;
    this.options = options;
    const isForAll = options.callChains === true;
    this.#chains = events.map(({ spec }) => callChainOf(spec.attributes, isForAll));
    this.sampleType = sampleTypeFor(events, options, this.#chains);
    const rings: CpuRing[] = [];
    try {
      this.#cpusOf = events.map((event) => cpusOf(event, options.cpus));
      const tids = sampledThreads(options.pid, options.wholeProcess === true);
      this.clock = probePerfClock(options.cpus[0]!);
      const features = this.#probeFeatures();
      this.hasLost = features.readFormat === PERF_FORMAT_LOST;
      this.#inherit = features.inherit;
      for (const cpu of options.cpus) {
        const ring = this.#openCpu(cpu, tids);
        if (ring !== undefined) rings.push(ring);
      }
      if (rings.length === 0) throw new RangeError("Cannot open events: no CPU is online");
    } catch (error) {
      for (const ring of rings) ring.close();
      if (options.borrowsProbes !== true) closeProbes(events);
      throw error;
    }
    this.rings = rings;
  }

  /** Whether any event samples call chains of user space. */
  get hasUserChains(): boolean {
    return this.#chains.some((chain) => chain?.hasUser === true);
  }

  /** Filters that the kernel refused: somebody has to run them on the records. */
  get refusedFilters(): readonly RefusedFilter[] {
    return [...this.#refused.values()];
  }

  /** What the user should know of the filters; `runner` runs those that the kernel refused. */
  filterHints(runner: string): string[] {
    const kernels = this.events.map((event) => ({ ...event, filter: this.kernelFilter(event) }));
    return [...describeRefusals(this.refusedFilters, runner), ...globTraps(kernels)];
  }

  /** The filter of an event that its kernel applies, empty when there is none. */
  kernelFilter(event: ResolvedEvent): string {
    return this.#refused.has(event) ? "" : event.spec.filter;
  }

  /** The filter of an event that its kernel refused, and why; undefined when it did not. */
  refusal(event: ResolvedEvent): RefusedFilter | undefined {
    return this.#refused.get(event);
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  /** Whether every task that was to be sampled has ended; never so when all tasks are. */
  get hasEnded(): boolean {
    return this.rings.every((ring) => ring.hasEnded);
  }

  enable(): void {
    if (this.#isEnabled) return;
    this.#isEnabled = true;
    for (const ring of this.rings) ring.enable();
  }

  /** After it nothing more is produced: heads and counts stand still. */
  disable(): void {
    if (!this.#isEnabled) return;
    this.#isEnabled = false;
    for (const ring of this.rings) ring.disable();
  }

  /** Stops event `index` for good, wherever it runs. */
  retire(index: number): void {
    for (const ring of this.rings) {
      for (const fd of this.#fdsOf(ring, index)) ring.retire(fd);
    }
  }

  /** Adds what wakes the reader of the rings. */
  register(poll: PollSet): void {
    for (const ring of this.rings) ring.register(poll);
  }

  /** After each wait that followed register(). */
  noteHangUps(poll: PollSet): void {
    for (const ring of this.rings) ring.noteHangUp(poll);
  }

  /** Produced and lost of one CPU, over all its events. */
  count(ring: CpuRing): PerfCount {
    let [produced, lost] = [0n, 0n];
    for (const fd of ring.fds) {
      const count = readPerfCount(fd, this.hasLost);
      produced += count.produced;
      lost += count.lost;
    }
    return { produced, lost };
  }

  /**
   * Of an overwritten ring: what it holds since the last time, which is put into `ring.ring` when
   * it `isKept`. `scratch` has the ring's size. Throws SysError.
   */
  cut(ring: CpuRing, scratch: Uint8Array, isKept: boolean): FlightCut {
    const source = {
      cpu: ring.cpu,
      pause: (isPaused: boolean): void => ring.pause(isPaused),
      count: (): PerfCount => this.count(ring),
    };
    return ring.flight!.cut(source, scratch, isKept);
  }

  /** PERF_SAMPLE_IDENTIFIER values of event `index`: one per CPU and thread. */
  identifiers(index: number): bigint[] {
    return this.rings.flatMap((ring) => this.#fdsOf(ring, index).map((fd) => perfEventId(fd)));
  }

  /** The descriptors of event `index` on a CPU. */
  #fdsOf({ cpu, fds }: CpuRing, index: number): Fd[] {
    // Of each thread in turn, the events of this CPU in their order.
    const here = this.#eventsOn(cpu);
    const place = here.indexOf(this.events[index]!);
    return fds.filter((_, i) => i % here.length === place);
  }

  /** The exact conversion as the kernel has it now, of a set whose clock is exact. */
  userTime(): UserTime | undefined {
    return readUserTime(this.rings[0]!.mapping.buffer, barrier);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const ring of this.rings) ring.close();
    if (this.options.borrowsProbes !== true) closeProbes(this.events);
  }

  #attr(
    parts: Pick<EventAttr, "type" | "config" | "readFormat" | "inherit" | "callChain">,
  ): Uint8Array {
    return encodeAttr({
      ...parts,
      sampleType: this.sampleType,
      watermarkBytes: this.options.watermarkBytes,
      clockId: this.clock.clockId,
      isBackward: this.options.isOverwrite === true,
      taskNames: parts.type === PERF_TYPE_SOFTWARE,
      // Who maps what is only of use to user space's addresses.
      codeMappings: parts.type === PERF_TYPE_SOFTWARE && this.hasUserChains,
    });
  }

  /** The most that this kernel can: it answers EINVAL to flags that it does not know. */
  #probeFeatures(): { readFormat: number; inherit: Inherit } {
    const { pid, cpus, wholeProcess } = this.options;
    const inherits: Inherit[] = wholeProcess === true ? ["threads", "children"] : ["none"];
    const choices = [PERF_FORMAT_LOST, 0].flatMap((readFormat) =>
      inherits.map((inherit) => ({ readFormat, inherit })),
    );
    const last = choices.pop()!;
    for (const choice of choices) {
      // Not the tracepoint itself: closing its last event makes the kernel wait for a grace period.
      const dummy = { type: PERF_TYPE_SOFTWARE, config: PERF_COUNT_SW_DUMMY };
      const attr = this.#attr({ ...dummy, ...choice });
      try {
        openPerfEvent(attr, pid, cpus[0]!, "dummy").close();
        return choice;
      } catch (error) {
        if (!(error instanceof SysError) || error.code !== "EINVAL") throw error;
      }
    }
    return last;
  }

  /** The events that are opened on a CPU, in their order. */
  #eventsOn(cpu: number): readonly ResolvedEvent[] {
    return this.events.filter((_, i) => this.#cpusOf[i]?.has(cpu) ?? true);
  }

  /** Undefined when there is nothing to sample on this CPU. */
  #openCpu(cpu: number, tids: readonly number[]): CpuRing | undefined {
    if (this.#eventsOn(cpu).length === 0) return undefined;
    const fds: Fd[] = [];
    const sides: Fd[] = [];
    let mapping: Mapping | undefined;
    const isOverwrite = this.options.isOverwrite === true;
    try {
      for (const tid of tids) {
        const opened = this.#openTask(cpu, tid, sides, tids.length > 1);
        fds.push(...opened);
        if (opened.length > 0) {
          mapping ??= mapRing(opened[0]!, this.options.ringBytes, isOverwrite);
        }
      }
      if (mapping === undefined) throw new SysError(`sample process ${this.options.pid}`, ESRCH);
      for (const fd of [...fds.slice(1), ...sides]) setPerfOutput(fd, fds[0]!);
      return new CpuRing(cpu, fds, sides, mapping, isOverwrite);
    } catch (error) {
      mapping?.close();
      for (const fd of [...fds, ...sides]) fd.close();
      // The CPU went offline since the list was read: there is nothing to sample on it.
      if (error instanceof SysError && error.code === "ENODEV") return undefined;
      throw error;
    }
  }

  /** All events on one thread; none when it is one of several and has just ended. */
  #openTask(cpu: number, tid: number, sides: Fd[], mayBeGone: boolean): Fd[] {
    const fds: Fd[] = [];
    const inherit = this.#inherit;
    try {
      for (const [index, event] of this.events.entries()) {
        if (this.#cpusOf[index]?.has(cpu) === false) continue;
        const { system, name, id } = event;
        const readFormat = this.hasLost ? PERF_FORMAT_LOST : 0;
        const [type, callChain] = [PERF_TYPE_TRACEPOINT, this.#chains[index]];
        const attr = this.#attr({ type, config: id, readFormat, inherit, callChain });
        const fd = openPerfEvent(attr, tid, cpu, `${system}:${name}`);
        fds.push(fd);
        const filter = this.kernelFilter(event);
        if (filter !== "" && !setPerfFilter(fd, filter)) {
          this.#refused.set(event, examineRefusal(event));
        }
      }
      if (this.options.taskNames) {
        const [type, config] = [PERF_TYPE_SOFTWARE, PERF_COUNT_SW_DUMMY];
        const attr = this.#attr({ type, config, readFormat: 0, inherit });
        sides.push(openPerfEvent(attr, tid, cpu, "dummy"));
      }
    } catch (error) {
      for (const fd of fds) fd.close();
      if (mayBeGone && error instanceof SysError && error.code === "ESRCH") return [];
      throw error;
    }
    return fds;
  }
}
