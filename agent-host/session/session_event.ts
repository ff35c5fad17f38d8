/**
 * The session's events: what each `-e` selected, on which machine, with the format of that machine
 * and the programs that run on its records (key, filter in user space).
 */

import type { EventSpec } from "../../shared/event/spec.ts";
import { CONTEXT_RAW_BYTES, CONTEXT_TASKS } from "../../shared/expr/batch_context.ts";
import type { BoundProgram, ExprProgram } from "../../shared/expr/program.ts";
import { compileFilterProgram, compileKeyProgram } from "../../shared/expr/program.ts";
import { type EventFormat, parseFormat } from "../../shared/tracefs/format.ts";
import type { Chunk } from "../analyze/chunk.ts";
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
}

/** A compiled expression bound to the events of one index. */
class EventProgram implements ChunkProgram {
  readonly #event: number;
  readonly #program: BoundProgram;

  constructor(event: number, program: BoundProgram) {
    this.#event = event;
    this.#program = program;
  }

  /** Records that were shorter than what the expression reads. */
  get skipped(): number {
    return this.#program.skippedCount;
  }

  run(chunk: Chunk, from: number, to: number): void {
    const { context } = chunk;
    const tasks = context[CONTEXT_TASKS]!;
    // The program counts records from 0: every column is shown to it from `from` on.
    context[CONTEXT_RAW_BYTES] = chunk.rawBytes.byteOffset + 4 * from;
    if (tasks !== 0) context[CONTEXT_TASKS] = tasks + 8 * from;
    this.#program.run(
      chunk.rawColumnOffset + 4 * from,
      chunk.eventColumnOffset + 2 * from,
      this.#event,
      to - from,
      chunk.keyColumnOffset + 8 * from,
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
  /** A filter that nobody has applied yet: run here. Empty when there is none. */
  readonly userFilter: string;
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

  /** Adds an event. Throws FormatError, ExprError. */
  add(event: NewEvent): SessionEvent {
    const { stage, machine, spec, system, name, alias } = event;
    const index = this.list.length;
    const format = parseFormat(event.formatText, system);
    const label = alias === "" ? name : alias;
    const added = { index, stage, machine, spec, system, name, label, format };
    const bind = (program: ExprProgram): void => {
      const bound = new EventProgram(index, program.bind(this.#memory));
      this.#bound.push(bound);
      this.programsOf(machine).push(bound);
    };
    if (event.userFilter !== "") bind(compileFilterProgram(event.userFilter, format));
    const key = spec.attributes.key ?? this.#defaultKey;
    if (key !== undefined) bind(compileKeyProgram(key, format));
    this.list.push(added);
    return added;
  }

  /** Records that were shorter than what a key or filter reads. */
  get skipped(): number {
    return this.#bound.reduce((sum, program) => sum + program.skipped, 0);
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
