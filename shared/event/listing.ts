/**
 * `list`: which events there are, as values and as text. The kernel has no description of an event
 * beside its name and its format, so that is what is shown: one event a line with its fields, or
 * all of it:
 *
 *   irq:irq_handler_entry    irq name
 *
 *   irq:irq_handler_entry  id 169
 *     offset  size  signed  type               name
 *          8     4  yes     int                irq
 *         12     4  no      __data_loc char[]  name
 *     common: common_type common_flags common_preempt_count common_pid
 *     print fmt: "irq=%d name=%s", REC->irq, __get_str(name)
 *
 * Events may be a guest's: nothing is printed unescaped.
 */
import { globMatcher } from "../text/glob.ts";
import { jsonString } from "../text/json_string.ts";
import { printableAscii } from "../text/printable_ascii.ts";
import { similarNames } from "../text/similar.ts";
import { type EventFormat, FormatError, type FormatField, parseFormat } from "../tracefs/format.ts";
import { unrenderedReason } from "../tracefs/print_format.ts";

/** Patterns of one command line. */
export const LIST_PATTERNS_MAX = 256;
/** Names are aligned up to this width; longer ones push their line to the right. */
const NAME_WIDTH_MAX = 44;

/** An event that may be listed; its format is read when it is needed. */
export interface ListedEvent {
  readonly system: string;
  readonly name: string;
  /** Of another name in tables and lines; empty when it has none. */
  readonly alias?: string;
  readonly filter?: string;
  /** The text of its format file. Throws TracefsError, FormatError. */
  formatText(): string;
}

export interface ListOptions {
  /** Fields with their places, and the print format. */
  readonly isVerbose: boolean;
  readonly isJson: boolean;
  /** Only events whose records are printed as fields, with the reason. */
  readonly isUnrendered: boolean;
}

/** No event fits a pattern. */
export class NoEventError extends Error {
  override readonly name = "NoEventError";
  readonly hint: string;

  constructor(pattern: string, names: readonly string[]) {
    super(`Cannot list "${printableAscii(pattern)}": no event is called so`);
    const plain = pattern.replace(/[*?[\]]/g, "").slice(pattern.indexOf(":") + 1);
    const byName = new Map(names.map((name) => [name.slice(name.indexOf(":") + 1), name]));
    const similar = similarNames(plain, [...byName.keys()]).map((name) => byName.get(name)!);
    this.hint =
      similar.length === 0
        ? "list without a pattern shows all events"
        : `did you mean ${printableAscii(similar.join(" or "))}?`;
  }
}

/**
 * Whether `SYSTEM:NAME` is meant by a pattern: a glob over both parts, a glob over the name alone
 * when it has no colon, and a plain word is looked for anywhere.
 */
