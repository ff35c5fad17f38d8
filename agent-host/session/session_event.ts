/**
 * The session's events: what each `-e` selected, on which machine, with the format of that machine
 * and the programs that run on its records (key, filter in user space).
 */

import type { EventSpec } from "../../shared/event/spec.ts";
import {
  CONTEXT_RAW_BYTES,
  CONTEXT_TASKS,
  CONTEXT_TIMES,
} from "../../shared/expr/batch_context.ts";
import {
  type BoundProgram,
  compileFilterProgram,
  compileKeyProgram,
  compileRoleProgram,
  type ExprProgram,
  type ProgramOptions,
} from "../../shared/expr/program.ts";
import type { ProgramKind } from "../../shared/expr/wasm_program.ts";
import { type EventFormat, parseFormat } from "../../shared/tracefs/format.ts";
import type { Chunk } from "../analyze/chunk.ts";
import { EVENTS_MAX } from "../analyze/event_lookup.ts";
import { KeyPrinter } from "../key_printer.ts";
import type { ChunkProgram } from "./ring_intake.ts";

export interface SessionEvent {
  /** Index in the session's event table: what the event column of a chunk holds. */
  readonly index: number;
  /** Which -e argument selected it: the stage of multi-trace. */
  readonly stage: number;
  readonly machine: number;
  readonly spec: EventSpec;
  readonly system: string;
  readonly name: string;
  /** What tables and lines call it: the alias, or the name. */
  readonly label: string;
  readonly format: EventFormat;
  /** printkey=: how its keys are shown. */
  readonly keyPrinter: KeyPrinter | undefined;
  /** Its key is the CPU, and nothing else. */
  readonly isByCpu: boolean;
}

/** A compiled expression bound to the events of one index. */
class EventProgram implements ChunkProgram {
  readonly #event: number;
  readonly #program: BoundProgram;
  readonly #kind: ProgramKind;

  constructor(event: number, program: BoundProgram, kind: ProgramKind) {
    this.#event = event;
    this.#program = program;
    this.#kind = kind;
  }

  get event(): number {
    return this.#event;
  }

  /** Records that it did not let pass. */
  get rejected(): number {
    return this.#program.rejectedCount;
  }

  /** Records that were shorter than what the expression reads. */
  get skipped(): number {
    return this.#program.skippedCount;
  }

  /** Divisions by zero and their kin, and reads outside a record. */
  get undefined(): number {
    return this.#program.undefinedCount + this.#program.outsideCount;
  }

  run(chunk: Chunk, from: number, to: number): void {
    const { context } = chunk;
    const tasks = context[CONTEXT_TASKS]!;
    // The program counts records from 0: every column is shown to it from `from` on.
    context[CONTEXT_RAW_BYTES] = chunk.rawBytes.byteOffset + 4 * from;
    context[CONTEXT_TIMES] = chunk.timeCycles.byteOffset + 8 * from;
    if (tasks !== 0) context[CONTEXT_TASKS] = tasks + 8 * from;
    this.#program.run(
      chunk.rawColumnOffset + 4 * from,
      chunk.eventColumnOffset + 2 * from,
      this.#event,
      to - from,
      this.#kind === "role" ? chunk.roleColumnOffset + from : chunk.keyColumnOffset + 8 * from,
      chunk.contextOffset,
    );
    context[CONTEXT_TASKS] = tasks;
  }
}

export interface NewEvent {
  readonly stage: number;
  readonly machine: number;
  readonly spec: EventSpec;
  readonly system: string;
  readonly name: string;
  readonly alias: string;
  readonly formatText: string;
  /** Filters that nobody has applied yet: run here. */
  readonly userFilters: readonly string[];
  /** What its machine knows for expressions. */
  readonly evaluation: ProgramOptions;
}

/** Records of one event that did not pass a filter which runs here. */
export interface FilteredEvents {
  readonly event: SessionEvent;
  readonly rejected: number;
}

export class SessionEvents {
  readonly list: SessionEvent[] = [];
  /** By machine: what runs on its records, filters first. */
  readonly #programs = new Map<number, ChunkProgram[]>();
  readonly #bound: EventProgram[] = [];
  readonly #memory: WebAssembly.Memory;
  readonly #defaultKey: string | undefined;

  constructor(memory: WebAssembly.Memory, defaultKey: string | undefined) {
    this.#memory = memory;
    this.#defaultKey = defaultKey;
  }

  /** Adds an event. Throws FormatError, ExprError, and RangeError when there are too many. */
  add(event: NewEvent): SessionEvent {
    const { stage, machine, spec, system, name, alias } = event;
    const index = this.list.length;
    if (index >= EVENTS_MAX) {
      throw new RangeError(`Cannot add an event: there are ${EVENTS_MAX}, wanted fewer`);
    }
    const format = parseFormat(event.formatText, system);
    const label = alias === "" ? name : alias;
    const { evaluation, userFilters } = event;
    const { key = this.#defaultKey, role, printkey } = spec.attributes;
    const keyPrinter =
      printkey === undefined ? undefined : new KeyPrinter(printkey, evaluation.functions);
    const isByCpu = key?.trim() === "_cpu";
    const added = { index, stage, machine, spec, system, name, label, format, keyPrinter, isByCpu };
    const bind = (program: ExprProgram, kind: ProgramKind): void => {
      const bound = new EventProgram(index, program.bind(this.#memory), kind);
      this.#bound.push(bound);
      this.programsOf(machine).push(bound);
    };
    for (const filter of userFilters) {
      bind(compileFilterProgram(filter, format, evaluation), "filter");
    }
    if (key !== undefined) bind(compileKeyProgram(key, format, evaluation), "key");
    if (role !== undefined) bind(compileRoleProgram(role, format, evaluation), "role");
    this.list.push(added);
    return added;
  }

  /** Records that were shorter than what a key or filter reads. */
  get skipped(): number {
    return this.#bound.reduce((sum, program) => sum + program.skipped, 0);
  }

  /** Operations in keys, filters and roles that have no value in C. */
  get undefinedOperations(): number {
    return this.#bound.reduce((sum, program) => sum + program.undefined, 0);
  }

  /** What the filters that run here kept out, by event. */
  get filtered(): FilteredEvents[] {
    return this.list.flatMap((event) => {
      const own = this.#bound.filter((program) => program.event === event.index);
      const rejected = own.reduce((sum, program) => sum + program.rejected, 0);
      return rejected > 0 ? [{ event, rejected }] : [];
    });
  }

  /** The programs of a machine; the array grows with its events. */
  programsOf(machine: number): ChunkProgram[] {
    let programs = this.#programs.get(machine);
    if (programs === undefined) {
      programs = [];
      this.#programs.set(machine, programs);
    }
    return programs;
  }
}
