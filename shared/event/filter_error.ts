/**
 * Filters that the kernel refuses. One that is a C expression on the event's fields runs in user
 * space instead, and the user is told why:
 *
 *   HINT: the kernel refuses the filter of sched:sched_switch (Invalid operator): the host runs it
 *     prev_pid+1==2
 *              ^
 *
 * One that is neither is an error with both reasons:
 *
 *   Cannot set filter "prev_pid>0&&nofield==1" of sched:sched_switch: the kernel refuses it (Field
 *   not found), and as a C expression it is wrong as well: unknown variable "nofield"
 *     prev_pid>0&&nofield==1
 *                 ^
 */
import { ExprError } from "../expr/error.ts";
import { checkFilter } from "../expr/program.ts";
import { caretLines } from "../text/caret.ts";
import { FormatError, parseFormat } from "../tracefs/format.ts";
import { Tracefs } from "../tracefs/tracefs.ts";
import { askKernel, type KernelReason } from "./kernel_filter.ts";
import type { ResolvedEvent } from "./resolve.ts";

const KERNEL_HINT =
  "the kernel compares a field with a constant, by == != < <= > >= & and ~ for text, " +
  "and joins comparisons by && || ! and parentheses";
/** Events that one hint names; wildcards may select hundreds. */
const NAMES_SHOWN_MAX = 3;

/**
 * Longest filter that runs in user space. A guest may choose it, and the text that it looks at: a
 * glob of this length costs its length for each byte of a record, some microsecond, and no more.
 */
export const USER_FILTER_CHARS_MAX = 1024;

/** A filter that the kernel of this machine did not take, and that is C. */
export interface RefusedFilter {
  readonly event: ResolvedEvent;
  readonly filter: string;
  /** Undefined when the kernel does not tell. */
  readonly kernel: KernelReason | undefined;
}

/** What our expression parser has against a filter; undefined when it takes it. */
function faultOf({ spec, formatText, system }: ResolvedEvent): ExprError | FormatError | undefined {
  if (spec.filter.length > USER_FILTER_CHARS_MAX) {
    const detail = `${spec.filter.length} characters, wanted at most ${USER_FILTER_CHARS_MAX}`;
    return new ExprError(detail, "", 0);
  }
  try {
    checkFilter(spec.filter, parseFormat(formatText, system));
    return undefined;
  } catch (error) {
    if (error instanceof ExprError || error instanceof FormatError) return error;
    throw error;
  }
}

function kernelReasonOf({ system, name, probe, spec }: ResolvedEvent): KernelReason | undefined {
  const directory = `${Tracefs.open().root}/events/${probe?.group ?? system}/${probe?.name ?? name}`;
  return askKernel(directory, spec.filter);
}

/** Finds out about a filter that the kernel refused. Throws FilterError when it is no C either. */
export function examineRefusal(event: ResolvedEvent): RefusedFilter {
  const kernel = kernelReasonOf(event);
  const fault = faultOf(event);
  if (fault !== undefined) throw new FilterError(event, kernel, fault);
  return { event, filter: event.spec.filter, kernel };
}

/** What the user is told: one text per filter, whichever events it was for. */
export function describeRefusals(refused: readonly RefusedFilter[], runner: string): string[] {
  const bySpec = Map.groupBy(refused, ({ filter }) => filter);
  return [...bySpec].map(([filter, same]) => {
    const names = same.map(({ event: { system, name } }) => `${system}:${name}`);
    const more = names.length - NAMES_SHOWN_MAX;
    const shown =
      names.slice(0, NAMES_SHOWN_MAX).join(", ") + (more > 0 ? ` and ${more} more` : "");
    const kernel = same[0]!.kernel;
    const why = kernel === undefined ? "" : ` (${kernel.reason})`;
    const place = kernel === undefined ? "" : `\n${caretLines(filter, kernel.position)}`;
    return `HINT: the kernel refuses the filter of ${shown}${why}: ${runner} runs it${place}`;
  });
}

/** Neither the kernel nor we take a filter. */
export class FilterError extends Error {
  override readonly name = "FilterError";
  readonly event: ResolvedEvent;
  /** The filter and the place of its fault, for a caret; undefined when only the kernel knows. */
  readonly text: string | undefined;
  readonly position: number;
  readonly hint: string;

  constructor(
    event: ResolvedEvent,
    kernel: KernelReason | undefined,
    fault: ExprError | FormatError,
  ) {
    const { spec, system, name } = event;
    const why = kernel === undefined ? "" : ` (${kernel.reason})`;
    // A format that we cannot read tells nothing about the filter.
    const ours =
      fault instanceof FormatError
        ? "and the event's format cannot be read to run it here"
        : `and as a C expression it is wrong as well: ${fault.detail}`;
    super(
      `Cannot set filter "${shorten(spec.filter)}" of ${system}:${name}: ` +
        `the kernel refuses it${why}, ${ours}`,
    );
    this.event = event;
    // A fault without a place in the text is about all of it: it shows nothing to point at it.
    const hasPlace = fault instanceof ExprError && fault.source !== "";
    this.text = hasPlace ? spec.filter : undefined;
    this.position = hasPlace ? fault.position : 0;
    this.hint = fault instanceof FormatError || fault.hint === "" ? KERNEL_HINT : fault.hint;
  }
}

function shorten(filter: string): string {
  const SHOWN_MAX = 200;
  return filter.length > SHOWN_MAX ? `${filter.slice(0, SHOWN_MAX)}...` : filter;
}
