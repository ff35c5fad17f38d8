/**
 * The host's side of a guest's ledger: what came, to the record, beside what the guest's last Stats
 * say that was produced. With both, produced = delivered + lost + dropped can be checked.
 *
 * What the guest says is kept as numbers, of the CPUs that its Hello names: those are bounded.
 */
import type { CpuStats, Hello, Lost, Stats } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { type CpuLedger, droppedEvents } from "../analyze/cpu_ledger.ts";
import type { DecodeCounters } from "../analyze/decode_counters.ts";
import { DropPlaces } from "./drop_places.ts";

/**
 * Where events are that the kernel's counter has and no ring ever had: every byte of the ring has
 * come, so they were not written. Seen with software events in interrupts of an idle CPU, where
 * `perf record` misses as many and says nothing.
 */
export const NOT_RECORDED = "not recorded by the kernel";

/**
 * Events that the kernel lost, of two counts. Its counter per event (Linux 6.0) knows them to the
 * event, and at any time. The ring's LOST records say how many records found no room, which may
 * have been task records too, and miss what no later record told: they serve older kernels.
 */
export function lostEvents(byCounter: number, inRing: number, row: CpuLedger): number {
  if (byCounter > 0 || row.produced === undefined) return byCounter > 0 ? byCounter : inRing;
  return Math.min(inRing, Math.max(0, row.produced - row.delivered - droppedEvents(row)));
}

/** Closes a row whose ring has come to its last byte: what is left was never in it. */
export function withNotRecorded(row: CpuLedger): CpuLedger {
  if (row.produced === undefined || row.gapBytes > 0) return row;
  const events = row.produced - row.delivered - row.lostKernel - droppedEvents(row);
  if (events <= 0) return row;
  return { ...row, drops: [...row.drops, { place: NOT_RECORDED, events }] };
}

/** What the ledger reads of one ring's pipeline. */
export interface RingSource {
  readonly counters: DecodeCounters;
  /** Up to where the ring's bytes have come. */
  position(): number;
  /** Samples that came and found no room here. */
  dropped(): number;
}

interface RingCounts {
  readonly source: RingSource;
  /** Bytes of the ring that never came. */
  gapBytes: number;
  /**
   * Counters when the stream began: those of an agent that was restarted are not its successor's.
   */
  samplesBefore: number;
  lostBefore: number;
  droppedBefore: number;
}

/** What an earlier run has had of a ring. */
export interface CarriedCounts {
  readonly samples: number;
  readonly lostEvents: number;
  readonly droppedEvents: number;
  readonly gapBytes: number;
}

/** Events that came and were not kept: the host was short of memory, or had no clock for them. */
export const NO_ROOM = "no room on the host";

/** By place. */
type Drops = Map<string, number>;

/** What the guest says of one CPU. */
interface ToldCounts {
  readonly produced: number;
  readonly lostKernel: number;
  readonly drops: Drops;
  readonly headPosition: number;
}

export class GuestLedger {
  /** The stream's totals are known and closed. */
  isFinal = false;
  agentCpuNs = 0;
  rssBytes = 0;
  /** Counts of CPUs that its Hello does not name. */
  foreignCounts = 0;
  /** Those that it names. */
  #cpus: ReadonlySet<number> = new Set();
  readonly #rings = new Map<number, RingCounts>();
  readonly #places = new DropPlaces();
  #told = new Map<number, ToldCounts>();
  /** By CPU: drops that Lost frames told of. */
  #drops = new Map<number, Drops>();
  /** By CPU what Lost frames explain of the ring's gaps, and events whose gap was not met yet. */
  #announced = new Map<number, { bytes: number; events: number }>();
  /** By CPU: what the agent had the kernel not record, among what that counts as lost. */
  #shed = new Map<number, number>();

  begin({ cpus }: Pick<Hello, "cpus">, resumed: boolean): void {
    if (resumed) return;
    this.#cpus = new Set(cpus.map(({ cpu }) => cpu));
    this.#shed = new Map();
    this.#told = new Map();
    this.#drops = new Map();
    this.#announced = new Map();
    this.isFinal = false;
    for (const ring of this.#rings.values()) {
      ring.gapBytes = 0;
      ring.samplesBefore = ring.source.counters.samples;
      ring.lostBefore = ring.source.counters.lostEvents;
      ring.droppedBefore = ring.source.dropped();
    }
  }

