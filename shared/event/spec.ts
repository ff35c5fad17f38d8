/**
 * The event specification of `-e`, as perf-prof writes it:
 *
 *   sys:name[/filter[/attr[/attr ...]]][,sys:name...]
 *   irq:irq_handler_entry/name~"virtio0-input*"/push="/dev/virtio-ports/org.qemu.perf0"/
 *   uprobe:virtio_notify@"/usr/bin/qemu-system-x86_64" vdev=%di:u64/common_pid==7/key=vdev/
 *
 * Quotes and parentheses protect `/` and `,`. A value that is a path (push=/run/x,
 * pull=unix:/run/x) keeps its slashes up to the next `/attr` or the closing slash, quoted or not.
 */
import { similarNames } from "../text/similar.ts";
import { parseCpuList } from "./machine.ts";

/** Longest accepted `-e` argument: kernel filters alone may fill a page. */
export const SPEC_BYTES_MAX = 1024 * 1024;
/** Most events in one `-e`. */
export const SPEC_EVENTS_MAX = 4096;

/** The text of an event cannot be parsed; `position` is where, for a caret. */
export class EventSyntaxError extends SyntaxError {
  override readonly name = "EventSyntaxError";
  readonly text: string;
  readonly position: number;
  /** What stands where SYSTEM:NAME is wanted; undefined for other mistakes. */
  readonly word: string | undefined;

  constructor(detail: string, text: string, position: number, word?: string) {
    super(`Cannot parse event: ${detail}`);
    this.text = text;
    this.position = position;
    this.word = word;
  }
}

export type ProbeKind = "kprobe" | "kretprobe" | "uprobe" | "uretprobe";

/** A dynamic probe, to be created before its event can be opened. */
export interface ProbeSpec {
  readonly kind: ProbeKind;
  /** Function, with an optional +offset: "do_sys_open+4". */
  readonly target: string;
  /** The executable or library of a uprobe. */
  readonly file: string | undefined;
  /** Fetch arguments as tracefs takes them: `vdev=%di:u64 size=%si`. */
  readonly fetchArguments: string;
}

/** One event as the user asked for it. */
export interface EventSpec {
  /** As written, for messages. */
  readonly text: string;
  readonly system: string;
  /** May hold wildcards. */
  readonly name: string;
  readonly probe: ProbeSpec | undefined;
  /** Empty when there is none. */
  readonly filter: string;
  readonly attributes: EventAttributes;
}

export interface EventAttributes {
  readonly push?: string;
  readonly pull?: string;
  readonly key?: string;
  readonly alias?: string;
  readonly cpus?: string;
  readonly role?: string;
  readonly printkey?: string;
  readonly maxStack?: number;
  /** Call chain: of kernel and user, or of one of them. */
  readonly stack?: true | "kernel" | "user";
  readonly untraced?: true;
  readonly trigger?: true;
}

const TEXT_ATTRIBUTES = ["push", "pull", "key", "alias", "cpus", "role", "printkey"] as const;
const FLAG_ATTRIBUTES = ["stack", "untraced", "trigger"] as const;
/** What may stand behind a filter. */
export const ATTRIBUTE_NAMES: readonly string[] = [
  ...TEXT_ATTRIBUTES,
  ...FLAG_ATTRIBUTES,
  "max-stack",
];
const MAX_STACK_MAX = 127;
/** Longest piece of the text that a message quotes. */
const QUOTED_CHARS_MAX = 60;
// Sticky: they match where lastIndex says, so that no copy of a long text is made at each place.
const PROBE = /\s*(?:kprobe|kretprobe|uprobe|uretprobe):/y;
const ATTRIBUTE = /([A-Za-z_-]+)(=?)/y;
const CPU_LIST = /\d+(?:-\d+)?(?:,\d+(?:-\d+)?)*/y;
const PATH_VALUE = /(?:unix:|file:)?\.{0,2}\/(?=[^/,])/y;
const NEXT_ATTRIBUTE = new RegExp(
  `/(?:${TEXT_ATTRIBUTES.join("|")}|max-stack|stack)=|/(?:${FLAG_ATTRIBUTES.join("|")})(?:/|,|$)`,
  "y",
);

/** Whether an expression in the text asks for process ids, which samples lack unasked. */
export function namesProcessId(text: string): boolean {
  return /\b_pid\b/.test(text);
}

function matchAt(pattern: RegExp, text: string, at: number): RegExpExecArray | null {
  pattern.lastIndex = at;
  return pattern.exec(text);
}

