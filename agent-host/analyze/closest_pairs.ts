// ClosestPairs: of the pairs between the host and a guest, those that say most about the clocks:
// the one of least latency for each guest and direction since they were taken last.
//
//   host  ----x------------------->      host => guest: the guest's time is at most this much late
//              \ least latency
//   guest ------`o---------------->      guest => host: ... at most this much early
//
// What a pair says of the clocks is true if its start is a cause of its end, which only the user
// knows: he chose the keys. See align/causality.ts. One comparison per pair; nothing is allocated.

import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import { MACHINES_MAX } from "./clock_bounds.ts";

/** A pair between the host and a guest, in canonical cycles. */
export interface ClosePair {
  readonly machine: number;
  /** The guest's event is the effect. */
  readonly isGuestEffect: boolean;
  readonly hostCycles: number;
  /** |error| of the host's time. */
  readonly hostBoundCycles: number;
  readonly guestCycles: number;
  /** What converted the guest's perf time into guestCycles. */
  readonly guestSegment: TimeSegment;
}

const SLOTS = 2 * MACHINES_MAX;

export class ClosestPairs {
  /** By machine and direction: latency beside the host's bound, Infinity where there is none. */
  readonly #least = new Float64Array(SLOTS).fill(Infinity);
  readonly #hostCycles = new Float64Array(SLOTS);
  readonly #hostBound = new Float64Array(SLOTS);
  readonly #guestCycles = new Float64Array(SLOTS);
  readonly #segments: (TimeSegment | undefined)[] = new Array(SLOTS).fill(undefined);

  /** The host's event started what the guest's ended. Segments of raised times are undefined. */
  noteGuestEffect(
    machine: number,
    hostCycles: number,
    hostBound: number,
    guestCycles: number,
    segment: TimeSegment | undefined,
  ): void {
    const latency = guestCycles - hostCycles + hostBound;
    if (latency >= this.#least[machine * 2]! || segment === undefined) return;
    this.#keep(machine * 2, latency, hostCycles, hostBound, guestCycles, segment);
  }

  /** The guest's event started what the host's ended. */
  noteHostEffect(
    machine: number,
    hostCycles: number,
    hostBound: number,
    guestCycles: number,
    segment: TimeSegment | undefined,
  ): void {
    const latency = hostCycles - guestCycles + hostBound;
    if (latency >= this.#least[machine * 2 + 1]! || segment === undefined) return;
    this.#keep(machine * 2 + 1, latency, hostCycles, hostBound, guestCycles, segment);
  }

  /** Hands on what there is, and begins anew. */
  take(): ClosePair[] {
    const pairs: ClosePair[] = [];
    for (let slot = 0; slot < SLOTS; slot++) {
      if (this.#least[slot] === Infinity) continue;
      this.#least[slot] = Infinity;
      pairs.push({
        machine: slot >> 1,
        isGuestEffect: (slot & 1) === 0,
        hostCycles: this.#hostCycles[slot]!,
        hostBoundCycles: this.#hostBound[slot]!,
        guestCycles: this.#guestCycles[slot]!,
        guestSegment: this.#segments[slot]!,
      });
    }
    return pairs;
  }

  #keep(
    slot: number,
    latency: number,
    hostCycles: number,
    hostBound: number,
    guestCycles: number,
    segment: TimeSegment,
  ): void {
    this.#least[slot] = latency;
    this.#hostCycles[slot] = hostCycles;
    this.#hostBound[slot] = hostBound;
    this.#guestCycles[slot] = guestCycles;
    this.#segments[slot] = segment;
  }
}
