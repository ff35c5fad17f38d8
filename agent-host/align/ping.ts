/**
 * Host TSC to guest TSC from round trips over the channel, with no help from KVM.
 *
 *   host   h1 -----------------------------> h2       h1: just before Ping is written
 *             \                            /          h2: just after Pong was read
 *   guest      `---> g1 ========> g2 -----'           both ends stamp with their own TSC
 *
 * Nothing arrives before it was sent: when the guest's TSC was g1 the host's was at least h1, and
 * when it was g2 at most h2. So (g1, h1) lies under the line host = a + b * guest and (g2, h2) over
 * it, whatever the delays and however unequal. LineBounds keeps all lines that obey; the narrowest
 * trip of each direction decides, and they need not be the same one. Rates are not assumed equal.
 */
import type { ConstraintOutcome } from "../../shared/tsc/line_tracker.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { baseOf, boundAt, type TimeSegment } from "../../shared/tsc/time_segment.ts";
import { TrackedMap } from "../../shared/tsc/tracked_map.ts";
import { type GuestTsc, type HostTsc, wrappedDelta } from "../../shared/tsc/tsc.ts";

/** The four stamps of one round trip. The guest's two are what it claims. */
export interface RoundTrip {
  readonly hostSent: HostTsc;
  readonly guestReceived: GuestTsc;
  readonly guestSent: GuestTsc;
  readonly hostReceived: HostTsc;
}

/** Host cycles per guest cycle, known beforehand to lie between these. */
export interface RateRange {
  readonly min: number;
  readonly max: number;
}

/** Any scaling between a 1 and a 5 GHz machine. */
export const RATE_UNKNOWN: RateRange = { min: 0.2, max: 5 };
/** Same TSC on both sides, where a source says so. */
export const RATE_EQUAL: RateRange = { min: 1, max: 1 };

/** Round trips of an epoch before its relation is used. */
export const PINGS_READY_MIN = 5;
/** Bursts of round trips sent in quick succession, about five seconds of them. */
const BURSTS_QUICK = 250;
/** Pings of one burst, in that time and afterwards. */
const BURST_PINGS_QUICK = 10;
const BURST_PINGS_STEADY = 4;
const PING_QUICK_MS_MIN = 14;
const PING_QUICK_MS_SPREAD = 13;
const PING_STEADY_MS = 500;
/**
 * Events that are converted first are older than the first trip, by some 0.2 s or, of a flight
 * recorder, by minutes, and what is not known of the rate adds up over that. Where it is measured,
 * trips span this first (0.1 and 1.5 s at 3 GHz): after one burst it would be off by percents.
 */
const SPAN_CYCLES = 300_000_000n;
const PAST_SPAN_CYCLES = 4_500_000_000n;
/** A longer trip says nothing (10 s at 3 GHz). */
const TRIP_CYCLES_MAX = 30_000_000_000n;
/** Constraints older than two of these are forgotten (10 minutes at 3 GHz). */
const GENERATION_CYCLES = 1_800_000_000_000;
/** A segment is made for two seconds at 3 GHz: several pings. */
const HORIZON_CYCLES = 6_000_000_000;
/** TSCs of a machine's CPUs may differ by what their synchronisation left: half a us at 3 GHz. */
const NOISE_CYCLES_MAX = 1_500;

/** The relation of one guest's TSC to the host's, measured. */
export class PingEstimator {
  readonly #tracked: TrackedMap;
  #lastGuest = 0n;
  /** Bursts of this epoch. */
  #bursts = 0;
  #burstsEpoch = 0;
  /** Trips have to span so much before the relation is used for the first time; 0 once they do. */
  #spanCyclesMin: bigint;
  #firstReceived: HostTsc | undefined;
  /** Round trips that cannot have happened, or took forever. */
  refusedCount = 0;
  pingCount = 0;
  /** The shortest time on the wire, both ways, in host cycles: at most this, as rates go. */
  wireCyclesMin = Infinity;

