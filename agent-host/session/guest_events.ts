/**
 * Which events of a guest's stream the user's `-e ...pull=...` arguments mean. Several arguments
 * may name one event only when the guest pushes it as often: a record belongs to one argument.
 *
 * What a guest says of its events is checked here: what cannot be used is a SourceError.
 */

import { callChainOf } from "../../shared/event/call_chain.ts";
import { USER_FILTER_CHARS_MAX } from "../../shared/event/filter_error.ts";
import { globTraps } from "../../shared/event/glob_trap.ts";
import { parseCpuList } from "../../shared/event/machine.ts";
import type { EventSpec } from "../../shared/event/spec.ts";
import { ExprError } from "../../shared/expr/error.ts";
import { checkFilter, type ProgramOptions } from "../../shared/expr/program.ts";
import { PERF_SAMPLE_CALLCHAIN, PERF_SAMPLE_IDENTIFIER } from "../../shared/perf/sample_type.ts";
import { caretLines } from "../../shared/text/caret.ts";
import { globMatcher } from "../../shared/text/glob.ts";
import { printableAscii } from "../../shared/text/printable_ascii.ts";
import { FormatError, parseFormat } from "../../shared/tracefs/format.ts";
import { printsSymbols } from "../../shared/tracefs/symbols.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
import type { Event } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { sampleLayout } from "../analyze/sample_layout.ts";
import { SourceError } from "../link/source.ts";
import type { MachineRings } from "./machine_rings.ts";
import type { Session } from "./session.ts";
import type { SessionEvent } from "./session_event.ts";

/** Of a guest kernel's reason against a filter; Linux's own have some 40. */
const REASON_CHARS_MAX = 200;

/** A -e argument's event that is pulled from a guest. */
export interface WantedEvent {
  readonly stage: number;
  readonly spec: EventSpec;
}

export interface MatchedEvent {
  readonly wanted: WantedEvent;
  readonly event: Event;
}

/** Names of a stream's events, for messages: guest text, so only plain characters are shown. */
function listNames(described: readonly Event[]): string {
  const SHOWN_MAX = 8;
  const names = described.slice(0, SHOWN_MAX).map(({ system, name }) => `${system}:${name}`);
  const more = described.length > SHOWN_MAX ? ` and ${described.length - SHOWN_MAX} more` : "";
  return `${printableAscii(names.join(", "))}${more}`;
}

/** Pairs by the number that each event has in our request. The guest may say anything: checked. */
function matchRequested(
  wanted: readonly WantedEvent[],
  described: readonly Event[],
  sourceName: string,
): MatchedEvent[] {
  return wanted.flatMap((want, index) => {
    const { system, name, probe } = want.spec;
    const isSystem = globMatcher(probe === undefined ? system : "*");
    const isName = globMatcher(probe === undefined ? name : "*");
    const answers = described.filter(({ request }) => request === index + 1);
    if (answers.length === 0 || !answers.every((e) => isSystem(e.system) && isName(e.name))) {
      throw new SourceError(
        `Cannot pull "${system}:${name}" from ${sourceName}: asked for it, it opened ` +
          `${answers.length === 0 ? "nothing" : listNames(answers)}`,
      );
    }
    return answers.map((event) => ({ wanted: want, event }));
  });
}

