/**
 * What is known of a guest's TSC from the program that emulates it (emulator_sandwich.ts), and
 * whether round trips over the channel bear it out.
 *
 *   rounds      |=64=|                     |=8=|                   |=8=|       sandwiches, +-2 us
 *   trips         v v v v v v v v v v v v v v v x v v v v v v v ...            pings, +-200 us
 *   in force             |---------------------|      |----------------
 *                        five agreed           doubted: measured again at once
 *
 * The emulator's clock is the guest's only while the guest has not set its TSC apart from it (QEMU
 * adds env->tsc_offset outside of the probed function). So the relation is in force only after
 * PINGS_READY_MIN trips in a row agreed with it, and not from the first that does not until as many
 * have agreed again. A contradiction that outlives ROUNDS_REFUTE new measurements ends its use.
 *
 * An emulated TSC is no constant away from the host's: where two CPUs read it, and the second gets
 * less than the first did, QEMU moves it on by the difference (cpu_get_ticks() in QEMU's
 * system/cpu-timers.c). A move that is narrower than the narrowest sandwich does not show in any:
 * the bound has that width. What it moves between two rounds shows at the next.
 */
import { type HostTsc, wrappedDelta } from "../../shared/tsc/tsc.ts";
import {
  PINGS_READY_MIN,
  PingEstimator,
  pingDisagreement,
  RATE_EQUAL,
  type RoundTrip,
} from "./ping.ts";

/** Measurements that trips contradict, one after the other, before the relation is given up. */
export const ROUNDS_REFUTE = 3;

/**
 * "off": not measured. "measured": in force once trips bear it out. "refuted": given up for good.
 */
export type EmulatorState = "off" | "measured" | "refuted";

/** The emulator's relation of guest TSC and host TSC, and its standing. */
export class EmulatorRelation {
  readonly estimator: PingEstimator;
  state: EmulatorState = "off";
  /** Rounds that gave something. */
  roundCount = 0;
  /** How far trips contradict it, at least, when they do. */
  excessCyclesMax = 0;
  #isAwaited = false;
  /** Trips in a row that agreed. */
  #agreed = 0;
  /** Rounds in a row that were contradicted. */
  #contradicted = 0;
  /** roundCount at the last contradiction. */
  #doubtedRound: number | undefined;

  constructor(hostAnchor: HostTsc) {
    this.estimator = new PingEstimator(hostAnchor, RATE_EQUAL);
  }

  /** A relation that trips have borne out. */
  get isInForce(): boolean {
    return this.state === "measured" && this.#agreed >= PINGS_READY_MIN;
  }

  /** Worth waiting for: the first round is under way, and nothing spoke against it so far. */
  get isAwaited(): boolean {
    return this.#isAwaited;
  }

  /** A trip contradicts what was measured last: a new round tells whether the relation stepped. */
  get wantsRound(): boolean {
    return this.state === "measured" && this.#doubtedRound === this.roundCount;
  }

  /** The first round begins. */
  expect(): void {
    this.#isAwaited = this.state === "off";
  }

  /** It cannot be measured, or no more: what is not measured again is not relied on. */
  stop(): void {
    if (this.state === "measured") this.state = "off";
    this.#isAwaited = false;
    this.#agreed = 0;
  }

  /** Adds a round's sandwiches. */
  addRound(trips: readonly RoundTrip[]): void {
    if (trips.length === 0 || this.state === "refuted") return;
    this.state = "measured";
    const { epoch } = this.estimator;
    this.estimator.unseenCycles = Math.min(...trips.map(widthCycles));
    for (const trip of trips) this.estimator.add(trip);
    if (this.estimator.epoch !== epoch) this.#agreed = 0;
    this.roundCount++;
  }

  /** The relation may have stepped unseen. */
  doubt(): void {
    this.#agreed = 0;
    this.#isAwaited = false;
    this.#doubtedRound = this.roundCount;
  }

  /** Holds a trip over the channel against the relation. True when that ends its use. */
  check(trip: RoundTrip): boolean {
    const segment = this.estimator.map.newest;
    if (this.state !== "measured" || segment === undefined || !this.estimator.isReady) return false;
    const excessCycles = pingDisagreement(trip, segment);
    if (excessCycles === 0) {
      if (++this.#agreed >= PINGS_READY_MIN) this.#isAwaited = false;
      this.#contradicted = 0;
      this.#doubtedRound = undefined;
      return false;
    }
    const isNewRound = this.#doubtedRound !== this.roundCount;
    const isFirst = this.#doubtedRound === undefined;
    this.doubt();
    if (isFirst || !isNewRound) return false;
    this.excessCyclesMax = Math.max(this.excessCyclesMax, excessCycles);
    if (++this.#contradicted < ROUNDS_REFUTE) return false;
    this.state = "refuted";
    return true;
  }
}

function widthCycles({ hostSent, hostReceived }: RoundTrip): number {
  return Number(wrappedDelta(hostReceived, hostSent));
}
