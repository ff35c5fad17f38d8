// Tracefs: where the kernel describes its tracepoints. A thin shell over files.
//
//   const tracefs = Tracefs.open();                  // TracefsError with a hint when not mounted
//   tracefs.format("irq", "irq_handler_entry")       // EventFormat
//   tracefs.find("sched:sched_wak*")                 // [{ system: "sched", name: ... }, ...]
//
// Names given by users are checked before they become paths.

import { readdirSync, readFileSync, statSync } from "node:fs";
import { globMatcher } from "../text/glob.ts";
import { SIMILARITY_ALIKE, similarity } from "../text/similar.ts";
import { type EventFormat, FORMAT_BYTES_MAX, FormatError, parseFormat } from "./format.ts";

/** Where tracefs is mounted, in the order that we look. */
export const TRACEFS_MOUNTS: readonly string[] = [
  "/sys/kernel/tracing",
  "/sys/kernel/debug/tracing",
];
/** Events that one wildcard may select; a 6.18 kernel has 2,300 in all. */
export const EVENT_MATCHES_MAX = 16384;

/** Tracefs or an event in it cannot be used; `hint` says how to mend it (empty when unknown). */
export class TracefsError extends Error {
  override readonly name: string = "TracefsError";
  readonly hint: string;
  constructor(message: string, hint = "", options?: ErrorOptions) {
    super(message, options);
    this.hint = hint;
  }
}

/** No such event; `similar` lists events that the user may have meant. */
export class UnknownEventError extends TracefsError {
  override readonly name = "UnknownEventError";
  readonly similar: readonly string[];
  constructor(event: string, similar: readonly string[]) {
    super(
      `Cannot find event "${event}": this kernel has no such tracepoint`,
      similar.length > 0
        ? `did you mean ${similar.join(", ")}?`
        : "the command list shows the events there are",
    );
    this.similar = similar;
  }
}

/** An event by name. */
export interface EventName {
  readonly system: string;
  readonly name: string;
}

const PATH_NAME = /^[A-Za-z0-9_][A-Za-z0-9_.:+@-]*$/;
const SIMILAR_MAX = 5;

/** The mounted tracefs of this machine. */
export class Tracefs {
  readonly root: string;

  /** Use open(): this one checks nothing. */
  constructor(root: string) {
    this.root = root;
  }

  /** Finds the mount (or takes `root`, for tests). Throws TracefsError with a hint. */
  static open(root?: string): Tracefs {
    const places = root === undefined ? TRACEFS_MOUNTS : [root];
    let refused: Error | undefined;
    for (const place of places) {
      try {
        if (statSync(`${place}/events`).isDirectory()) return new Tracefs(place);
      } catch (error) {
        if (isErrno(error, "EACCES") || isErrno(error, "EPERM")) refused = error as Error;
        else if (!isErrno(error, "ENOENT") && !isErrno(error, "ENOTDIR")) throw error;
      }
    }
    if (refused !== undefined) {
      throw new TracefsError(
        "Cannot read tracefs: permission denied, wants root or CAP_DAC_READ_SEARCH",
        "run as root",
        { cause: refused },
      );
    }
    throw new TracefsError(
      `Cannot find tracefs: nothing is mounted at ${places.join(" or ")}`,
      "mount -t tracefs nodev /sys/kernel/tracing",
    );
  }

  /** Names of the event systems, sorted. */
  systems(): string[] {
    return this.#directories("events");
  }

  /** Names of the events of a system, sorted; empty when there is no such system. */
  eventsOf(system: string): string[] {
    if (!PATH_NAME.test(system)) return [];
    return this.#directories(`events/${system}`);
  }

  has(system: string, name: string): boolean {
    if (!PATH_NAME.test(system) || !PATH_NAME.test(name)) return false;
    try {
      return statSync(`${this.root}/events/${system}/${name}/format`).isFile();
    } catch (error) {
      if (isErrno(error, "ENOENT") || isErrno(error, "ENOTDIR")) return false;
      throw this.#wrap(error, `event "${system}:${name}"`);
    }
  }