  addRing(cpu: number, source: RingSource): void {
    this.#rings.set(cpu, {
      source,
      gapBytes: 0,
      samplesBefore: 0,
      lostBefore: 0,
      droppedBefore: 0,
    });
  }

  /** Goes on with the counts of an earlier run; the ring has been added, and nothing of it came. */
  carry(cpu: number, counts: CarriedCounts): void {
    const ring = this.#rings.get(cpu);
    if (ring === undefined) return;
    ring.gapBytes += counts.gapBytes;
    ring.samplesBefore -= counts.samples;
    ring.lostBefore -= counts.lostEvents;
    ring.droppedBefore -= counts.droppedEvents;
  }

  /** What has come of a ring so far, that of earlier runs included. */
  countsOf(cpu: number): CarriedCounts {
    const ring = this.#rings.get(cpu);
    const counters = ring?.source.counters;
    return {
      samples: (counters?.samples ?? 0) - (ring?.samplesBefore ?? 0),
      lostEvents: (counters?.lostEvents ?? 0) - (ring?.lostBefore ?? 0),
      droppedEvents: (ring?.source.dropped() ?? 0) - (ring?.droppedBefore ?? 0),
      gapBytes: ring?.gapBytes ?? 0,
    };
  }

  /** Bytes of a ring never came. Gives how many events they held, when a Lost frame has said so. */
  onGap(cpu: number, bytes: number): number | undefined {
    const ring = this.#rings.get(cpu);
    if (ring === undefined) return undefined;
    ring.gapBytes += bytes;
    const announced = this.#announced.get(cpu);
    if (announced === undefined || announced.events === 0) return undefined;
    const { events } = announced;
    announced.events = 0;
    return events;
  }

  onLost({ cpu, place, events, bytes }: Lost): void {
    if (!this.#isNamed(cpu)) return;
    const announced = this.#announced.get(cpu) ?? { bytes: 0, events: 0 };
    this.#announced.set(cpu, announced);
    announced.bytes += Number(bytes);
    // Without bytes there is no gap to come: the ring says in its own place what was not recorded.
    if (bytes > 0n) announced.events += Number(events);
    else this.#shed.set(cpu, (this.#shed.get(cpu) ?? 0) + Number(events));
    const drops: Drops = this.#drops.get(cpu) ?? new Map();
    this.#drops.set(cpu, drops);
    this.#places.add(drops, place, events);
  }

  onStats(stats: Stats): void {
    this.isFinal = stats.final;
    this.agentCpuNs = Number(stats.agentCpuNs);
    this.rssBytes = Number(stats.rssBytes);
    for (const row of stats.cpus) {
      if (this.#isNamed(row.cpu)) this.#told.set(row.cpu, this.#toldBy(row));
    }
  }

  #isNamed(cpu: number): boolean {
    const isNamed = this.#cpus.has(cpu);
    if (!isNamed) this.foreignCounts++;
    return isNamed;
  }

  #toldBy({ produced, lostKernel, headPosition, drops: told }: CpuStats): ToldCounts {
    const drops: Drops = new Map();
    for (const { place, events } of told) this.#places.add(drops, place, events);
    return {
      produced: Number(produced),
      lostKernel: Number(lostKernel),
      headPosition: Number(headPosition),
      drops,
    };
  }

  /** One row for each CPU that either side knows of. */
  rows(): CpuLedger[] {
    const cpus = new Set([...this.#rings.keys(), ...this.#told.keys()]);
    return [...cpus].sort((a, b) => a - b).map((cpu) => this.#row(cpu));
  }

  #row(cpu: number): CpuLedger {
    const ring = this.#rings.get(cpu);
    const told = this.#told.get(cpu);
    const counters = ring?.source.counters;
    const inRing = (counters?.lostEvents ?? 0) - (ring?.lostBefore ?? 0);
    const lostInRing = Math.max(0, inRing - (this.#shed.get(cpu) ?? 0));
    const drops = [...(told?.drops ?? this.#drops.get(cpu) ?? [])].map(([place, events]) => {
      return { place, events };
    });
    const noRoom = (ring?.source.dropped() ?? 0) - (ring?.droppedBefore ?? 0);
    if (noRoom > 0) drops.push({ place: NO_ROOM, events: noRoom });
    const counted = {
      cpu,
      produced: this.isFinal ? told?.produced : undefined,
      delivered: (counters?.samples ?? 0) - (ring?.samplesBefore ?? 0),
      lostKernel: 0,
      drops,
      gapBytes: Math.max(0, (ring?.gapBytes ?? 0) - (this.#announced.get(cpu)?.bytes ?? 0)),
    };
    const lostKernel = lostEvents(told?.lostKernel ?? 0, lostInRing, counted);
    const row = { ...counted, lostKernel };
    const isComplete = (told?.headPosition ?? -1) === (ring?.source.position() ?? -2);
    return isComplete ? withNotRecorded(row) : row;
  }
}
