// One event with a field of every width, records of it, and the two back ends side by side.

import { EvalContext, type EvalFunctions } from "../../../shared/expr/eval_context.ts";
import { compileKeyProgram, type ExprProgram } from "../../../shared/expr/program.ts";
import { type EventFormat, parseFormat } from "../../../shared/tracefs/format.ts";

/** [type, name, offset, bytes, signed]; the record has RECORD_BYTES bytes. */
export const FIELDS = [
  ["unsigned char", "a8", 8, 1, 0],
  ["signed char", "b8", 9, 1, 1],
  ["unsigned short", "a16", 10, 2, 0],
  ["short", "b16", 12, 2, 1],
  ["unsigned int", "a32", 16, 4, 0],
  ["int", "b32", 20, 4, 1],
  ["unsigned long", "a64", 24, 8, 0],
  ["long", "b64", 32, 8, 1],
  ["u64", "c64", 40, 8, 0],
] as const;

export const RECORD_BYTES = 112;

const lines = FIELDS.map(
  ([type, name, offset, size, signed]) =>
    `\tfield:${type} ${name};\toffset:${offset};\tsize:${size};\tsigned:${signed};\n`,
).join("");

/** kvm-like format with the fields above, arrays and text. */
export const FORMAT: EventFormat = parseFormat(
  `name: demo
ID: 77
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

${lines}\tfield:u32 words[4];\toffset:48;\tsize:16;\tsigned:0;
\tfield:char comm[16];\toffset:64;\tsize:16;\tsigned:0;
\tfield:__data_loc char[] name;\toffset:80;\tsize:4;\tsigned:0;
\tfield:__data_loc u16[] list;\toffset:84;\tsize:4;\tsigned:0;
\tfield:__rel_loc char[] tail;\toffset:88;\tsize:4;\tsigned:0;
\tfield:const char * pointer;\toffset:92;\tsize:8;\tsigned:0;

print fmt: "x"
`,
  "test",
);

/** A record: text "vcpu0" in comm, "virtio0-input.3" in name, 1 2 3 in list, "end" in tail. */
export function makeRecord(fields: Readonly<Record<string, bigint>> = {}): Uint8Array {
  const record = new Uint8Array(RECORD_BYTES + 32);
  const view = new DataView(record.buffer);
  view.setUint16(0, 77, true);
  view.setInt32(4, 26027, true);
  for (const [, name, offset, size] of FIELDS) {
    const value = fields[name] ?? 0n;
    for (let i = 0; i < size; i++) record[offset + i] = Number((value >> BigInt(8 * i)) & 0xffn);
  }
  for (let i = 0; i < 4; i++) view.setUint32(48 + 4 * i, 1000 + i, true);
  record.set(new TextEncoder().encode("vcpu0"), 64);
  view.setUint32(80, 100 | (16 << 16), true);
  record.set(new TextEncoder().encode("virtio0-input.3"), 100);
  view.setUint32(84, 116 | (6 << 16), true);
  for (let i = 0; i < 3; i++) view.setUint16(116 + 2 * i, i + 1, true);
  view.setUint32(88, (122 - 92) | (4 << 16), true);
  record.set(new TextEncoder().encode("end"), 122);
  return record;
}

/** Where things lie in the memory of runKey(). */
const LAYOUT = {
  rawOffset: 0,
  event: 64,
  key: 128,
  sizes: 256,
  tasks: 320,
  context: 384,
  times: 448,
};
const RECORD_AT = 516;
const memory = new WebAssembly.Memory({ initial: 1, maximum: 1 });

export interface KeyResult {
  readonly key: bigint;
  readonly isSkipped: boolean;
  readonly undefinedCount: number;
  readonly outsideCount: number;
  readonly rejectedCount: number;
}

export interface RunOptions {
  readonly rawBytes?: number;
  readonly backend?: "wasm" | "js";
  readonly functions?: EvalFunctions;
  readonly tasks?: readonly [number, number];
  readonly context?: readonly [number, number, number];
  readonly timeCycles?: number;
}

/** Compiles a key and runs it on one record. */
export function runKey(source: string, record: Uint8Array, options: RunOptions = {}): KeyResult {
  const { backend, functions } = options;
  const program = compileKeyProgram(source, FORMAT, {
    ...(backend === undefined ? {} : { backend }),
    ...(functions === undefined ? {} : { functions }),
  });
  return runProgram(program, record, options);
}

/** Runs a compiled program on one record. */
export function runProgram(
  program: ExprProgram,
  record: Uint8Array,
  options: RunOptions = {},
): KeyResult {
  const bytes = new Uint8Array(memory.buffer);
  const view = new DataView(memory.buffer);
  bytes.fill(0xa5);
  bytes.set(record, RECORD_AT);
  view.setUint32(LAYOUT.rawOffset, RECORD_AT, true);
  view.setUint16(LAYOUT.event, 9, true);
  view.setUint32(LAYOUT.sizes, options.rawBytes ?? record.length, true);
  const [cpu, vm, vcpu] = options.context ?? [5, 2, -1];
  const { tasks, timeCycles } = options;
  const words = [
    ...[cpu, vm, vcpu, tasks === undefined ? 0 : LAYOUT.tasks, LAYOUT.sizes],
    timeCycles === undefined ? 0 : LAYOUT.times,
  ];
  words.forEach((word, i) => {
    view.setInt32(LAYOUT.context + 4 * i, word, true);
  });
  view.setUint32(LAYOUT.tasks, tasks?.[0] ?? 0, true);
  view.setUint32(LAYOUT.tasks + 4, tasks?.[1] ?? 0, true);
  view.setFloat64(LAYOUT.times, timeCycles ?? 0, true);
  const bound = program.bind(memory);
  bound.run(LAYOUT.rawOffset, LAYOUT.event, 9, 1, LAYOUT.key, LAYOUT.context);
  return {
    key: view.getBigInt64(LAYOUT.key, true),
    isSkipped: view.getUint16(LAYOUT.event, true) === 0xffff,
    undefinedCount: bound.undefinedCount,
    outsideCount: bound.outsideCount,
    rejectedCount: bound.rejectedCount,
  };
}

/** A context that points at a record standing alone. */
export function contextFor(record: Uint8Array, rawBytes = record.length): EvalContext {
  const context = new EvalContext();
  const view = new DataView(record.buffer, record.byteOffset, record.byteLength);
  context.setRecord(view, record, 0, rawBytes);
  context.pid = 26027;
  context.tid = 26027;
  context.cpu = 5;
  return context;
}
