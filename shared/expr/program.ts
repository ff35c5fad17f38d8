// Batch programs: a key or a filter for all the records of a chunk in one call.
//
//   const program = compileKeyProgram("83-irq+32", format);   // once per event
//   const bound = program.bind(pool.memory);                  // once per memory
//   bound.run(rawOffsetPtr, eventPtr, whichEvent, count, keyPtr, contextPtr);   // once per chunk
//
// All pointers are byte offsets in the memory. For each i below `count` whose u16 event[i] is
// `whichEvent`, run() evaluates the expression on the record at u32 rawOffset[i] and
//   - a key program stores the i64 at keyPtr + 8 * i,
//   - a role program stores its low byte at keyPtr + i,
//   - a filter program sets event[i] to 0xffff when the value is 0, and counts it.
// A record shorter than the fields that the expression reads gets event[i] = 0xffff and counts in
// skippedCount: it is never read beyond its end.
//
// At contextPtr are the i32 words of batch_context.ts. Without a column of thread ids _pid and _tid
// are the record's common_pid.
//
// Integer expressions run as WebAssembly, those with text or function calls as closures; `backend`
// says which. Both have the same arithmetic (ir.ts).

import type { EventFormat } from "../tracefs/format.ts";
import type { ExprNode } from "./ast.ts";
import { assignedNodes } from "./ast_walk.ts";
import {
  CONTEXT_CPU,
  CONTEXT_RAW_BYTES,
  CONTEXT_TASKS,
  CONTEXT_TIMES,
  CONTEXT_VCPU,
  CONTEXT_VM,
  SKIPPED_EVENT,
} from "./batch_context.ts";
import { checkExpr } from "./check.ts";
import { ExprError } from "./error.ts";
import { EvalContext, type EvalFunctions, MissingFunctionError } from "./eval_context.ts";
import { compileInt } from "./evaluate.ts";
import type { CheckedExpr, IntExpr } from "./ir.ts";
import { usesContext } from "./ir_walk.ts";
import { parseExpr } from "./parser.ts";
import { formatScope } from "./scope.ts";
import { buildProgram, COUNTER_EXPORTS, type ProgramKind } from "./wasm_program.ts";

/** Where a thread's events belong: its vCPU (-1 for none) and the machine behind it. */
export interface VcpuPlace {
  readonly vcpu: number;
  readonly vm: number;
}

export interface ProgramOptions {
  /**
   * What _vcpu and _vm are for the record's thread, where that is not the same for all records of a
   * ring: on a host, where any thread runs on any CPU.
   */
  readonly placeOf?: (tid: number) => VcpuPlace;
  /** Bodies of ksymbol(), comm_get() and so on; a call of one that is missing is an ExprError. */
  readonly functions?: EvalFunctions;
  /** "js" for closures in any case; tests compare both. */
  readonly backend?: "wasm" | "js";
}

/** A compiled expression that is not tied to a memory yet. */
export interface ExprProgram {
  readonly backend: "wasm" | "js";
  /** Bytes that a record must have. */
  readonly recordBytesMin: number;
  /** Throws RangeError when the memory cannot be used (a shared one). */
  bind(memory: WebAssembly.Memory): BoundProgram;
}

/** A program on its memory. The counters only grow. */
export interface BoundProgram {
  run(
    rawOffsetPtr: number,
    eventPtr: number,
    whichEvent: number,
    count: number,
    keyPtr: number,
    contextPtr: number,
  ): void;
  /** Records that were too short. */
  readonly skippedCount: number;
  /** Operations without a result in C. */
  readonly undefinedCount: number;
  /** Reads outside a record, which gave 0. */
  readonly outsideCount: number;
  /** Records that a filter did not let pass. */
  readonly rejectedCount: number;
}

/** Compiles a key. Throws ExprError. */
export function compileKeyProgram(
  source: string,
  format: EventFormat,
  options: ProgramOptions = {},
): ExprProgram {
  return compileProgram(source, format, "key", options);
}

