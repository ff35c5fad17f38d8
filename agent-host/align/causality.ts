/**
 * What pairs of events say of the clocks: nothing ends before it started.
 *
 *   host   h: injected ----.                      host TSC when the guest's was g:  at least h
 *   guest                   `---> g: handled      (an effect on the host: at most)
 *
 * That is half a round trip, and tightens the relation of round trips as another half would: the
 * narrowest way of each direction decides, and an interrupt is quicker than a ping. But it is true
 * only if each pair is cause and effect, and pairs are made by the user's keys: one that takes a
 * later cause for the true one would cut the truth off. So
 *
 *  - by default pairs go into a relation of their own, beside that of round trips alone, and what
 *    it would give is reported; conversions and bounds do not rest on it;
 *  - with --trust-pairs they go into the relation in force, and bounds hold if the pairs do;
 *  - in either case a pair that contradicts what is known is counted and not used, and once a round
 *    trip contradicts what pairs have made of it, pairs are not used any more.
 *
 * Only relations of round trips get anything from it: all others are narrower than any latency.
 */
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { baseOf, type TimeSegment } from "../../shared/tsc/time_segment.ts";
import {
  EXACT_DELTA_MAX,
  type GuestTsc,
  guestTsc,
  type HostTsc,
  highHalf,
  hostTsc,
  lowHalf,
  wrappedDelta,
} from "../../shared/tsc/tsc.ts";
import type { ClosePair } from "../analyze/closest_pairs.ts";
import { PingEstimator, type RateRange, type RoundTrip } from "./ping.ts";

/** Round trips that a step which only pairs made has to outlive. */
const TRIPS_REFUTE = 20;

/** One event of each side: the host's TSC at `guest` was at least, or at most, `host`. */
export interface CausalBound {
  readonly guest: GuestTsc;
  readonly host: HostTsc;
  readonly isAtLeast: boolean;
}

/** What became of the pairs, for printing. */
export interface CausalityDescription {
  /** They are part of the relation in force (--trust-pairs). */
  readonly isTrusted: boolean;
  readonly usedPairs: number;
  /** Pairs that contradicted what was known. */
  readonly refusedPairs: number;
  /** A round trip contradicted what pairs had made of the relation: they are not used any more. */
  readonly isRefuted: boolean;
  /** The bound with them; Infinity while unknown. */
  readonly boundCycles: number;
}

/** Pairs used, and with them the relation that they give. */
export class Causality {
  readonly isTrusted: boolean;
  usedPairs = 0;
  refusedPairs = 0;
  isRefuted = false;
  /** The relation in force, or one of our own beside it. */
  readonly #estimator: PingEstimator;
  /** Round trips alone: they tell whether a step was the clock's or the pairs' fault. */
  readonly #alone: PingEstimator;
  /** Steps of the one that the other did not see, and for how many round trips. */
  #stepsApart = 0;
  #tripsApart = 0;

  /** `inForce` is what conversions use; it gets the pairs only if they are trusted. */
  constructor(inForce: PingEstimator, isTrusted: boolean, hostAnchor: HostTsc, rate: RateRange) {
    this.isTrusted = isTrusted;
    const beside = new PingEstimator(hostAnchor, rate);
    this.#estimator = isTrusted ? inForce : beside;
    this.#alone = isTrusted ? beside : inForce;
  }

  /** A round trip, which `inForce` has taken already. */
  addRoundTrip(trip: RoundTrip): void {
    (this.isTrusted ? this.#alone : this.#estimator).add(trip);
    // Pairs that cut the truth off look like a step of the clock that round trips do not see. A
    // true one is seen by both, by the narrower one first.
    const stepsApart = this.#estimator.epoch - this.#alone.epoch;
    if (stepsApart <= this.#stepsApart) {
      this.#stepsApart = stepsApart;
      this.#tripsApart = 0;
    } else if (++this.#tripsApart >= TRIPS_REFUTE) this.isRefuted = this.usedPairs > 0;
  }

  /** The relation may have stepped unseen: what is beside the one in force begins anew, too. */
  restart(): void {
    (this.isTrusted ? this.#alone : this.#estimator).restart();
  }

  /** Returns whether the relation has become narrower by it. */
  addPair({ guest, host, isAtLeast }: CausalBound): boolean {
    if (this.isRefuted || this.#tripsApart > 0 || !this.#estimator.isReady) return false;
    const [floor, ceiling] = isAtLeast ? [host, undefined] : [undefined, host];
    if (!this.#estimator.addOneWay(guest, floor, ceiling)) {
      this.refusedPairs++;
      return false;
    }
    this.usedPairs++;
    return true;
  }

  describe(): CausalityDescription {
    const { isTrusted, usedPairs, refusedPairs, isRefuted } = this;
    const boundCycles = isRefuted ? Infinity : this.#estimator.boundCycles;
    return { isTrusted, usedPairs, refusedPairs, isRefuted, boundCycles };
  }
}

/**
 * A pair as a bound on the relation: its times moved apart by all that may be wrong with them.
 * `clock` is the guest's perf ns to guest TSC. Undefined for a time that it cannot have made.
 */
export function causalBound(
  pair: ClosePair,
  clock: TimeMap,
  hostAnchor: HostTsc,
): CausalBound | undefined {
  const { guestSegment, guestCycles, hostCycles, hostBoundCycles, isGuestEffect } = pair;
  const ns = sourceOf(guestSegment, guestCycles);
  if (!isNear(clock, ns)) return undefined;
  const { cycles, targetAnchor, boundCycles } = clock.convert(ns);
  // Back from canonical cycles a nanosecond is rounded: a cycle of a 1 GHz machine, five of others.
  const slack = boundCycles + ROUNDED_NS * (clock.newest?.slope ?? 1);
  if (!Number.isFinite(cycles + slack)) return undefined;
  const side = isGuestEffect ? 1 : -1;
  const guest = targetAnchor + BigInt(outward(cycles + side * slack, side));
  const host = hostAnchor + BigInt(outward(hostCycles - side * hostBoundCycles, -side));
  return {
    guest: guestTsc(BigInt.asUintN(64, guest)),
    host: hostTsc(BigInt.asUintN(64, host)),
    isAtLeast: isGuestEffect,
  };
}

const ROUNDED_NS = 1;

/** Whether the clock's segment of that time is near enough to convert it. */
function isNear(clock: TimeMap, ns: bigint): boolean {
  const segment = clock.at(lowHalf(ns), highHalf(ns));
  const distance = segment === undefined ? Infinity : Number(wrappedDelta(ns, baseOf(segment)));
  return Math.abs(distance) <= EXACT_DELTA_MAX;
}

function outward(value: number, side: number): number {
  return side > 0 ? Math.ceil(value) : Math.floor(value);
}

/** The source time that a segment converted to `cycles`. */
function sourceOf(segment: TimeSegment, cycles: number): bigint {
  const delta = Math.round((cycles - segment.originCycles) / segment.slope);
  return BigInt.asUintN(64, baseOf(segment) + BigInt(delta));
}
