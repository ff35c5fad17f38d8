/**
 * Globs that the kernel misreads. In an array of fixed size, such as a comm, it looks for ~"*x" at
 * the end of the array, and for ~"*x*" in what an older name left behind the text as well. A glob
 * that holds ? or [...] takes another way, which is right:
 *
 *   HINT: the kernel looks for prev_comm~"*sh" of sched:sched_switch at the end of the array;
 *   prev_comm~"*[s]h" it reads as it is meant
 */
import { printableAscii } from "../text/printable_ascii.ts";
import { parseFormat } from "../tracefs/format.ts";

/** FIELD ~ "*text" or "*text*", without further wildcards. */
const MISREAD = /\b(\w+)\s*~\s*"\*([^*?[\]\\"]+)(\*?)"/g;

/** An event with the filter that its kernel applies. */
export interface FilteredEvent {
  readonly system: string;
  readonly name: string;
  readonly filter: string;
  readonly formatText: string;
}

/** A hint for each such glob. Throws FormatError. */
export function globTraps(events: readonly FilteredEvent[]): string[] {
  const hints = new Set<string>();
  for (const { system, name, filter, formatText } of events) {
    if (!filter.includes("~")) continue;
    const { fieldByName } = parseFormat(formatText, system);
    for (const [, fieldName = "", text = "", end] of filter.matchAll(MISREAD)) {
      const field = fieldByName.get(fieldName);
      if (field === undefined || !field.isString || field.isDynamic) continue;
      const where = end === "" ? "at the end of the array" : "behind the end of the text as well";
      const mended = `${fieldName}~"*[${text[0]}]${text.slice(1)}${end}"`;
      const hint =
        `HINT: the kernel looks for ${fieldName}~"*${text}${end}" of ${system}:${name} ${where}; ` +
        `${mended} it reads as it is meant`;
      hints.add(printableAscii(hint));
    }
  }
  return [...hints];
}