/** Compiles a filter that the kernel would not take. Throws ExprError. */
export function compileFilterProgram(
  source: string,
  format: EventFormat,
  options: ProgramOptions = {},
): ExprProgram {
  checkFilter(source, format);
  return compileProgram(source, format, "filter", options);
}

/** Compiles a role: bit 0 lets an event start a pair, bit 1 lets it end one. Throws ExprError. */
export function compileRoleProgram(
  source: string,
  format: EventFormat,
  options: ProgramOptions = {},
): ExprProgram {
  return compileProgram(source, format, "role", options);
}

/**
 * Checks a filter: a number, and without assignments, which are C but never what a filter means
 * (`id=1` would let everything pass). Throws ExprError.
 */
export function checkFilter(source: string, format: EventFormat): void {
  checkNumber(source, format);
  const isAssigned = (node: ExprNode): boolean => assignedNodes(node).length > 0;
  const root = parseExpr(source);
  if (!isAssigned(root)) return;
  const target = assignedNodes(root)[0]!;
  throw new ExprError("a filter assigns nothing", source, target.at, 'comparing is written "=="');
}

function compileProgram(
  source: string,
  format: EventFormat,
  kind: ProgramKind,
  options: ProgramOptions,
): ExprProgram {
  const expr = checkNumber(source, format);
  const pid = format.fieldByName.get("common_pid");
  const commonPidOffset = pid?.sizeBytes === 4 ? pid.offsetBytes : -1;
  // _pid falls back to common_pid, so a record must always reach that far.
  const recordBytesMin = Math.max(expr.recordBytesMin, commonPidOffset + 4);
  // What depends on the record's thread beyond its id is looked up, not read.
  const isPlaced = options.placeOf !== undefined && usesContext(expr.ir, ["vcpu", "vm"]);
  if (expr.isPure && options.backend !== "js" && commonPidOffset >= 0 && !isPlaced) {
    const bytes = buildProgram(expr, kind, recordBytesMin, commonPidOffset);
    const module = new WebAssembly.Module(bytes);
    return { backend: "wasm", recordBytesMin, bind: (memory) => bindWasm(module, memory) };
  }
  const evaluate = wrapMissing(source, () => compileInt(expr, options.functions));
  return {
    backend: "js",
    recordBytesMin,
    bind: (memory) =>
      new ClosureProgram(evaluate, memory, {
        kind,
        recordBytesMin,
        commonPidOffset,
        placeOf: options.placeOf,
      }),
  };
}

/** Parses and checks an expression on an event's fields that must be a number. Throws ExprError. */
export function checkNumber(
  source: string,
  format: EventFormat | undefined,
  valueNames: readonly string[] = [],
): IntExpr {
  const checked: CheckedExpr = checkExpr(
    parseExpr(source),
    source,
    formatScope(format, valueNames),
  );
  if (checked.kind === "int") return checked;
  throw new ExprError("the value is text, wanted a number", source, 0);
}

/** A function that nobody provides is the expression's error. */
export function wrapMissing<T>(source: string, compile: () => T): T {
  try {
    return compile();
  } catch (error) {
    if (!(error instanceof MissingFunctionError)) throw error;
    throw new ExprError(`${error.functionName}() is not available here`, source, 0);
  }
}

function bindWasm(module: WebAssembly.Module, memory: WebAssembly.Memory): BoundProgram {
  const { exports } = new WebAssembly.Instance(module, { env: { memory } });
  const run = exports.run as BoundProgram["run"];
  const counters = COUNTER_EXPORTS.map((name) => exports[name] as WebAssembly.Global);
  return {
    run,
    get skippedCount() {
      return counters[0]!.value >>> 0;
    },
    get undefinedCount() {
      return counters[1]!.value >>> 0;
    },
    get outsideCount() {
      return counters[2]!.value >>> 0;
    },
    get rejectedCount() {
      return counters[3]!.value >>> 0;
    },
  };
}

