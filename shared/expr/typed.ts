// Values as the checker sees them, and the conversions between them.

import type { FormatField } from "../tracefs/format.ts";
import type { CompareOperator, IntIr, TextIr } from "./ir.ts";

/** An integer: 64 bits, signed or not. */
export interface TypedInt {
  readonly kind: "int";
  readonly ir: IntIr;
  readonly isSigned: boolean;
  /** Set for a character literal, which may stand for a string of one. */
  readonly charBytes?: Uint8Array;
  /** The field that this is the plain value of, for sizeof, & and error messages. */
  readonly field?: FormatField;
}

/** A place in the record, and what lies there. */
export interface TypedPointer {
  readonly kind: "pointer";
  /** Byte offset from the start of the record. */
  readonly ir: IntIr;
  readonly elementBytes: number;
  readonly isSigned: boolean;
  /** Set while it is an array field itself and not some place in it. */
  readonly field?: FormatField;
}

export interface TypedText {
  readonly kind: "text";
  readonly ir: TextIr;
}

export type Typed = TypedInt | TypedPointer | TypedText;

export function constant(lo: number, hi: number): IntIr {
  return { op: "const", lo: lo | 0, hi: hi | 0 };
}

/** A small non-negative number. */
export function constantNumber(value: number): IntIr {
  return constant(value, 0);
}

export function isConstant(ir: IntIr): ir is Extract<IntIr, { op: "const" }> {
  return ir.op === "const";
}

/** The value of a constant that is a small non-negative number, else undefined. */
export function smallConstant(ir: IntIr): number | undefined {
  return ir.op === "const" && ir.hi === 0 && ir.lo >= 0 ? ir.lo : undefined;
}

/** The text of a value, or undefined when it cannot be text. */
export function asText(value: Typed): TextIr | undefined {
  if (value.kind === "text") return value.ir;
  if (value.kind === "pointer" && value.elementBytes === 1) {
    return value.field !== undefined
      ? { op: "field_text", field: value.field }
      : { op: "pointer_text", pointer: value.ir };
  }
  if (value.kind === "int" && value.charBytes !== undefined) {
    return { op: "text", bytes: value.charBytes };
  }
  return undefined;
}

/** Whether a comparison with this value compares text. */
export function isText(value: Typed): boolean {
  return value.kind === "text" || (value.kind === "pointer" && value.elementBytes === 1);
}

/** Bytes of an integer that can be read, or undefined for structs and odd sizes. */
export function integerBytes(bytes: number): 1 | 2 | 4 | 8 | undefined {
  return bytes === 1 || bytes === 2 || bytes === 4 || bytes === 8 ? bytes : undefined;
}

const COMPARE: ReadonlyMap<string, readonly [CompareOperator, CompareOperator]> = new Map<
  string,
  readonly [CompareOperator, CompareOperator]
>([
  ["==", ["eq", "eq"]],
  ["!=", ["ne", "ne"]],
  ["<", ["lt_s", "lt_u"]],
  ["<=", ["le_s", "le_u"]],
  [">", ["gt_s", "gt_u"]],
  [">=", ["ge_s", "ge_u"]],
]);

/** The comparison that an operator means on these operands, or undefined for other operators. */
export function compareOperator(operator: string, isSigned: boolean): CompareOperator | undefined {
  return COMPARE.get(operator)?.[isSigned ? 0 : 1];
}
