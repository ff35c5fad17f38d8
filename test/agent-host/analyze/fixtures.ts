// Lookups and clocks for the tests of the decoder and what comes behind it.
import { EventLookup } from "../../../agent-host/analyze/event_lookup.ts";
import { TimeMap } from "../../../shared/tsc/time_map.ts";
import { type TimeSegment, timeSegment } from "../../../shared/tsc/time_segment.ts";

/** A map of one segment. */
export function mapOf(segment: TimeSegment): TimeMap {
  const map = new TimeMap();
  map.push(segment, 0n);
  return map;
}

/** A segment from perf time 0 whose results count from 0. */
export function lineOf(slope: number, originCycles: number, base = 0n): TimeSegment {
  return timeSegment({ base, slope, originCycles, targetAnchor: 0n, boundCycles: 0 });
}

/** perf time is canonical time. */
export const SAME_TIME = mapOf(lineOf(1, 0));

/** common_type of each event, by its index. */
export function lookupOf(...types: number[]): EventLookup {
  const lookup = new EventLookup();
  types.forEach((type, index) => {
    lookup.addType(type, index);
  });
  return lookup;
}