interface ClosureParts {
  readonly kind: ProgramKind;
  readonly recordBytesMin: number;
  readonly commonPidOffset: number;
  readonly placeOf: ((tid: number) => VcpuPlace) | undefined;
}

/** The same loop around a closure. */
class ClosureProgram implements BoundProgram {
  rejectedCount = 0;
  readonly #evaluate: (context: EvalContext) => number;
  readonly #kind: ProgramKind;
  readonly #recordBytesMin: number;
  readonly #commonPidOffset: number;
  readonly #placeOf: ((tid: number) => VcpuPlace) | undefined;
  readonly #context = new EvalContext();
  readonly #view: DataView;
  readonly #bytes: Uint8Array;

  constructor(
    evaluate: (context: EvalContext) => number,
    memory: WebAssembly.Memory,
    { kind, recordBytesMin, commonPidOffset, placeOf }: ClosureParts,
  ) {
    this.#evaluate = evaluate;
    this.#kind = kind;
    this.#recordBytesMin = Math.max(1, recordBytesMin);
    this.#commonPidOffset = commonPidOffset;
    this.#placeOf = placeOf;
    this.#view = new DataView(memory.buffer);
    this.#bytes = new Uint8Array(memory.buffer);
  }

  get skippedCount(): number {
    return this.#context.skippedCount;
  }

  get undefinedCount(): number {
    return this.#context.undefinedCount;
  }

  get outsideCount(): number {
    return this.#context.outsideCount;
  }

  run(
    rawOffsetPtr: number,
    eventPtr: number,
    whichEvent: number,
    count: number,
    keyPtr: number,
    contextPtr: number,
  ): void {
    const view = this.#view;
    const context = this.#context;
    context.cpu = view.getInt32(contextPtr + CONTEXT_CPU * 4, true);
    context.vm = view.getInt32(contextPtr + CONTEXT_VM * 4, true);
    context.vcpu = view.getInt32(contextPtr + CONTEXT_VCPU * 4, true);
    const tasks = view.getUint32(contextPtr + CONTEXT_TASKS * 4, true);
    const sizes = view.getUint32(contextPtr + CONTEXT_RAW_BYTES * 4, true);
    const times = view.getUint32(contextPtr + CONTEXT_TIMES * 4, true);
    for (let i = 0; i < count; i++) {
      if (view.getUint16(eventPtr + 2 * i, true) !== whichEvent) continue;
      const rawBytes = sizes === 0 ? 0 : view.getUint32(sizes + 4 * i, true);
      if (rawBytes < this.#recordBytesMin) {
        context.skippedCount++;
        view.setUint16(eventPtr + 2 * i, SKIPPED_EVENT, true);
        continue;
      }
      context.setRecord(view, this.#bytes, view.getUint32(rawOffsetPtr + 4 * i, true), rawBytes);
      if (times !== 0) context.timeCycles = view.getFloat64(times + 8 * i, true);
      this.#setTask(tasks === 0 ? 0 : tasks + 8 * i);
      const lo = this.#evaluate(context);
      if (this.#kind === "key") {
        view.setInt32(keyPtr + 8 * i, lo, true);
        view.setInt32(keyPtr + 8 * i + 4, context.hi, true);
      } else if (this.#kind === "role") {
        view.setUint8(keyPtr + i, lo & 0xff);
      } else if ((lo | context.hi) === 0) {
        this.rejectedCount++;
        view.setUint16(eventPtr + 2 * i, SKIPPED_EVENT, true);
      }
    }
  }

  #setTask(task: number): void {
    const context = this.#context;
    const offset = this.#commonPidOffset;
    const tid = offset < 0 ? 0 : this.#view.getInt32(context.rawOffset + offset, true);
    context.pid = task === 0 ? tid : this.#view.getInt32(task, true);
    context.tid = task === 0 ? tid : this.#view.getInt32(task + 4, true);
    if (this.#placeOf === undefined) return;
    const { vcpu, vm } = this.#placeOf(tid);
    context.vcpu = vcpu;
    context.vm = vm;
  }
}
