// The typed form of an expression: what the checker makes and what the back ends (closures and
// WASM) execute. Names are resolved, conversions are explicit, every operation is on 64 bits.
//
// Arithmetic is C's on 64-bit integers: every value is a signed or unsigned 64-bit integer,
// narrower ones are extended by their sign when they are read, and an operation is unsigned when
// one of its operands is (C's usual arithmetic conversions with `int` 64 bits wide). All results
// wrap.
//
// Where C has no result there is a defined one, and it is counted (EvalCounters.undefinedCount):
//   x / 0 = 0    x % 0 = 0    INT64_MIN / -1 = INT64_MIN    INT64_MIN % -1 = 0
//   a shift by 64 or more (a negative count is one) moves all bits out: 0, or -1 for a negative
//   signed value shifted right

import type { FormatField } from "../tracefs/format.ts";

/** What an expression can ask about where an event happened. */
export type ContextSlot = "cpu" | "vm" | "vcpu" | "pid" | "tid";

export type ArithmeticOperator =
  | "add"
  | "sub"
  | "mul"
  | "and"
  | "or"
  | "xor"
  | "shl"
  | "shr_s"
  | "shr_u"
  | "div_s"
  | "div_u"
  | "rem_s"
  | "rem_u";

export type CompareOperator =
  | "eq"
  | "ne"
  | "lt_s"
  | "lt_u"
  | "gt_s"
  | "gt_u"
  | "le_s"
  | "le_u"
  | "ge_s"
  | "ge_u";

/** A node whose value is a 64-bit integer. */
export type IntIr =
  | { readonly op: "const"; readonly lo: number; readonly hi: number }
  /** A field at a fixed place, within the bytes that the program demands of a record. */
  | {
      readonly op: "load";
      readonly offset: number;
      readonly bytes: number;
      readonly isSigned: boolean;
    }
  /** Bytes at a computed place; outside the record it gives 0 and is counted (outsideCount). */
  | {
      readonly op: "deref";
      readonly pointer: IntIr;
      readonly bytes: number;
      readonly isSigned: boolean;
    }
  /** Where a dynamic field's bytes begin in the record, and how many they are. */
  | { readonly op: "dynamic_offset"; readonly field: FormatField }
  | { readonly op: "dynamic_length"; readonly field: FormatField }
  | { readonly op: "context"; readonly slot: ContextSlot }
  /** A value that the caller sets: EvalContext.values[2 * index] and the next. */
  | { readonly op: "value"; readonly index: number }
  /** A field that the expression assigns to: its own copy. */
  | { readonly op: "local"; readonly slot: number }
  | { readonly op: "assign"; readonly slot: number; readonly value: IntIr }
  | {
      readonly op: "arithmetic";
      readonly operator: ArithmeticOperator;
      readonly left: IntIr;
      readonly right: IntIr;
    }
  | {
      readonly op: "compare";
      readonly operator: CompareOperator;
      readonly left: IntIr;
      readonly right: IntIr;
    }
  /** 1 when the operand is 0, else 0. */
  | { readonly op: "is_zero"; readonly operand: IntIr }
  /** Both or one of them, 1 or 0, the right one only when needed. */
  | { readonly op: "logic"; readonly isAnd: boolean; readonly left: IntIr; readonly right: IntIr }
  /** The low bits, extended again by sign or zero. */
  | {
      readonly op: "extend";
      readonly bits: 8 | 16 | 32;
      readonly isSigned: boolean;
      readonly operand: IntIr;
    }
  | { readonly op: "select"; readonly test: IntIr; readonly yes: IntIr; readonly no: IntIr }
  /** test itself when it is not zero, else no. */
  | { readonly op: "elvis"; readonly test: IntIr; readonly no: IntIr }
  | { readonly op: "sequence"; readonly first: IntIr; readonly second: IntIr }
  /** The low 32 or 16 bits with their bytes reversed (ntohl, ntohs). */
  | { readonly op: "swap"; readonly bits: 16 | 32; readonly operand: IntIr }
  | {
      readonly op: "text_equal";
      readonly isEqual: boolean;
      readonly left: TextIr;
      readonly right: TextIr;
    }
  | { readonly op: "text_glob"; readonly text: TextIr; readonly pattern: TextIr }
  | {
      readonly op: "text_compare";
      readonly left: TextIr;
      readonly right: TextIr;
      readonly bytesMax: IntIr;
    }
  | { readonly op: "call"; readonly call: FunctionCall };

/** A node whose value is text: bytes up to a NUL or a known end. */
export type TextIr =
  | { readonly op: "text"; readonly bytes: Uint8Array }
  /** A character array of the record. */
  | { readonly op: "field_text"; readonly field: FormatField }
  /** From a computed place up to NUL or the end of the record. */
  | { readonly op: "pointer_text"; readonly pointer: IntIr }
  | { readonly op: "select_text"; readonly test: IntIr; readonly yes: TextIr; readonly no: TextIr }
  | { readonly op: "call_text"; readonly call: FunctionCall };

/** A call of one of the functions that the caller provides. */
export interface FunctionCall {
  readonly name: string;
  readonly args: readonly ArgumentIr[];
}

export type ArgumentIr =
  | { readonly kind: "int"; readonly value: IntIr; readonly isSigned: boolean }
  | { readonly kind: "text"; readonly value: TextIr };

/** A checked expression. */
export type CheckedExpr = IntExpr | TextExpr;

interface CheckedBase {
  /** Bytes that a record must have: shorter ones are skipped. */
  readonly recordBytesMin: number;
  /** Fields that locals are copies of, in slot order. */
  readonly locals: readonly LocalSlot[];
}

export interface IntExpr extends CheckedBase {
  readonly kind: "int";
  readonly ir: IntIr;
  /** Whether the value is signed. */
  readonly isSigned: boolean;
  /** Only what the WASM back end can do: no text and no calls. */
  readonly isPure: boolean;
}

export interface TextExpr extends CheckedBase {
  readonly kind: "text";
  readonly ir: TextIr;
}

/** A local variable: the copy of a field, or of a value. */
export interface LocalSlot {
  readonly name: string;
  readonly initial: IntIr;
  readonly bits: 8 | 16 | 32 | 64;
  readonly isSigned: boolean;
}
