/**
 * In which clocks a session's times are shown: the date of the host's day, and seconds of the
 * host's CLOCK_MONOTONIC_RAW, of a recorded guest's own clock, or guest TSC cycles / 1e9 (--tsc).
 *
 * The length of a cycle is known to some 1e-5 when a session begins and to 1e-8 a minute later, and
 * the day's clock is slewed by NTP: what is shown follows both, without going back.
 */
import { baseOf, type TimeSegment } from "../shared/tsc/time_segment.ts";
import type { Machines } from "./machines.ts";
import { type LatencyUnit, unitKilocycles, unitMicroseconds } from "./report/latency_table.ts";
import { TimeScale } from "./report/time_scale.ts";
import { WallClock } from "./report/wall_clock.ts";
import type { WallPoint } from "./session/guest_clock.ts";

/** Times that are shown come up with the clocks within this long. */
const FOLLOW_SECONDS = 2;

export interface TimeDisplay {
  readonly nsPerCycle: number;
  readonly wall: WallClock;
  readonly clock: TimeScale;
  /** Changes in place as the length of a cycle becomes better known. */
  readonly unit: LatencyUnit;
  /** Follows the clocks; times up to `shownCycles` have been shown, and stay behind. */
  renew(shownCycles: number): void;
}

/** The clocks that are shown, at one moment. */
interface ShownClocks {
  readonly version: number;
  readonly nsPerCycle: number;
  readonly wall: WallPoint;
  /** What the time column shows at some canonical time. */
  readonly cycles: number;
  readonly clockNs: bigint;
}

/** A display that follows its clocks, whose rate is known the better the longer. */
class LiveDisplay implements TimeDisplay {
  readonly wall: WallClock;
  readonly clock: TimeScale;
  readonly unit: { -readonly [K in keyof LatencyUnit]: LatencyUnit[K] };
  readonly #clocks: () => ShownClocks | undefined;
  readonly #anchor: bigint;
  #version = -1;

  constructor(
    { wall, clock, unit }: Pick<TimeDisplay, "wall" | "clock" | "unit">,
    clocks: () => ShownClocks | undefined,
    anchor: bigint,
  ) {
    this.wall = wall;
    this.clock = clock;
    this.unit = { ...unit };
    this.#clocks = clocks;
    this.#anchor = anchor;
  }

  get nsPerCycle(): number {
    return this.unit.nsPerCycle;
  }

  renew(shownCycles: number): void {
    const clocks = this.#clocks();
    if (clocks === undefined || clocks.version === this.#version) return;
    this.#version = clocks.version;
    const { nsPerCycle, wall, cycles, clockNs } = clocks;
    this.unit.nsPerCycle = nsPerCycle;
    const wallCycles = Number(BigInt.asIntN(64, wall.tsc - this.#anchor));
    follow(this.wall.scale, wallCycles, wall.realtimeNs, shownCycles, nsPerCycle);
    // --tsc: the column shows guest TSC cycles, which are what they are.
    if (this.unit.name !== "us") return;
    this.unit.perCycle = nsPerCycle / 1000;
    follow(this.clock, cycles, clockNs, shownCycles, nsPerCycle);
  }
}

/** A clock showed `ns` at `cycles`: what is shown after `shownCycles` comes up with it. */
function follow(
  scale: TimeScale,
  cycles: number,
  ns: bigint,
  shownCycles: number,
  nsPerCycle: number,
): void {
  const from = Number.isFinite(shownCycles) ? Math.min(shownCycles, cycles) : cycles;
  const then = ns - BigInt(Math.round((cycles - from) * nsPerCycle));
  scale.follow(from, then, nsPerCycle, (FOLLOW_SECONDS * 1e9) / nsPerCycle);
}

/** The clocks of the host, or of the guest whose recording is read. */
function clocksOf({ hostClock, guests }: Machines, anchor: bigint): ShownClocks | undefined {
  if (hostClock !== undefined) {
    const { version, wall, raw, frequency } = hostClock;
    const cycles = Number(BigInt.asIntN(64, raw.tsc - anchor));
    if (frequency === undefined) return undefined;
    return { version, nsPerCycle: 1e9 / frequency.hz, wall, cycles, clockNs: raw.realtimeNs };
  }
  const clock = guests[0]?.clock;
  const segment = clock?.map?.newest;
  // What has been read may be further than what is shown: a step would come too early.
  if (clock?.wall === undefined || segment === undefined || segment.epoch > 0) return undefined;
  const { version, wall } = clock;
  const nsPerCycle = 1 / segment.slope;
  return { version, nsPerCycle, wall, cycles: segment.originCycles, clockNs: baseOf(segment) };
}

/** What a clock showed when canonical time was 0, given what it showed at some TSC. */
function atAnchor(point: WallPoint, anchor: bigint, nsPerCycle: number): bigint {
  const cycles = Number(BigInt.asIntN(64, point.tsc - anchor));
  return point.realtimeNs - BigInt(Math.round(cycles * nsPerCycle));
}

/** The source clock's value at which a segment gives 0. */
function sourceAtZero(segment: TimeSegment): bigint {
  return baseOf(segment) - BigInt(Math.round(segment.originCycles / segment.slope));
}

/** Length of a canonical cycle, by the clock that is at hand. */
function nsPerCycleOf({ hostClock, guests }: Machines): number {
  const hz = (hostClock?.frequency ?? guests[0]?.clock?.frequency)?.hz;
  if (hz === undefined)
    throw new RangeError("Cannot tell the length of a cycle: no clock is known");
  return 1e9 / hz;
}

/** `isTsc`: show guest TSC. Throws RangeError before the clocks are known. */
export function timeDisplay(machines: Machines, anchor: bigint, isTsc: boolean): TimeDisplay {
  const { hostClock, guests } = machines;
  const nsPerCycle = nsPerCycleOf(machines);
  const clocks = (): ShownClocks | undefined => clocksOf(machines, anchor);
  const guest = guests.find(({ isReady }) => isReady) ?? guests[0];
  const wallPoint = hostClock?.wall ?? guest?.clock?.wall;
  if (wallPoint === undefined) throw new RangeError("Cannot show dates: no clock is known");
  const wall = new WallClock(atAnchor(wallPoint, anchor, nsPerCycle), nsPerCycle);
  if (isTsc) {
    const cpu = guest?.hello?.cpus[0]?.cpu ?? 0;
    const segment = guest?.time?.segmentFor(cpu);
    const tscAtZero = segment === undefined ? anchor : sourceAtZero(segment);
    const guestCycles = segment === undefined ? 1 : 1 / segment.slope;
    const clock = new TimeScale(BigInt.asUintN(64, tscAtZero), guestCycles);
    const unit = unitKilocycles(guestCycles, nsPerCycle);
    return new LiveDisplay({ wall, clock, unit }, clocks, anchor);
  }
  const unit = unitMicroseconds(nsPerCycle);
  const recorded = guest?.clock?.map?.newest;
  const clockAtZero =
    hostClock !== undefined
      ? atAnchor(hostClock.raw, anchor, nsPerCycle)
      : recorded === undefined
        ? 0n
        : sourceAtZero(recorded);
  const clock = new TimeScale(clockAtZero, nsPerCycle);
  return new LiveDisplay({ wall, clock, unit }, clocks, anchor);
}
