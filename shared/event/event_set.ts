/**
 * A set of opened events: one ring per CPU that all events of this CPU share. The set owns every
 * descriptor, mapping and probe of it, and knows nothing of what the records mean.
 */
import {
  encodeAttr,
  PERF_COUNT_SW_DUMMY,
  PERF_FORMAT_LOST,
  PERF_TYPE_SOFTWARE,
  PERF_TYPE_TRACEPOINT,
} from "../perf/attr.ts";
import { CONTROL_BYTES, Ring } from "../perf/ring.ts";
import {
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_RAW,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../perf/sample_type.ts";
import { readUserTime, type UserTime } from "../perf/user_time.ts";
import { CLOCK_MONOTONIC_RAW } from "../sys/abi.ts";
import { rdtsc } from "../sys/clock.ts";
import { SysError } from "../sys/errno.ts";
import type { Fd } from "../sys/fd.ts";
import { Mapping } from "../sys/mapping.ts";
import {
  disablePerfEvent,
  enablePerfEvent,
  openPerfEvent,
  type PerfCount,
  perfEventId,
  readPerfCount,
  setPerfFilter,
  setPerfOutput,
} from "../sys/perf_event.ts";
import { closeProbes, type ResolvedEvent } from "./resolve.ts";

/** How records are stamped: perf's own clock, exact in TSC, or a kernel clock to be fitted. */
export type PerfClock =
  | { readonly source: "exact"; readonly clockId: undefined }
  | { readonly source: "fitted"; readonly clockId: number };

/** The kernel does not take a filter. */
export class FilterError extends Error {
  override readonly name = "FilterError";
  readonly event: ResolvedEvent;
  constructor(event: ResolvedEvent) {
    const { filter } = event.spec;
    super(`Cannot set filter "${filter}" of ${event.system}:${event.name}: the kernel refuses it`);
    this.event = event;
  }
}

export interface EventSetOptions {
  readonly cpus: readonly number[];
  readonly ringBytes: number;
  readonly watermarkBytes: number;
  /** Put process and thread ids into every sample. */
  readonly threadIds: boolean;
  /** Put COMM, FORK and EXIT records into the rings. */
  readonly taskNames: boolean;
  /** Trace only this process or thread, or -1 for all. */
  readonly pid: number;
}

/** One CPU's ring with its events' descriptors, first the one whose descriptor maps the ring. */
export class CpuRing {
  readonly cpu: number;
  readonly ring: Ring;
  readonly address: number;
  readonly fds: readonly Fd[];
  readonly mapping: Mapping;

  constructor(cpu: number, fds: readonly Fd[], mapping: Mapping) {
    this.cpu = cpu;
    this.fds = fds;
    this.mapping = mapping;
    this.ring = new Ring(mapping.buffer, mapping.bytes - CONTROL_BYTES);
    this.address = mapping.address + CONTROL_BYTES;
  }

  close(): void {
    this.mapping.close();
    for (const fd of this.fds) fd.close();
  }
}

const barrierWords = new Uint32Array(2);
const barrier = (): void => rdtsc(barrierWords);

function mapRing(fd: Fd, ringBytes: number): Mapping {
  try {
    return Mapping.ofFd(fd, CONTROL_BYTES + ringBytes, `map a ring of ${ringBytes} bytes`);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EPERM") throw error;
    const hint = "raise /proc/sys/kernel/perf_event_mlock_kb, or ask for less with -m";
    throw new SysError(`map a ring of ${ringBytes} bytes`, error.errno, hint);
  }
}

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
  });
  using fd = openPerfEvent(attr, -1, cpu, "dummy");
  using mapping = mapRing(fd, CONTROL_BYTES);
  const userTime = readUserTime(mapping.buffer, barrier);
  return userTime === undefined
    ? { source: "fitted", clockId: CLOCK_MONOTONIC_RAW }
    : { source: "exact", clockId: undefined };
}

