// Detail: which events around a slow pair are shown (--detail).
//
//   -1ms         those up to 1 ms before the start event     samecpu, samepid, sametid, samekey:
//   +1ms         those up to 1 ms after the end event        only events that share this with the
//   hide<1us     not those that follow the last one shown    start or the end event; with 1 or 2
//                within 1 us                                 only with the start, only with the end

import { EventView } from "./event_view.ts";
import type { Timeline } from "./timeline.ts";

/** Events looked at around one pair. */
export const DETAIL_EVENTS_MAX = 1 << 16;

/** What --detail asks for; times in host TSC cycles. */
export interface DetailOptions {
  readonly sameCpu: boolean;
  readonly samePid: boolean;
  readonly sameTid: boolean;
  readonly sameKey: boolean;
  /** Compare with the start event, with the end event. */
  readonly withStart: boolean;
  readonly withEnd: boolean;
  readonly beforeCycles: number;
  readonly afterCycles: number;
  readonly hideCycles: number;
}

/** Everything between the two events. */
export const DETAIL_ALL: DetailOptions = {
  sameCpu: false,
  samePid: false,
  sameTid: false,
  sameKey: false,
  withStart: true,
  withEnd: true,
  beforeCycles: 0,
  afterCycles: 0,
  hideCycles: 0,
};

export type DetailPlace = "before" | "between" | "after";

/** Receives each event to show, in order. The view is filled anew for the next one. */
export type DetailVisitor = (view: EventView, place: DetailPlace) => void;

/** A pair as the timeline knows it. */
export interface DetailedPair {
  readonly start: EventView;
  readonly end: EventView;
  readonly startSequence: number;
  readonly endSequence: number;
}

/**
 * Visits the events around a pair that the options select; returns how many events between the two
 * are no longer in the timeline, or more than DETAIL_EVENTS_MAX, and so could not be looked at.
 */
export function visitDetails(
  timeline: Timeline,
  pair: DetailedPair,
  options: DetailOptions,
  visit: DetailVisitor,
): number {
  const { start, end, startSequence, endSequence } = pair;
  const view = new EventView();
  const show = (sequence: number, place: DetailPlace): boolean => {
    timeline.view(sequence, view);
    if (!isSelected(view, start, end, options)) return false;
    visit(view, place);
    return true;
  };
  const earliest = start.timeCycles - options.beforeCycles;
  let from = startSequence;
  const reach = Math.max(timeline.oldest, startSequence - DETAIL_EVENTS_MAX);
  while (from > reach && timeline.has(from - 1) && timeline.timeCycles(from - 1) >= earliest) {
    from--;
  }
  if (options.beforeCycles > 0) {
    for (let at = from; at < startSequence; at++) if (timeline.has(at)) show(at, "before");
  }
  const missed = visitBetween(timeline, pair, options, show);
  const latest = end.timeCycles + options.afterCycles;
  const stop = Math.min(timeline.next, endSequence + DETAIL_EVENTS_MAX);
  for (let at = endSequence + 1; options.afterCycles > 0 && at < stop; at++) {
    if (!timeline.has(at)) continue;
    if (timeline.timeCycles(at) > latest) break;
    show(at, "after");
  }
  return missed;
}

function visitBetween(
  timeline: Timeline,
  pair: DetailedPair,
  options: DetailOptions,
  show: (sequence: number, place: DetailPlace) => boolean,
): number {
  const { startSequence, endSequence } = pair;
  let shownCycles = Number.NEGATIVE_INFINITY;
  // What was overwritten is the oldest: begin where the bytes begin.
  let first = Math.max(startSequence + 1, timeline.oldest, endSequence - DETAIL_EVENTS_MAX);
  while (first < endSequence && !timeline.has(first)) first++;
  for (let at = first; at < endSequence; at++) {
    const cycles = timeline.timeCycles(at);
    if (cycles - shownCycles < options.hideCycles) continue;
    if (show(at, "between")) shownCycles = cycles;
  }
  return first - (startSequence + 1);
}

function isSelected(
  view: EventView,
  start: EventView,
  end: EventView,
  options: DetailOptions,
): boolean {
  const { sameCpu, samePid, sameTid, sameKey } = options;
  if (!(sameCpu || samePid || sameTid || sameKey)) return true;
  return (
    (options.withStart && isSame(view, start, options)) ||
    (options.withEnd && isSame(view, end, options))
  );
}

/** CPUs and pids of different machines are different things; keys are the user's own. */
function isSame(view: EventView, other: EventView, options: DetailOptions): boolean {
  if (options.sameKey && view.keyLo === other.keyLo && view.keyHi === other.keyHi) return true;
  if (view.machine !== other.machine) return false;
  if (options.sameCpu && view.cpu === other.cpu) return true;
  if (options.sameTid && view.tid === other.tid) return true;
  if (!options.samePid) return false;
  // Without process ids in the records the thread is the best that is known.
  return view.pid >= 0 && other.pid >= 0 ? view.pid === other.pid : view.tid === other.tid;
}