  /** Results are host cycles since `hostAnchor`. */
  constructor(hostAnchor: HostTsc, rate: RateRange = RATE_UNKNOWN) {
    this.#spanCyclesMin = rate.min === rate.max ? 0n : SPAN_CYCLES;
    this.#tracked = new TrackedMap({
      slopeMin: rate.min,
      slopeMax: rate.max,
      generationX: GENERATION_CYCLES,
      noiseMax: NOISE_CYCLES_MAX,
      targetAnchor: hostAnchor,
      horizonX: HORIZON_CYCLES,
      granularityX: 0,
    });
  }

  /** Guest TSC to host cycles since the anchor. */
  get map(): TimeMap {
    return this.#tracked.map;
  }

  /** Steps of the relation so far: written TSC, restore, migration. */
  get epoch(): number {
    return this.#tracked.tracker.epoch;
  }

  /** Enough round trips of this epoch for a bound worth using. */
  get isReady(): boolean {
    if (this.#spanCyclesMin > 0n) return false;
    return this.#epochPings >= PINGS_READY_MIN && this.boundCycles < Infinity;
  }

  /** Largest |error| in host cycles, from the last ping until well past the next. */
  get boundCycles(): number {
    return this.#tracked.boundFrom(this.#lastGuest);
  }

  /** Host cycles per guest cycle, as far as it is measured. */
  get rate(): RateRange {
    const { slopeMin, slopeMax } = this.#tracked.tracker;
    return { min: slopeMin, max: slopeMax };
  }

  /** Guest minus host TSC at the last ping, modulo 2^64 and rounded; undefined before the first. */
  get offset(): bigint | undefined {
    const segment = this.map.newest;
    if (segment === undefined) return undefined;
    const delta = Number(wrappedDelta(this.#lastGuest, baseOf(segment)));
    const host = Math.round(segment.originCycles + segment.slope * delta);
    return wrappedDelta(this.#lastGuest, segment.targetAnchor + BigInt(host));
  }

  /** The relation is to serve for events from long before the first trip; unless it is in use. */
  expectPast(): void {
    if (this.#spanCyclesMin > 0n) this.#spanCyclesMin = PAST_SPAN_CYCLES;
  }

  /** Adds a round trip and renews the map when that makes it better. */
  add(trip: RoundTrip): ConstraintOutcome {
    if (!isPlausible(trip)) {
      this.refusedCount++;
      return "agreed";
    }
    this.pingCount++;
    this.#lastGuest = trip.guestSent;
    const tracked = this.#tracked;
    const first = tracked.add(trip.guestReceived, trip.hostSent, undefined);
    const second = tracked.add(trip.guestSent, undefined, trip.hostReceived);
    // The step showed on the way back: the new epoch knows the way there too.
    if (second === "step") tracked.add(trip.guestReceived, trip.hostSent, undefined);
    tracked.refresh(trip.guestSent);
    this.#noteWire(trip);
    const outcome = second === "agreed" ? first : second;
    if (this.#spanCyclesMin > 0n) this.#measureRate(trip, outcome);
    return outcome;
  }

  #measureRate({ hostSent, hostReceived, guestSent }: RoundTrip, outcome: ConstraintOutcome): void {
    if (outcome === "step") this.#firstReceived = undefined;
    this.#firstReceived ??= hostReceived;
    // A trip that takes long says little, however long: what counts is the time between two.
    if (wrappedDelta(hostSent, this.#firstReceived) < this.#spanCyclesMin) return;
    this.#spanCyclesMin = 0n;
    this.#tracked.renewPast(guestSent);
  }

  /** All of the trip but what it was inside the guest, which takes as long as the rate says. */
  #noteWire({ hostSent, hostReceived, guestReceived, guestSent }: RoundTrip): void {
    const away = Number(wrappedDelta(hostReceived, hostSent));
    const inside = Number(wrappedDelta(guestSent, guestReceived)) * this.rate.min;
    this.wireCyclesMin = Math.min(this.wireCyclesMin, Math.max(0, away - inside));
  }

  /**
   * Knowledge of one side alone (causality.ts): when the guest's TSC was `guest` the host's was at
   * least `floor`, or at most `ceiling`. Not taken, and false, when it contradicts what is known.
   */
  addOneWay(guest: GuestTsc, floor: HostTsc | undefined, ceiling: HostTsc | undefined): boolean {
    const tracked = this.#tracked;
    if (!tracked.tracker.agrees(guest, floor, ceiling)) return false;
    tracked.add(guest, floor, ceiling);
    tracked.refresh(this.#lastGuest);
    return true;
  }

  /** The guest's TSC may jump by so many host cycles, and no trip tells. */
  set unseenCycles(cycles: number) {
    this.#tracked.tracker.unseen = cycles;
  }

  /** The relation may have stepped unseen: it is measured anew; what is in force stays so far. */
  restart(): void {
    this.#tracked.restart();
  }

  /**
   * Pause before the next burst: quick at first and after a step, then steady. The quick pauses
   * differ, so that no timer of either side can make every trip slow.
   */
  nextDelayMs(): number {
    if (!this.#isQuick) return PING_STEADY_MS;
    this.#bursts++;
    return PING_QUICK_MS_MIN + ((this.#bursts * 7) % PING_QUICK_MS_SPREAD);
  }

  /** Pings to send one right after the other's answer. */
  get burstPings(): number {
    return this.#isQuick ? BURST_PINGS_QUICK : BURST_PINGS_STEADY;
  }

  get #isQuick(): boolean {
    if (this.#burstsEpoch !== this.epoch) {
      this.#burstsEpoch = this.epoch;
      this.#bursts = 0;
    }
    return this.#bursts < BURSTS_QUICK;
  }

  /** Two constraints each. */
  get #epochPings(): number {
    return Math.floor(this.#tracked.tracker.constraintCount / 2);
  }
}

function isPlausible(trip: RoundTrip): boolean {
  const away = wrappedDelta(trip.hostReceived, trip.hostSent);
  const inside = wrappedDelta(trip.guestSent, trip.guestReceived);
  return away >= 0n && inside >= 0n && away <= TRIP_CYCLES_MAX && inside <= TRIP_CYCLES_MAX;
}

/** Guest minus host TSC as one round trip alone bounds it, while both tick at the same rate. */
export function offsetOfTrip({ hostSent, guestReceived, guestSent, hostReceived }: RoundTrip): {
  readonly offset: bigint;
  readonly boundCycles: number;
} {
  const least = wrappedDelta(guestSent, hostReceived);
  const width = wrappedDelta(wrappedDelta(guestReceived, hostSent), least);
  return { offset: least + width / 2n, boundCycles: Math.ceil(Number(width) / 2) };
}

/**
 * By how many host cycles a round trip contradicts a relation from another source, beyond that
 * one's own bound; 0 when they agree. Needs no estimate: the trip alone is the proof.
 */
export function pingDisagreement(trip: RoundTrip, exact: TimeSegment): number {
  const base = baseOf(exact);
  const early = Number(wrappedDelta(trip.guestReceived, base));
  const late = Number(wrappedDelta(trip.guestSent, base));
  const earlyHost = exact.originCycles + exact.slope * early;
  const lateHost = exact.originCycles + exact.slope * late;
  const sent = Number(wrappedDelta(trip.hostSent, exact.targetAnchor));
  const received = Number(wrappedDelta(trip.hostReceived, exact.targetAnchor));
  const before = sent - earlyHost - boundAt(exact, early);
  const after = lateHost - received - boundAt(exact, late);
  return Math.max(before, after, 0);
}