function quote(text: string): string {
  const isShort = text.length <= QUOTED_CHARS_MAX;
  return isShort ? `"${text}"` : `"${text.slice(0, QUOTED_CHARS_MAX)}..."`;
}

/** Parses one `-e` argument. Throws EventSyntaxError. */
export function parseEventSpecs(text: string): EventSpec[] {
  if (text.length > SPEC_BYTES_MAX) {
    throw new EventSyntaxError(`${text.length} characters, wants at most ${SPEC_BYTES_MAX}`, "", 0);
  }
  const specs: EventSpec[] = [];
  let at = 0;
  for (;;) {
    if (specs.length === SPEC_EVENTS_MAX) {
      throw new EventSyntaxError(`over ${SPEC_EVENTS_MAX} events in one -e`, text, at);
    }
    const parser = new SpecParser(text, at);
    specs.push(parser.parse());
    at = parser.at;
    if (at === text.length) return specs;
    at++;
  }
}

class SpecParser {
  readonly #text: string;
  readonly #start: number;
  at: number;

  constructor(text: string, at: number) {
    this.#text = text;
    this.#start = at;
    this.at = at;
  }

  parse(): EventSpec {
    const isProbe = matchAt(PROBE, this.#text, this.at) !== null;
    const head = this.#scan("/,");
    const { system, name, probe } = isProbe
      ? this.#parseProbe(head)
      : { ...this.#parseName(head), probe: undefined };
    let filter = "";
    const attributes: Record<string, string | number | true> = {};
    if (this.#text[this.at] === "/") {
      this.at++;
      filter = this.#scan("/").trim();
      this.#expectSlash("filter");
      while (this.at < this.#text.length && this.#text[this.at] !== ",") {
        this.#parseAttribute(attributes);
      }
    }
    const text = this.#text.slice(this.#start, this.at);
    return { text, system, name, probe, filter, attributes: attributes as EventAttributes };
  }

  /** Moves to the first of `stops` outside quotes and parentheses; gives the text before it. */
  #scan(stops: string): string {
    const from = this.at;
    const open: number[] = [];
    for (; this.at < this.#text.length; this.at++) {
      const char = this.#text[this.at]!;
      if (char === '"' || char === "'") this.#skipQuoted(char);
      else if (char === "(") open.push(this.at);
      else if (char === ")") {
        if (open.pop() === undefined) this.#fail('")" without "("', this.at);
      } else if (open.length === 0 && stops.includes(char)) break;
    }
    if (open.length > 0) this.#fail('"(" is never closed', open[open.length - 1]!);
    return this.#text.slice(from, this.at);
  }

  #skipQuoted(quote: string): void {
    const from = this.at;
    for (this.at++; this.at < this.#text.length; this.at++) {
      if (this.#text[this.at] === "\\") this.at++;
      else if (this.#text[this.at] === quote) return;
    }
    this.#fail(`${quote} is never closed`, from);
  }

  #expectSlash(after: string): void {
    if (this.#text[this.at] !== "/") this.#fail(`"/" is missing after the ${after}`, this.at);
    this.at++;
  }

  #parseName(head: string): { system: string; name: string } {
    const match = /^\s*([A-Za-z0-9_*?[\]-]+):([A-Za-z0-9_*?[\]:.-]+)\s*$/.exec(head);
    if (match === null) {
      const detail = `${quote(head)} is no event, wants SYSTEM:NAME`;
      throw new EventSyntaxError(detail, this.#text, this.#start, head.trim());
    }
    return { system: match[1]!, name: match[2]! };
  }

  #parseProbe(head: string): { system: string; name: string; probe: ProbeSpec } {
    const match =
      /^(\w+):([\w.$]+(?:\+(?:0x[0-9a-fA-F]+|\d+))?)(?:@(?:"([^"]+)"|([^\s"]+)))?(?:\s+(.*))?$/.exec(
        head.trim(),
      );
    const kind = head.slice(0, head.indexOf(":")).trim() as ProbeKind;
    const isUser = kind.startsWith("u");
    const wanted = isUser ? `${kind}:FUNC@"FILE" [ARG=%REG:TYPE ...]` : `${kind}:FUNC [ARG ...]`;
    if (match === null) this.#fail(`${quote(head)} is no probe, wants ${wanted}`, this.#start);
    const file = match[3] ?? match[4];
    if (isUser !== (file !== undefined)) {
      const fault = isUser ? "names no file" : "names a file";
      this.#fail(`${quote(head)} ${fault}, wants ${wanted}`, this.at);
    }
    const fetchArguments = (match[5] ?? "").trim().replace(/\s+/g, " ");
    const probe = { kind, target: match[2]!, file, fetchArguments };
    return { system: kind, name: match[2]!, probe };
  }

  #parseAttribute(into: Record<string, string | number | true>): void {
    const from = this.at;
    const match = matchAt(ATTRIBUTE, this.#text, this.at);
    const name = match?.[1] ?? "";
    if (!ATTRIBUTE_NAMES.includes(name)) {
      const shown = name === "" ? this.#text.slice(from, from + 20) : name;
      const [meant] = similarNames(name, ATTRIBUTE_NAMES, 1);
      const isCut = !/^[a-z-]+$/.test(shown);
      const hint =
        meant !== undefined
          ? ` (did you mean ${meant}?)`
          : isCut
            ? ' (a "/" of an expression wants parentheses around it)'
            : "";
      this.#fail(
        `unknown attribute ${quote(shown)}${hint}, knows ${ATTRIBUTE_NAMES.join(" ")}`,
        from,
      );
    }
    const hasValue = match?.[2] === "=";
    const isFlag = FLAG_ATTRIBUTES.includes(name as (typeof FLAG_ATTRIBUTES)[number]);
    if (isFlag === hasValue && name !== "stack") {
      this.#fail(`attribute "${name}" ${isFlag ? "takes no value" : "wants a value"}`, from);
    }
    const field = name === "max-stack" ? "maxStack" : name;
    if (into[field] !== undefined) this.#fail(`attribute "${name}" is given twice`, from);
    this.at += match![0].length;
    if (name === "stack" && hasValue) into[field] = this.#parseStackPart();
    else if (isFlag) into[field] = true;
    else if (field === "maxStack") into[field] = this.#parseMaxStack();
    else if (field === "cpus") into[field] = this.#parseCpus();
    else into[field] = this.#parseValue(name);
    if (this.#text[this.at] === "/") this.at++;
    else if (this.at < this.#text.length && this.#text[this.at] !== ",") {
      this.#fail(`"/" is missing after attribute "${name}"`, this.at);
    }
  }

  #parseMaxStack(): number {
    const from = this.at;
    const value = Number(this.#scan("/,"));
    if (!Number.isInteger(value) || value < 1 || value > MAX_STACK_MAX) {
      this.#fail(`max-stack wants 1 to ${MAX_STACK_MAX}`, from);
    }
    return value;
  }

  #parseStackPart(): "kernel" | "user" {
    const from = this.at;
    const part = this.#scan("/,").trim();
    if (part === "kernel" || part === "user") return part;
    return this.#fail(`stack=${quote(part)} is no part of a stack, wants kernel or user`, from);
  }

  /** A list of CPUs may hold commas: no event begins with a digit. */
  #parseCpus(): string {
    const from = this.at;
    const plain = matchAt(CPU_LIST, this.#text, from)?.[0];
    if (plain !== undefined) this.at += plain.length;
    const value = plain ?? this.#parseValue("cpus");
    try {
      parseCpuList(value);
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#fail(`attribute "cpus" wants CPUs as 0-3,8`, from);
    }
    return value;
  }

  #parseValue(name: string): string {
    const from = this.at;
    const isPlace = name === "push" || name === "pull";
    const isPath = isPlace && matchAt(PATH_VALUE, this.#text, from) !== null;
    const value = (isPath ? this.#scanPath() : this.#scan("/,")).trim();
    const quoted = /^"((?:[^"\\]|\\.)*)"$/.exec(value);
    const plain = quoted === null ? value : quoted[1]!.replace(/\\(.)/g, "$1");
    if (plain === "") this.#fail(`attribute "${name}" wants a value`, from);
    return plain;
  }

  /** An unquoted path: its slashes are part of it, but for those that close it or an attribute. */
  #scanPath(): string {
    const from = this.at;
    for (; this.at < this.#text.length; this.at++) {
      const char = this.#text[this.at];
      if (char === ",") break;
      if (char !== "/" || this.at === from) continue;
      const next = this.#text[this.at + 1];
      if (next === undefined || next === ",") break;
      if (matchAt(NEXT_ATTRIBUTE, this.#text, this.at) !== null) break;
    }
    return this.#text.slice(from, this.at);
  }

  #fail(detail: string, position: number): never {
    throw new EventSyntaxError(detail, this.#text, position);
  }
}