/** Pairs arguments with events, in the order of the arguments. Throws SourceError. */
export function matchGuestEvents(
  wanted: readonly WantedEvent[],
  described: readonly Event[],
  sourceName: string,
): MatchedEvent[] {
  if (described.length === 0) {
    throw new SourceError(`Cannot use ${sourceName}: it describes no event`);
  }
  if (described.every(({ request }) => request > 0))
    return matchRequested(wanted, described, sourceName);
  const taken = new Set<Event>();
  const matched: MatchedEvent[] = [];
  for (const want of wanted) {
    const { system, name, text } = want.spec;
    const [isSystem, isName] = [globMatcher(system), globMatcher(name)];
    const fitting = described.filter((event) => isSystem(event.system) && isName(event.name));
    if (fitting.length === 0) {
      throw new SourceError(
        `Cannot pull "${system}:${name}" from ${sourceName}: it sends ${listNames(described)}`,
        "name one of these, or push the event in the guest",
      );
    }
    const isWild = /[*?[]/.test(system + name);
    const free = fitting.filter((event) => !taken.has(event));
    if (free.length === 0) {
      throw new SourceError(
        `Cannot pull "${text}" from ${sourceName}: another -e has taken this event`,
        "push it in the guest once for each -e",
      );
    }
    for (const event of isWild ? free : free.slice(0, 1)) {
      taken.add(event);
      matched.push({ wanted: want, event });
    }
  }
  return matched;
}

/** What must not change when a guest's stream begins anew: its records are decoded by it. */
function signatureOf(event: Event): string {
  const { system, name, commonType, format, sampleType, sampleIdAll } = event;
  const text = new TextDecoder().decode(format);
  // Who applies which filter belongs to it: programs are compiled once.
  const filters = JSON.stringify([event.filter, event.refusedFilter]);
  return `${system}:${name} ${commonType} ${sampleType} ${sampleIdAll} ${filters} ${text}`;
}

/** cpus= of a pulled event as a filter on the guest's CPUs: its rings are the guest's affair. */
function cpuFilter(cpus: string | undefined): string[] {
  if (cpus === undefined) return [];
  return [
    parseCpuList(cpus)
      .map((cpu) => `_cpu==${cpu}`)
      .join("||"),
  ];
}

/**
 * The filters that the host has to run: the user's, unless the guest's kernel applies the same one,
 * and the one that the guest's kernel refused.
 */
function filtersOf(spec: EventSpec, { filter, refusedFilter }: Event): string[] {
  const own = spec.filter === filter ? "" : spec.filter;
  const filters = new Set([refusedFilter, own, ...cpuFilter(spec.attributes.cpus)]);
  filters.delete("");
  return [...filters];
}

/** The events of one guest in the session. */
export class GuestEvents {
  readonly list: SessionEvent[] = [];
  /** Whether a key or a filter of these events asks for names of kernel addresses. */
  readonly evaluatesSymbols: boolean;
  readonly #session: Session;
  readonly #machine: number;
  readonly #wanted: readonly WantedEvent[];
  readonly #sourceName: string;
  readonly #onStatus: (text: string) => void;
  #signatures: readonly string[] | undefined;
  #hasChains = false;
  #hasTasks = false;

  constructor(
    session: Session,
    machine: number,
    wanted: readonly WantedEvent[],
    sourceName: string,
    onStatus: (text: string) => void,
  ) {
    this.#onStatus = onStatus;
    this.#session = session;
    this.#machine = machine;
    this.#wanted = wanted;
    this.evaluatesSymbols = wanted.some(({ spec }) => /\bksymbol\s*\(/.test(spec.text));
    this.#sourceName = sourceName;
  }

  /**
   * A stream begins: adds its events to the session, or finds that they are those of the stream
   * before, and tells the decoder of `rings` about them. Events that nobody asked for are skipped
   * by it. Throws SourceError, and, as long as there are no results, ExprError for a key that does
   * not fit the guest's event: then it is what the user typed.
   */
  begin(described: readonly Event[], rings: MachineRings, evaluation: ProgramOptions): void {
    const pairs = matchGuestEvents(this.#wanted, described, this.#sourceName);
    for (const pair of pairs) this.#checkChain(pair);
    try {
      this.#checkSame(pairs.map(({ event }) => signatureOf(event)));
      this.#setLayout(described, rings);
      pairs.forEach(({ wanted, event }, i) => {
        const known = this.list[i] ?? this.#add(wanted, event, evaluation);
        this.#setLookup(event, known.index, rings);
      });
    } catch (error) {
      throw this.#refusalBy(error);
    }
  }

  /** Why the guest's events cannot be used, where only what it said can be at fault. */
  #refusalBy(error: unknown): unknown {
    const what = `Cannot use ${this.#sourceName}`;
    if (error instanceof FormatError || error instanceof RangeError) {
      return new SourceError(`${what}: ${error.message}`);
    }
    // The key does for others: their results are not to be lost by a format that lacks a field.
    if (error instanceof ExprError && this.#session.sink !== undefined) {
      const { message, hint, source, position } = error;
      return new SourceError(
        `${what}: ${message}`,
        hint === "" ? undefined : hint,
        source,
        position,
      );
    }
    return error;
  }

  /** The -e whose events take part, and not only add to --detail. */
  get tracedStages(): number[] {
    const traced = this.#wanted.filter(({ spec }) => spec.attributes.untraced !== true);
    return traced.map(({ stage }) => stage);
  }

  /**
   * Which names these events ask for: those of addresses of the guest's kernel, and those of call
   * chains of user space, which need to say whose process it is.
   */
  symbolNeeds(isPrinted: boolean): { readonly kernel: boolean; readonly users: boolean } {
    const hasAddresses = (): boolean =>
      this.#hasChains || this.list.some(({ format }) => printsSymbols(format.printFormat));
    return {
      kernel: this.evaluatesSymbols || (isPrinted && hasAddresses()),
      users: isPrinted && this.#hasChains && this.#hasTasks,
    };
  }

  /** A guest that was started with its events chose whether they have call chains. */
  #checkChain({ wanted: { spec }, event: { sampleType, system, name } }: MatchedEvent): void {
    if (callChainOf(spec.attributes, false) === undefined) return;
    if ((Number(sampleType) & PERF_SAMPLE_CALLCHAIN) !== 0) return;
    throw new SourceError(
      `Cannot show call chains of "${printableAscii(`${system}:${name}`)}" from ` +
        `${this.#sourceName}: it samples none`,
      "say stack where the event is pushed, or start the guest as agent-guest serve",
    );
  }

  #checkSame(signatures: readonly string[]): void {
    const before = this.#signatures;
    this.#signatures = signatures;
    if (before === undefined || before.join("\0") === signatures.join("\0")) return;
    throw new SourceError(
      `Cannot go on with ${this.#sourceName}: it sends other events than before`,
      "start agent-host again",
    );
  }

  #setLayout(described: readonly Event[], rings: MachineRings): void {
    const layouts = new Set(described.map((event) => `${event.sampleType} ${event.sampleIdAll}`));
    if (layouts.size > 1) {
      throw new SourceError(`Cannot use ${this.#sourceName}: its events differ in layout`);
    }
    const { sampleType, sampleIdAll } = described[0]!;
    const layout = sampleLayout(Number(sampleType), sampleIdAll);
    this.#hasChains = layout.hasChain;
    this.#hasTasks = layout.tasksOffset >= 0;
    rings.setLayout(layout);
    rings.lookup.clear();
  }

  #setLookup({ sampleType, commonType, ids }: Event, index: number, rings: MachineRings): void {
    const hasIds = (Number(sampleType) & PERF_SAMPLE_IDENTIFIER) !== 0;
    if (!hasIds) rings.lookup.addType(commonType, index);
    for (const id of ids) rings.lookup.addIdentifier(lowHalf(id), highHalf(id), index);
  }

  #add({ stage, spec }: WantedEvent, event: Event, evaluation: ProgramOptions): SessionEvent {
    const formatText = new TextDecoder().decode(event.format);
    this.#checkRefused(event, formatText);
    // A guest's text in our message: what is not plain does not come with it.
    for (const hint of globTraps([{ ...event, formatText }])) this.#onStatus(hint);
    const added = this.#session.events.add({
      stage,
      machine: this.#machine,
      spec,
      system: event.system,
      name: event.name,
      alias: spec.attributes.alias ?? event.alias,
      formatText,
      userFilters: filtersOf(spec, event),
      evaluation,
    });
    this.list.push(added);
    return added;
  }

  /** A filter that the guest's kernel refused is the guest's text: what is wrong is its fault. */
  #checkRefused(event: Event, formatText: string): void {
    const { system, name, refusedFilter, refusedReason, refusedPosition } = event;
    if (refusedFilter === "") return;
    const what = printableAscii(`${system}:${name}`);
    if (refusedFilter.length > USER_FILTER_CHARS_MAX) {
      throw new SourceError(
        `Cannot use ${this.#sourceName}: the filter of ${what} that its kernel refused has ` +
          `${refusedFilter.length} characters, wants at most ${USER_FILTER_CHARS_MAX}`,
      );
    }
    try {
      checkFilter(refusedFilter, parseFormat(formatText, system));
    } catch (error) {
      if (!(error instanceof ExprError)) throw error;
      throw new SourceError(
        `Cannot use ${this.#sourceName}: the filter of ${what} that its kernel refused ` +
          `is no C expression either: ${error.detail}`,
      );
    }
    // What a guest says is the kernel's reason is its own word; it goes on one line all the same.
    const why = refusedReason === undefined ? "" : ` (${refusedReason.slice(0, REASON_CHARS_MAX)})`;
    const place = refusedPosition ?? refusedFilter.length;
    this.#onStatus(
      `HINT: the guest's kernel refuses the filter of ${what}${printableAscii(why)}: ` +
        `agent-host runs it\n${caretLines(refusedFilter, Math.min(place, refusedFilter.length))}`,
    );
  }
}
