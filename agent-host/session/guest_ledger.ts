/**
 * The host's side of a guest's ledger: what came, to the record, beside what the guest's last Stats
 * say that was produced. With both, produced = delivered + lost + dropped can be checked.
 */
import { printableAscii } from "../../shared/text/printable_ascii.ts";
import { CPUS_MAX } from "../../shared/wire/frame.ts";
import type { CpuStats, Hello, Lost, Stats } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { type CpuLedger, droppedEvents } from "../analyze/cpu_ledger.ts";
import type { DecodeCounters } from "../analyze/decode_counters.ts";

/** Places that a guest may name: more are summed up in one. */
const PLACES_MAX = 32;
const PLACE_LENGTH_MAX = 40;

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

/** A place as text that is safe to print. */
function cleanPlace(place: string): string {
  return printableAscii(place.slice(0, PLACE_LENGTH_MAX));
}

export class GuestLedger {
  /** The stream's totals are known and closed. */
  isFinal = false;
  agentCpuNs = 0;
  rssBytes = 0;
  readonly #rings = new Map<number, RingCounts>();
  #stats = new Map<number, CpuStats>();
  /** Drops that Lost frames told of, by CPU and place. */
  #drops = new Map<string, number>();
  /** By CPU what Lost frames explain of the ring's gaps, and events whose gap was not met yet. */
  #announced = new Map<number, { bytes: number; events: number }>();

  /** By CPU: what the agent had the kernel not record, among what that counts as lost. */
  #shed = new Map<number, number>();

  begin(_hello: Hello, resumed: boolean): void {
    if (resumed) return;
    this.#shed = new Map();
    this.#stats = new Map();
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
    const announced = this.#announced.get(cpu) ?? { bytes: 0, events: 0 };
    if (cpu < CPUS_MAX) this.#announced.set(cpu, announced);
    announced.bytes += Number(bytes);
    // Without bytes there is no gap to come: the ring says in its own place what was not recorded.
    if (bytes > 0n) announced.events += Number(events);
    else if (cpu < CPUS_MAX) this.#shed.set(cpu, (this.#shed.get(cpu) ?? 0) + Number(events));
    const key = `${cpu} ${cleanPlace(place)}`;
    if (!this.#drops.has(key) && this.#drops.size >= PLACES_MAX * 64) return;
    this.#drops.set(key, (this.#drops.get(key) ?? 0) + Number(events));
  }

  onStats(stats: Stats): void {
    this.isFinal = stats.final;
    this.agentCpuNs = Number(stats.agentCpuNs);
    this.rssBytes = Number(stats.rssBytes);
    for (const row of stats.cpus.slice(0, CPUS_MAX)) this.#stats.set(row.cpu, row);
  }

  /** One row for each CPU that either side knows of. */
  rows(): CpuLedger[] {
    const cpus = new Set([...this.#rings.keys(), ...this.#stats.keys()]);
    return [...cpus].sort((a, b) => a - b).map((cpu) => this.#row(cpu));
  }

  #row(cpu: number): CpuLedger {
    const ring = this.#rings.get(cpu);
    const stats = this.#stats.get(cpu);
    const counters = ring?.source.counters;
    const inRing = (counters?.lostEvents ?? 0) - (ring?.lostBefore ?? 0);
    const lostInRing = Math.max(0, inRing - (this.#shed.get(cpu) ?? 0));
    const drops = this.#dropsOf(cpu, stats);
    const noRoom = (ring?.source.dropped() ?? 0) - (ring?.droppedBefore ?? 0);
    if (noRoom > 0) drops.push({ place: NO_ROOM, events: noRoom });
    const counted = {
      cpu,
      produced: this.isFinal && stats !== undefined ? Number(stats.produced) : undefined,
      delivered: (counters?.samples ?? 0) - (ring?.samplesBefore ?? 0),
      lostKernel: 0,
      drops,
      gapBytes: Math.max(0, (ring?.gapBytes ?? 0) - (this.#announced.get(cpu)?.bytes ?? 0)),
    };
    const lostKernel = lostEvents(Number(stats?.lostKernel ?? 0n), lostInRing, counted);
    const row = { ...counted, lostKernel };
    const isComplete = Number(stats?.headPosition ?? -1n) === (ring?.source.position() ?? -2);
    return isComplete ? withNotRecorded(row) : row;
  }

  #dropsOf(cpu: number, stats: CpuStats | undefined): { place: string; events: number }[] {
    if (stats !== undefined) {
      return stats.drops
        .slice(0, PLACES_MAX)
        .map(({ place, events }) => ({ place: cleanPlace(place), events: Number(events) }));
    }
    const prefix = `${cpu} `;
    return [...this.#drops]
      .filter(([key]) => key.startsWith(prefix))
      .map(([key, events]) => ({ place: key.slice(prefix.length), events }));
  }
}
