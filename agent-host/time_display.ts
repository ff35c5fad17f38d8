/**
 * In which clocks a session's times are shown: the date of the host's day, and seconds of the
 * host's CLOCK_MONOTONIC_RAW, of a recorded guest's own clock, or guest TSC cycles / 1e9 (--tsc).
 */
import { baseOf, type TimeSegment } from "../shared/tsc/time_segment.ts";
import type { Machines } from "./machines.ts";
import { type LatencyUnit, unitKilocycles, unitMicroseconds } from "./report/latency_table.ts";
import { TimeScale } from "./report/time_scale.ts";
import { WallClock } from "./report/wall_clock.ts";
import type { WallPoint } from "./session/guest_clock.ts";

export interface TimeDisplay {
  readonly nsPerCycle: number;
  readonly wall: WallClock;
  readonly clock: TimeScale;
  readonly unit: LatencyUnit;
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
  const guest = guests.find(({ isReady }) => isReady) ?? guests[0];
  const wallPoint = hostClock?.wall ?? guest?.clock?.wall;
  if (wallPoint === undefined) throw new RangeError("Cannot show dates: no clock is known");
  const wall = new WallClock(atAnchor(wallPoint, anchor, nsPerCycle), nsPerCycle);
  if (isTsc) {
    const cpu = guest?.hello?.cpus[0]?.cpu ?? 0;
    const segment = guest?.time?.segmentFor(cpu);
    const tscAtZero = segment === undefined ? anchor : sourceAtZero(segment);
    const guestCycles = segment === undefined ? 1 : 1 / segment.slope;
    return {
      nsPerCycle,
      wall,
      clock: new TimeScale(BigInt.asUintN(64, tscAtZero), guestCycles),
      unit: unitKilocycles(guestCycles, nsPerCycle),
    };
  }
  const unit = unitMicroseconds(nsPerCycle);
  const recorded = guest?.clock?.map?.newest;
  const clockAtZero =
    hostClock !== undefined
      ? atAnchor(hostClock.raw, anchor, nsPerCycle)
      : recorded === undefined
        ? 0n
        : sourceAtZero(recorded);
  return { nsPerCycle, wall, clock: new TimeScale(clockAtZero, nsPerCycle), unit };
}
