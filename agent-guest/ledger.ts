/**
 * The guest's side of the ledger: for each CPU, produced = delivered + lost by the kernel + dropped
 * at a named place. Produced and lost come from the kernel's counters, so the guest counts nothing
 * per event; what is dropped is counted where it is dropped.
 */
import type { CpuRing, EventSet } from "../shared/event/event_set.ts";
import type { CpuStats, Drop } from "../shared/wire/gen/vmspan/v1/channel.ts";

interface Counts {
  events: number;
  bytes: number;
}

/** Drop places are named in the source, so their number is small; this says so. */
const PLACES_MAX = 64;

export class DropCounts {
  readonly #places = new Map<string, Counts>();

  add(place: string, events: number, bytes: number): void {
    const counts = this.#places.get(place);
    if (counts !== undefined) {
      counts.events += events;
      counts.bytes += bytes;
    } else if (this.#places.size < PLACES_MAX) this.#places.set(place, { events, bytes });
    else throw new RangeError(`Cannot count drops at "${place}": over ${PLACES_MAX} places`);
  }

  get events(): number {
    let events = 0;
    for (const counts of this.#places.values()) events += counts.events;
    return events;
  }

  toDrops(): Drop[] {
    return [...this.#places].map(([place, { events, bytes }]) => ({
      place,
      events: BigInt(events),
      bytes: BigInt(bytes),
    }));
  }
}

/** Counters of one CPU at the moment when a receiver's stream began. */
export interface Counters {
  readonly produced: bigint;
  readonly lost: bigint;
  /** Recorded, and overwritten before a dump took it. */
  readonly overwritten: bigint;
}

/** By ring index: the counters now. */
export type CounterReader = (index: number) => Counters;

const OVERWRITTEN = "overwritten";

/** The ledger of one receiver, since its stream began. */
export class Ledger {
  readonly #set: EventSet;
  readonly #baselines: readonly Counters[] | undefined;
  readonly #read: CounterReader;
  readonly #drops: readonly DropCounts[];
  /** By ring: events that the kernel counts as lost, and that a place of ours is the cause of. */
  readonly #shed: bigint[];

  /**
   * `isExact`: events stood still when the stream began, so the counters can be compared. Those of
   * overwritten rings are what `read` gives: they stand still from one dump to the next.
   */
  constructor(set: EventSet, isExact: boolean, read?: CounterReader, baselines?: Counters[]) {
    this.#set = set;
    this.#read = read ?? ((index) => ({ ...set.count(set.rings[index]!), overwritten: 0n }));
    const begun = baselines ?? set.rings.map((_, index) => this.#read(index));
    this.#baselines = isExact ? begun : undefined;
    this.#drops = set.rings.map(() => new DropCounts());
    this.#shed = set.rings.map(() => 0n);
  }

  drop(ringIndex: number, place: string, events: number, bytes: number): void {
    this.#drops[ringIndex]!.add(place, events, bytes);
  }

  /** Events that were not recorded because we had the output paused. */
  shed(ringIndex: number, place: string, events: number): void {
    this.#drops[ringIndex]!.add(place, events, 0);
    if (this.#set.hasLost) this.#shed[ringIndex]! += BigInt(events);
  }

  /** One CPU's row; undefined when the stream began while events ran: counts cannot be compared. */
  row(ring: CpuRing, index: number, sent: number, acked: number): CpuStats | undefined {
    const baseline = this.#baselines?.[index];
    if (baseline === undefined) return undefined;
    const { produced, lost, overwritten } = this.#read(index);
    const gone = overwritten - baseline.overwritten;
    const drops = this.#drops[index]!.toDrops();
    if (gone !== 0n) drops.push({ place: OVERWRITTEN, events: gone, bytes: 0n });
    return {
      cpu: ring.cpu,
      produced: produced - baseline.produced,
      lostKernel: lost - baseline.lost - this.#shed[index]!,
      drops,
      headPosition: BigInt(ring.ring.head),
      sentPosition: BigInt(sent),
      ackedPosition: BigInt(acked),
    };
  }
}
