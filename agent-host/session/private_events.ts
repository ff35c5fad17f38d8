/**
 * Events that the engine opens for itself, to learn of the clocks: their rings are not part of the
 * session's pipeline, and are read here in whole pieces.
 */
import type { EventSet } from "../../shared/event/event_set.ts";
import type { Ring } from "../../shared/perf/ring.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import type { HostClock } from "./host_clock.ts";

/** Takes what a ring holds, in one piece: a record may lie across the seam. */
export function takeRecords(ring: Ring): Uint8Array {
  const head = ring.refreshHead();
  const { tail, bytes, data } = ring;
  const from = ring.offsetOf(tail);
  const first = Math.min(head - tail, bytes - from);
  const joined = new Uint8Array(head - tail);
  joined.set(data.subarray(from, from + first));
  joined.set(data.subarray(0, head - tail - first), first);
  ring.setTail(head);
  return joined;
}

/** The host's perf ns to its TSC, for the records of `set`; undefined until it is known. */
export function perfMapOf(set: EventSet, hostClock: HostClock): TimeMap | undefined {
  if (set.clock.source === "fitted") {
    return hostClock.isReady ? hostClock.map : undefined;
  }
  const userTime = set.userTime();
  if (userTime === undefined) return undefined;
  const conversion = perfConversion(userTime.timeZero, userTime.timeMult, userTime.timeShift);
  const exact = new ExactPerfClock();
  exact.update(conversion, perfNsOfTsc(conversion, readTsc()));
  return exact.map;
}