/** sample_type for a set: the least that tells its records apart. */
function sampleTypeFor(events: readonly ResolvedEvent[], options: EventSetOptions): number {
  let sampleType = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW;
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
  #isEnabled = false;
  #isOpen = true;

  /** Opens every event on every CPU, disabled. Takes the events' probes over, also on failure. */
  constructor(events: readonly ResolvedEvent[], options: EventSetOptions) {
    this.events = events;
    this.options = options;
    this.sampleType = sampleTypeFor(events, options);
    const rings: CpuRing[] = [];
    try {
      this.clock = probePerfClock(options.cpus[0]!);
      this.hasLost = this.#probeLost();
      for (const cpu of options.cpus) {
        const ring = this.#openCpu(cpu);
        if (ring !== undefined) rings.push(ring);
      }
      if (rings.length === 0) throw new RangeError("Cannot open events: no CPU is online");
    } catch (error) {
      for (const ring of rings) ring.close();
      closeProbes(events);
      throw error;
    }
    this.rings = rings;
  }

  get isEnabled(): boolean {
    return this.#isEnabled;
  }

  enable(): void {
    if (this.#isEnabled) return;
    this.#isEnabled = true;
    for (const ring of this.rings) for (const fd of ring.fds) enablePerfEvent(fd);
  }

  /** After it nothing more is produced: heads and counts stand still. */
  disable(): void {
    if (!this.#isEnabled) return;
    this.#isEnabled = false;
    for (const ring of this.rings) for (const fd of ring.fds) disablePerfEvent(fd);
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

  /** PERF_SAMPLE_IDENTIFIER values of event `index`, one per CPU. */
  identifiers(index: number): bigint[] {
    return this.rings.map((ring) => perfEventId(ring.fds[index]!));
  }

  /** The exact conversion as the kernel has it now, of a set whose clock is exact. */
  userTime(): UserTime | undefined {
    return readUserTime(this.rings[0]!.mapping.buffer, barrier);
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    for (const ring of this.rings) ring.close();
    closeProbes(this.events);
  }

  #attr(event: ResolvedEvent, index: number, readFormat: number): Uint8Array {
    return encodeAttr({
      type: PERF_TYPE_TRACEPOINT,
      config: event.id,
      sampleType: this.sampleType,
      readFormat,
      watermarkBytes: this.options.watermarkBytes,
      clockId: this.clock.clockId,
      taskNames: this.options.taskNames && index === 0,
    });
  }

  #probeLost(): boolean {
    const event = this.events[0]!;
    const what = `${event.system}:${event.name}`;
    try {
      const attr = this.#attr(event, 0, PERF_FORMAT_LOST);
      openPerfEvent(attr, this.options.pid, this.options.cpus[0]!, what).close();
      return true;
    } catch (error) {
      if (error instanceof SysError && error.code === "EINVAL") return false;
      throw error;
    }
  }

  #openCpu(cpu: number): CpuRing | undefined {
    const fds: Fd[] = [];
    let mapping: Mapping | undefined;
    try {
      this.events.forEach((event, index) => {
        const attr = this.#attr(event, index, this.hasLost ? PERF_FORMAT_LOST : 0);
        const fd = openPerfEvent(attr, this.options.pid, cpu, `${event.system}:${event.name}`);
        fds.push(fd);
        if (mapping === undefined) mapping = mapRing(fd, this.options.ringBytes);
        else setPerfOutput(fd, fds[0]!);
        const { filter } = event.spec;
        if (filter !== "" && !setPerfFilter(fd, filter)) throw new FilterError(event);
      });
    } catch (error) {
      mapping?.close();
      for (const fd of fds) fd.close();
      // The CPU went offline since the list was read: there is nothing to sample on it.
      if (error instanceof SysError && error.code === "ENODEV") return undefined;
      throw error;
    }
    return new CpuRing(cpu, fds, mapping!);
  }
}
