/**
 * Where the time line of a run ends. Canonical time is counted in doubles from the TSC at which the
 * run began, and a double counts exactly to 2^53: 34.7 days at 3 GHz. Until then nothing loses a
 * cycle; beyond, nothing would be known to. So a run ends in order a little before.
 *
 *   anchor |-------------------------------------|-----| 2^53
 *                                                ^ results, ledger, then TimeLineError
 */
import { EXACT_DELTA_MAX, wrappedDelta } from "../../shared/tsc/tsc.ts";

/** Left for the end itself: 23 minutes at 3 GHz. */
const MARGIN_CYCLES = 2 ** 42;
export const TIME_LINE_CYCLES_MAX = EXACT_DELTA_MAX - MARGIN_CYCLES;

/** Whether a host TSC is as far from the run's beginning as its times may be. */
export function isTimeLineOver(tsc: bigint, anchor: bigint): boolean {
  return Math.abs(Number(wrappedDelta(tsc, anchor))) >= TIME_LINE_CYCLES_MAX;
}

/** The run was longer than its times can be counted; what it gave so far is sound. */
export class TimeLineError extends Error {
  override readonly name = "TimeLineError";
  readonly hint = "start it again: a service manager does so by itself (systemd: Restart=always)";
  constructor() {
    super("Cannot go on: this run has counted 2^53 cycles of the TSC, all that its times can hold");
  }
}
