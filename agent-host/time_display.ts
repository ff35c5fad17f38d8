/**
 * In which clocks a session's times are shown: the date of the host's day, and seconds of the
 * host's CLOCK_MONOTONIC_RAW, of a recorded guest's own clock, or guest TSC cycles / 1e9 (--tsc).
 *
 * The length of a cycle is known to some 1e-5 when a session begins and to 1e-8 a minute later, a
 * guest's TSC by its first round trips to percents and soon to 1e-5, and the day's clock is slewed
 * by NTP: what is shown follows them all, without going back.
 */
import { baseOf, type TimeSegment } from "../shared/tsc/time_segment.ts";
import type { Machines } from "./machines.ts";
import { type LatencyUnit, unitKilocycles, unitMicroseconds } from "./report/latency_table.ts";
import { TimeScale } from "./report/time_scale.ts";
import { WallClock } from "./report/wall_clock.ts";
import type { Guest } from "./session/guest.ts";
import type { WallPoint } from "./session/guest_clock.ts";

/** Times that are shown come up with the clocks within this long. */
const FOLLOW_SECONDS = 2;
/** So does a guest's TSC: its rate may be percents off at first, and is known soon. */
const FOLLOW_SECONDS_TSC = 0.2;

export interface TimeDisplay {
  readonly nsPerCycle: number;
  readonly wall: WallClock;
  readonly clock: TimeScale;
  /** Changes in place as the length of a cycle becomes better known. */
  readonly unit: LatencyUnit;
  /** Follows the clocks; times up to `shownCycles` have been shown, and stay behind. */
  renew(shownCycles: number): void;
}

/** What a clock shows at some canonical time, and how fast it runs. */
interface ShownPoint {
  readonly cycles: number;
  /** ns of a clock, or guest TSC cycles. */
  readonly units: bigint;
  readonly unitsPerCycle: number;
  /** Within which what is shown comes up with it. */
  readonly spanCycles: number;
}

/** The clocks that are shown, at one moment. */
interface ShownClocks {
  readonly version: number;
  readonly nsPerCycle: number;
  readonly wall: WallPoint;
  /** Undefined: nothing new is known, what it has shown so far goes on. */
  readonly column: ShownPoint | undefined;
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
    const { nsPerCycle, wall, column } = clocks;
    this.unit.nsPerCycle = nsPerCycle;
    const wallCycles = Number(BigInt.asIntN(64, wall.tsc - this.#anchor));
    follow(this.wall.scale, clockPoint(wallCycles, wall.realtimeNs, nsPerCycle), shownCycles);
    if (column === undefined) return;
    this.unit.perCycle = column.unitsPerCycle / 1000;
    follow(this.clock, column, shownCycles);
  }
}

function clockPoint(cycles: number, ns: bigint, nsPerCycle: number): ShownPoint {
  return {
    cycles,
    units: ns,
    unitsPerCycle: nsPerCycle,
    spanCycles: (FOLLOW_SECONDS * 1e9) / nsPerCycle,
  };
}

/** What is shown after `shownCycles` comes up with the clock. */
function follow(scale: TimeScale, point: ShownPoint, shownCycles: number): void {
  // A point may be older than what has been shown, which stays as it is.
  const from = Number.isFinite(shownCycles) ? shownCycles : point.cycles;
  scale.follow(from, unitsAt(point, from), point.unitsPerCycle, point.spanCycles);
}

function unitsAt({ cycles, units, unitsPerCycle }: ShownPoint, at: number): bigint {
  return units - BigInt(Math.round((cycles - at) * unitsPerCycle));
}

/** What decides about the time column. */
interface ColumnOptions {
  readonly isTsc: boolean;
  /** --tsc: the guest whose TSC is shown. */
  readonly guest: Guest | undefined;
}

/** The clocks of the host, or of the guest whose recording is read. */
function clocksOf(
  { hostClock, guests }: Machines,
  anchor: bigint,
  { isTsc, guest }: ColumnOptions,
): ShownClocks | undefined {
  if (hostClock !== undefined) {
    const { version, wall, raw, frequency } = hostClock;
    if (frequency === undefined) return undefined;
    const cycles = Number(BigInt.asIntN(64, raw.tsc - anchor));
    const nsPerCycle = 1e9 / frequency.hz;
    if (!isTsc) {
      return { version, nsPerCycle, wall, column: clockPoint(cycles, raw.realtimeNs, nsPerCycle) };
    }
    // Both only grow: their sum changes with either.
    const versions = version + (guest?.time?.version ?? 0);
    return { version: versions, nsPerCycle, wall, column: guestTscAt(guest, cycles, nsPerCycle) };
  }
  const clock = guests[0]?.clock;
  const segment = clock?.map?.newest;
  // What has been read may be further than what is shown: a step would come too early.
  if (clock?.wall === undefined || segment === undefined || segment.epoch > 0) return undefined;
  const { version, wall } = clock;
  const nsPerCycle = 1 / segment.slope;
  // --tsc: canonical time is this guest's own TSC.
  const column = isTsc ? undefined : recordedColumn(segment);
  return { version, nsPerCycle, wall, column };
}

function recordedColumn(segment: TimeSegment): ShownPoint {
  return clockPoint(segment.originCycles, baseOf(segment), 1 / segment.slope);
}

/** A guest's TSC at a canonical time, as far as their relation is known by now. */
function guestTscAt(
  guest: Guest | undefined,
  cycles: number,
  nsPerCycle: number,
): ShownPoint | undefined {
  const segment = guest?.time?.segmentFor(guest.hello?.cpus[0]?.cpu ?? 0);
  if (segment === undefined) return undefined;
  const { originCycles, slope } = segment;
  const tsc = baseOf(segment) + BigInt(Math.round((cycles - originCycles) / slope));
  return {
    cycles,
    units: BigInt.asUintN(64, tsc),
    unitsPerCycle: 1 / slope,
    spanCycles: (FOLLOW_SECONDS_TSC * 1e9) / nsPerCycle,
  };
}

/** What a clock showed when canonical time was 0, given what it showed at some TSC. */
function atAnchor(point: WallPoint, anchor: bigint, nsPerCycle: number): bigint {
  const cycles = Number(BigInt.asIntN(64, point.tsc - anchor));
  return point.realtimeNs - BigInt(Math.round(cycles * nsPerCycle));
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
  const guest = guests.find(({ isReady }) => isReady) ?? guests[0];
  const clocks = (): ShownClocks | undefined => clocksOf(machines, anchor, { isTsc, guest });
  const wallPoint = hostClock?.wall ?? guest?.clock?.wall;
  if (wallPoint === undefined) throw new RangeError("Cannot show dates: no clock is known");
  const wall = new WallClock(atAnchor(wallPoint, anchor, nsPerCycle), nsPerCycle);
  if (isTsc) {
    const column = guestTscAt(guest, 0, nsPerCycle) ?? { units: anchor, unitsPerCycle: 1 };
    const clock = new TimeScale(column.units, column.unitsPerCycle);
    const unit = unitKilocycles(column.unitsPerCycle, nsPerCycle);
    return new LiveDisplay({ wall, clock, unit }, clocks, anchor);
  }
  const recorded = guest?.clock?.map?.newest;
  const clockAtZero =
    hostClock !== undefined
      ? atAnchor(hostClock.raw, anchor, nsPerCycle)
      : recorded === undefined
        ? 0n
        : unitsAt(recordedColumn(recorded), 0);
  const clock = new TimeScale(clockAtZero, nsPerCycle);
  return new LiveDisplay({ wall, clock, unit: unitMicroseconds(nsPerCycle) }, clocks, anchor);
}