export function listMatcher(pattern: string): (event: ListedEvent) => boolean {
  const isGlob = /[*?[]/.test(pattern);
  const colon = pattern.indexOf(":");
  if (colon < 0 && !isGlob) return ({ system, name }) => `${system}:${name}`.includes(pattern);
  const isSystem = globMatcher(colon < 0 ? "*" : pattern.slice(0, colon) || "*");
  const isName = globMatcher(pattern.slice(colon + 1) || "*");
  return ({ system, name }) => isSystem(system) && isName(name);
}

/** The events that any of the patterns means, sorted; all without patterns. Throws NoEventError. */
export function selectListed(
  events: readonly ListedEvent[],
  patterns: readonly string[],
): ListedEvent[] {
  if (patterns.length > LIST_PATTERNS_MAX) {
    throw new RangeError(`Cannot list events: over ${LIST_PATTERNS_MAX} patterns`);
  }
  const chosen = new Set(patterns.length === 0 ? events : []);
  for (const pattern of patterns) {
    const fitting = events.filter(listMatcher(pattern));
    if (fitting.length === 0) {
      const names = events.map(({ system, name }) => `${system}:${name}`);
      throw new NoEventError(pattern, names);
    }
    for (const event of fitting) chosen.add(event);
  }
  const key = ({ system, name }: ListedEvent): string => `${system}:${name}`;
  return [...chosen].sort((a, b) => (key(a) < key(b) ? -1 : 1));
}

/** Writes the events, in pieces of about a page. */
export function writeListing(
  events: readonly ListedEvent[],
  options: ListOptions,
  write: (text: string) => void,
): void {
  const names = events.map(({ system, name }) => printableAscii(`${system}:${name}`));
  const width = Math.min(NAME_WIDTH_MAX, Math.max(0, ...names.map(({ length }) => length)));
  events.forEach((event, i) => {
    const { format, fault } = readFormat(event);
    const reason = format === undefined ? fault : reasonOf(format, options);
    if (options.isUnrendered && reason === "") return;
    if (options.isJson) write(`${toJson(event, format, reason)}\n`);
    else if (options.isVerbose) write(`${describe(event, names[i]!, format, reason)}\n`);
    else {
      const shown = options.isUnrendered || format === undefined ? reason : fieldNames(format);
      write(`${`${names[i]!.padEnd(width)}  ${printableAscii(shown)}`.trimEnd()}\n`);
    }
  });
}

function readFormat(event: ListedEvent): { format: EventFormat | undefined; fault: string } {
  try {
    return { format: parseFormat(event.formatText(), event.system), fault: "" };
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return { format: undefined, fault: error.message };
  }
}

/** Compiling a print format costs more than reading it: only where its result is shown. */
function reasonOf(format: EventFormat, { isVerbose, isJson, isUnrendered }: ListOptions): string {
  return isVerbose || isJson || isUnrendered ? unrenderedReason(format) : "";
}

function fieldNames({ fields }: EventFormat): string {
  return fields.map(({ name }) => name).join(" ");
}

function describe(
  { filter = "", alias = "" }: ListedEvent,
  name: string,
  format: EventFormat | undefined,
  reason: string,
): string {
  if (format === undefined) return `${name}\n  ${printableAscii(reason)}`;
  const lines = [`${name}  id ${format.id}`];
  if (alias !== "") lines.push(`  alias: ${printableAscii(alias)}`);
  if (filter !== "") lines.push(`  filter: ${printableAscii(filter)}`);
  if (format.fields.length > 0) lines.push(...fieldTable(format.fields));
  lines.push(
    `  common: ${format.commonFields.map((field) => printableAscii(field.name)).join(" ")}`,
  );
  lines.push(`  print fmt: ${printableAscii(format.printFormat)}`);
  if (reason !== "") lines.push(`  printed as fields: ${printableAscii(reason)}`);
  return lines.join("\n");
}

function fieldTable(fields: readonly FormatField[]): string[] {
  const types = fields.map(({ type }) => printableAscii(type));
  const width = Math.max("type".length, ...types.map(({ length }) => length));
  const row = (offset: string, size: string, signed: string, type: string, name: string) => {
    const place = `${offset.padStart(6)}  ${size.padStart(4)}  ${signed.padEnd(6)}`;
    return `  ${place}  ${type.padEnd(width)}  ${name}`;
  };
  return [
    row("offset", "size", "signed", "type", "name"),
    ...fields.map(({ offsetBytes, sizeBytes, isSigned, name }, i) =>
      row(
        String(offsetBytes),
        String(sizeBytes),
        isSigned ? "yes" : "no",
        types[i]!,
        printableAscii(name),
      ),
    ),
  ];
}

function toJson(
  { system, name, filter = "", alias = "" }: ListedEvent,
  format: EventFormat | undefined,
  reason: string,
): string {
  const members = [`"event":${jsonString(`${system}:${name}`)}`];
  if (alias !== "") members.push(`"alias":${jsonString(alias)}`);
  if (filter !== "") members.push(`"filter":${jsonString(filter)}`);
  if (format !== undefined) {
    const all = [...format.commonFields, ...format.fields].map(fieldJson);
    members.push(`"id":${format.id}`, `"fields":[${all.join(",")}]`);
    members.push(`"print_fmt":${jsonString(format.printFormat)}`);
  }
  members.push(`"rendered":${reason === ""}`);
  if (reason !== "") members.push(`"reason":${jsonString(reason)}`);
  return `{${members.join(",")}}`;
}

function fieldJson({ name, type, offsetBytes, sizeBytes, isSigned, isCommon }: FormatField) {
  return (
    `{"name":${jsonString(name)},"type":${jsonString(type)},"offset":${offsetBytes},` +
    `"size":${sizeBytes},"signed":${isSigned},"common":${isCommon}}`
  );
}
