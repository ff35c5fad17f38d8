/**
 * A filter that the kernel refused: which one, and, as far as our own reading of it can tell, where
 * in it the fault lies.
 *
 *   Cannot set filter "prev_pid>0&&nofield==1" of sched:sched_switch: the kernel refuses it:
 *   unknown variable "nofield"
 *     prev_pid>0&&nofield==1
 *                 ^
 */
import { ExprError } from "../expr/error.ts";
import { checkNumber } from "../expr/program.ts";
import { FormatError, parseFormat } from "../tracefs/format.ts";
import type { ResolvedEvent } from "./resolve.ts";

const KERNEL_HINT =
  "the kernel compares a field with a constant, by == != < <= > >= & and ~ for text, " +
  "and joins comparisons by && || ! and parentheses";

/** What our expression parser has against a filter; undefined when it takes it. */
function faultOf({ spec, formatText, system }: ResolvedEvent): ExprError | undefined {
  try {
    checkNumber(spec.filter, parseFormat(formatText, system));
    return undefined;
  } catch (error) {
    if (error instanceof ExprError) return error;
    // A format that we cannot read tells nothing about the filter.
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}

/** The kernel does not take a filter. */
export class FilterError extends Error {
  override readonly name = "FilterError";
  readonly event: ResolvedEvent;
  /** The filter and the place of its fault, for a caret; undefined when only the kernel knows. */
  readonly text: string | undefined;
  readonly position: number;
  readonly hint: string;

  constructor(event: ResolvedEvent) {
    const { spec, system, name } = event;
    const fault = faultOf(event);
    const why = fault === undefined ? "" : `: ${fault.detail}`;
    super(`Cannot set filter "${spec.filter}" of ${system}:${name}: the kernel refuses it${why}`);
    this.event = event;
    this.text = fault === undefined ? undefined : spec.filter;
    this.position = fault?.position ?? 0;
    // Our own variables (_cpu, _pid, ...) are none of the kernel's.
    this.hint = fault === undefined ? KERNEL_HINT : fault.hint.replace(/, _\w+/g, "");
  }
}