  /**
   * The events that `SYSTEM:NAME` selects, with `*`, `?` and `[...]` in either part; a name without
   * a colon is looked up in every system. Sorted. Throws UnknownEventError when nothing matches.
   */
  find(pattern: string): EventName[] {
    const colon = pattern.indexOf(":");
    const systemPattern = colon < 0 ? "*" : pattern.slice(0, colon);
    const namePattern = colon < 0 ? pattern : pattern.slice(colon + 1);
    if (isPlain(systemPattern) && isPlain(namePattern)) {
      if (!this.has(systemPattern, namePattern)) this.#unknown(pattern, namePattern);
      return [{ system: systemPattern, name: namePattern }];
    }
    const matchSystem = globMatcher(systemPattern);
    const matchName = globMatcher(namePattern);
    const found: EventName[] = [];
    for (const system of this.systems()) {
      // The "ftrace" system describes the function tracers' own records; perf cannot open those.
      if (!matchSystem(system) || (system === "ftrace" && systemPattern !== "ftrace")) continue;
      for (const name of this.eventsOf(system)) {
        if (!matchName(name)) continue;
        if (found.length >= EVENT_MATCHES_MAX) {
          throw new TracefsError(
            `Cannot select "${pattern}": more than ${EVENT_MATCHES_MAX} events match`,
          );
        }
        found.push({ system, name });
      }
    }
    if (found.length === 0) this.#unknown(pattern, namePattern);
    return found;
  }

  /** The raw format text. Throws UnknownEventError, TracefsError. */
  formatText(system: string, name: string): string {
    const text = this.#readEvent(system, name, "format");
    if (text.length > FORMAT_BYTES_MAX) throw new FormatError("text is too long");
    return text;
  }

  /** The parsed format. Throws UnknownEventError, TracefsError, FormatError. */
  format(system: string, name: string): EventFormat {
    return parseFormat(this.formatText(system, name), system);
  }

  /** The number that perf_event_attr.config wants. Throws UnknownEventError, TracefsError. */
  eventId(system: string, name: string): number {
    const text = this.#readEvent(system, name, "id").trim();
    if (!/^\d{1,9}$/.test(text)) {
      throw new TracefsError(`Cannot read the id of "${system}:${name}": it says "${text}"`);
    }
    return Number(text);
  }

  /** The text of printk_formats, for KernelStrings; empty when there is none. */
  printkFormats(): string {
    try {
      return readFileSync(`${this.root}/printk_formats`, "latin1");
    } catch (error) {
      if (isErrno(error, "ENOENT")) return "";
      throw this.#wrap(error, "printk_formats");
    }
  }

  #readEvent(system: string, name: string, file: string): string {
    const event = `${system}:${name}`;
    if (!PATH_NAME.test(system) || !PATH_NAME.test(name)) this.#unknown(event, name);
    try {
      return readFileSync(`${this.root}/events/${system}/${name}/${file}`, "latin1");
    } catch (error) {
      if (isErrno(error, "ENOENT")) this.#unknown(event, name);
      throw this.#wrap(error, `event "${event}"`);
    }
  }

  #directories(path: string): string[] {
    try {
      return readdirSync(`${this.root}/${path}`, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map((entry) => entry.name)
        .sort();
    } catch (error) {
      if (isErrno(error, "ENOENT")) return [];
      throw this.#wrap(error, path);
    }
  }

  #wrap(error: unknown, what: string): TracefsError {
    const isRefused = isErrno(error, "EACCES") || isErrno(error, "EPERM");
    return new TracefsError(
      `Cannot read ${what} in tracefs: ${error instanceof Error ? error.message : String(error)}`,
      isRefused ? "run as root" : "",
      { cause: error },
    );
  }

  #unknown(event: string, name: string): never {
    throw new UnknownEventError(event, this.#similar(name));
  }

  /** The same name in another system first, then names that contain it or lie within two typos. */
  #similar(name: string): string[] {
    const plain = name.replace(/[*?]/g, "").slice(0, 64);
    if (plain.length < 3) return [];
    const ranked: { rank: number; event: string }[] = [];
    for (const system of this.systems()) {
      for (const candidate of this.eventsOf(system)) {
        const rank = similarity(plain, candidate);
        if (rank <= SIMILARITY_ALIKE) ranked.push({ rank, event: `${system}:${candidate}` });
      }
    }
    ranked.sort((a, b) => a.rank - b.rank || (a.event < b.event ? -1 : 1));
    return ranked.slice(0, SIMILAR_MAX).map((entry) => entry.event);
  }
}

function isPlain(pattern: string): boolean {
  return !/[*?[]/.test(pattern);
}

function isErrno(error: unknown, code: string): boolean {
  return error instanceof Error && (error as NodeJS.ErrnoException).code === code;
}
