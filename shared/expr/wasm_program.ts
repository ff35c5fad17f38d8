// A batch program as a WebAssembly module: the loop over the records of a chunk around one
// expression.
//
//   run(rawOffsetPtr, eventPtr, whichEvent, count, keyPtr, contextPtr)
//
// See program.ts for what it does. The module imports the memory that holds the chunks and reads
// the records in place; the one of the spec document's key has some 300 bytes and compiles in 0.5
// ms.

import { CONTEXT_RAW_BYTES, SKIPPED_EVENT } from "./batch_context.ts";
import type { IntExpr } from "./ir.ts";
import { CodeWriter, I32, I64, OP, section, VOID_BLOCK, wasmName } from "./wasm_bytes.ts";
import { ExprEmitter, type RecordLocals } from "./wasm_emit.ts";
import { GLOBAL_REJECTED, GLOBAL_SKIPPED } from "./wasm_guards.ts";

/** Names of the exports that count, in the order of the globals. */
export const COUNTER_EXPORTS = [
  "skippedCount",
  "undefinedCount",
  "outsideCount",
  "rejectedCount",
] as const;

/** What run() does with the value of the expression. */
export type ProgramKind = "key" | "filter" | "role";

const PARAMETER_COUNT = 6;
const [RAW_OFFSET, EVENT, WHICH, COUNT, KEY, CONTEXT] = [0, 1, 2, 3, 4, 5] as const;

/** The bytes of the module. */
export function buildProgram(
  expr: IntExpr,
  kind: ProgramKind,
  recordBytesMin: number,
  commonPidOffset: number,
): Uint8Array<ArrayBuffer> {
  const body = programBody(expr, kind, recordBytesMin, commonPidOffset);
  const type = [0x60, PARAMETER_COUNT, ...Array(PARAMETER_COUNT).fill(I32), 0];
  // A memory of at least one page, without a maximum: any memory that is not shared will do.
  const memoryImport = [...wasmName("env"), ...wasmName("memory"), 0x02, 0x00, 1];
  const global = [I32, 1, OP.i32Const, 0, OP.end];
  const exports = [
    [...wasmName("run"), 0x00, 0],
    ...COUNTER_EXPORTS.map((name, index) => [...wasmName(name), 0x03, index]),
  ];
  return Uint8Array.from([
    ...[0x00, 0x61, 0x73, 0x6d, 0x01, 0x00, 0x00, 0x00],
    ...section(1, [1, ...type]),
    ...section(2, [1, ...memoryImport]),
    ...section(3, [1, 0]),
    ...section(6, [COUNTER_EXPORTS.length, ...COUNTER_EXPORTS.flatMap(() => global)]),
    ...section(7, [exports.length, ...exports.flat()]),
    ...section(10, [1, ...body]),
  ]);
}

function programBody(
  expr: IntExpr,
  kind: ProgramKind,
  recordBytesMin: number,
  commonPidOffset: number,
): number[] {
  const code = new CodeWriter(PARAMETER_COUNT);
  const index = code.local(I32);
  const base = code.local(I32);
  const rawBytes = code.local(I32);
  const sizes = code.local(I32);
  const slots = expr.locals.map(() => code.local(I64));
  const locals: RecordLocals = { index, base, rawBytes, context: CONTEXT, slots, commonPidOffset };
  const emitter = new ExprEmitter(code, locals);
  code.get(CONTEXT);
  code.memory(OP.i32Load, CONTEXT_RAW_BYTES * 4);
  code.set(sizes);
  code.emit(OP.block, VOID_BLOCK, OP.loop, VOID_BLOCK);
  code.get(index);
  code.get(COUNT);
  code.emit(OP.i32GeU, OP.brIf, 1);
  code.emit(OP.block, VOID_BLOCK);
  emitSelection(code, locals, sizes, recordBytesMin);
  expr.locals.forEach((local, slot) => {
    emitter.value(local.initial);
    code.set(slots[slot]!);
  });
  emitResult(code, emitter, expr, kind, index);
  code.emit(OP.end);
  code.get(index);
  code.i32(1);
  code.emit(OP.i32Add);
  code.set(index);
  code.emit(OP.br, 0, OP.end, OP.end);
  return code.finish();
}

/** Leaves the block for records of other events, and for those that are too short. */
function emitSelection(
  code: CodeWriter,
  locals: RecordLocals,
  sizes: number,
  recordBytesMin: number,
): void {
  pushElement(code, EVENT, locals.index, 1);
  code.memory(OP.i32Load16U, 0);
  code.get(WHICH);
  code.emit(OP.i32Ne, OP.brIf, 0);
  // Without a column of sizes nothing is known about the records: all are too short.
  pushElement(code, sizes, locals.index, 2);
  code.memory(OP.i32Load, 0);
  code.i32(0);
  code.get(sizes);
  code.emit(OP.select);
  code.tee(locals.rawBytes);
  code.i32(Math.max(1, recordBytesMin));
  code.emit(OP.i32LtU, OP.if, VOID_BLOCK);
  code.count(GLOBAL_SKIPPED);
  pushElement(code, EVENT, locals.index, 1);
  code.i32(SKIPPED_EVENT);
  code.memory(OP.i32Store16, 0);
  code.emit(OP.br, 1, OP.end);
  pushElement(code, RAW_OFFSET, locals.index, 2);
  code.memory(OP.i32Load, 0);
  code.set(locals.base);
}

function emitResult(
  code: CodeWriter,
  emitter: ExprEmitter,
  expr: IntExpr,
  kind: ProgramKind,
  index: number,
): void {
  if (kind === "key") {
    pushElement(code, KEY, index, 3);
    emitter.value(expr.ir);
    code.memory(OP.i64Store, 0);
    return;
  }
  if (kind === "role") {
    pushElement(code, KEY, index, 0);
    emitter.value(expr.ir);
    code.memory(OP.i64Store8, 0);
    return;
  }
  emitter.condition(expr.ir);
  code.emit(OP.i32Eqz, OP.if, VOID_BLOCK);
  code.count(GLOBAL_REJECTED);
  pushElement(code, EVENT, index, 1);
  code.i32(SKIPPED_EVENT);
  code.memory(OP.i32Store16, 0);
  code.emit(OP.end);
}

/** column + (index << shift) */
function pushElement(code: CodeWriter, column: number, index: number, shift: number): void {
  code.get(column);
  code.get(index);
  code.i32(shift);
  code.emit(OP.i32Shl, OP.i32Add);
}
