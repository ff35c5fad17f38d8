/**
 * Why the kernel refuses a filter, in its own words. perf's ioctl only says EINVAL (or EPERM); the
 * filter file of the event says what is wrong and where:
 *
 *   # echo 'prev_pid+1==2' > events/sched/sched_switch/filter; cat events/sched/sched_switch/filter
 *   prev_pid+1==2
 *            ^
 *   parse_error: Invalid operator
 */
import { readFileSync, writeFileSync } from "node:fs";

/** The kernel takes a filter of at most a page. */
export const KERNEL_FILTER_BYTES_MAX = 4095;
/** What an event that has no filter of its own says. */
const NO_FILTER = "none";

/** The kernel's reason, and where in the filter it sees the fault. */
export interface KernelReason {
  readonly reason: string;
  readonly position: number;
}

/** Parses what the filter file says after a refused write; else undefined. */
export function parseKernelReason(text: string): KernelReason | undefined {
  const match = /\n( *)\^\n+parse_error: (.+)\n/.exec(text);
  return match === null ? undefined : { reason: match[2]!.trim(), position: match[1]!.length };
}

/**
 * Asks the kernel through the event's filter file in tracefs; undefined when it does not tell. The
 * file is left alone when it holds a filter: somebody else's ftrace session uses it.
 */
export function askKernel(eventDirectory: string, filter: string): KernelReason | undefined {
  if (filter.length > KERNEL_FILTER_BYTES_MAX) {
    return { reason: `longer than ${KERNEL_FILTER_BYTES_MAX} bytes`, position: 0 };
  }
  const file = `${eventDirectory}/filter`;
  try {
    if (readFileSync(file, "latin1").trim() !== NO_FILTER) return undefined;
    try {
      writeFileSync(file, filter);
    } catch {
      // Refused as expected: the file now holds the reason.
      return parseKernelReason(readFileSync(file, "latin1"));
    } finally {
      writeFileSync(file, "0");
    }
  } catch {
    // Without the right to write to tracefs the reason stays unknown; the refusal itself does not.
    return undefined;
  }
  return undefined;
}
