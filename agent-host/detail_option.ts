/**
 * The value of --detail, as perf-prof takes it:
 *
 *   --detail=samecpu,-1ms,+100us,hide<1us        samepid sametid samekey; samecpu1, samecpu2
 */

import { UsageError } from "../shared/cli/failure.ts";
import { parseDurationNs } from "../shared/cli/option.ts";
import { DETAIL_ALL, type DetailOptions } from "./analyze/detail.ts";

/** Throws UsageError. */
export function parseDetail(text: string, nsPerCycle: number): DetailOptions {
  const options = { ...DETAIL_ALL };
  const cycles = (duration: string): number => parseDurationNs("--detail", duration) / nsPerCycle;
  for (const part of text.split(",").map((piece) => piece.trim())) {
    const same = /^same(cpu|pid|tid|key)([12]?)$/.exec(part);
    if (same !== null) {
      if (same[1] === "cpu") options.sameCpu = true;
      else if (same[1] === "pid") options.samePid = true;
      else if (same[1] === "tid") options.sameTid = true;
      else options.sameKey = true;
      if (same[2] === "1") options.withEnd = false;
      if (same[2] === "2") options.withStart = false;
    } else if (part.startsWith("-")) options.beforeCycles = cycles(part.slice(1));
    else if (part.startsWith("+")) options.afterCycles = cycles(part.slice(1));
    else if (part.startsWith("hide<")) options.hideCycles = cycles(part.slice(5));
    else {
      throw new UsageError(
        `Cannot use --detail=${text}: "${part}" is unknown`,
        "samecpu samepid sametid samekey -TIME +TIME hide<TIME",
      );
    }
  }
  return options;
}
