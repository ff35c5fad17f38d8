// EvalContext: what an expression is evaluated on, and where its result goes.
//
// One is made per reader and used for every record: nothing is allocated per evaluation.

import type { ByteWriter } from "../text/byte_writer.ts";
import type { Word64Out } from "./word64.ts";

/** Values that a caller can hand to an expression. */
export const EVAL_VALUES_MAX = 16;
/** Fields that one expression can assign to. */
export const EVAL_LOCALS_MAX = 64;

const NO_BYTES = new Uint8Array(0);

/** An argument of a function call. */
export type CallArgument =
  | { readonly kind: "int"; readonly lo: number; readonly hi: number; readonly isSigned: boolean }
  | {
      readonly kind: "text";
      readonly bytes: Uint8Array;
      readonly from: number;
      readonly to: number;
    };

/** The body of a function: text as bytes, or a number (an integer within 2^53). */
export type EvalFunction = (
  args: readonly CallArgument[],
  context: EvalContext,
) => Uint8Array | number;

/** Function bodies by name; the signatures are in scope.ts. */
export type EvalFunctions = ReadonlyMap<string, EvalFunction>;

/** A call of a function that the caller did not provide. */
export class MissingFunctionError extends RangeError {
  override readonly name = "MissingFunctionError";
  readonly functionName: string;
  constructor(functionName: string) {
    super(`Cannot call ${functionName}(): it is not available here`);
    this.functionName = functionName;
  }
}

/** Evaluates an integer: returns the low word, leaves the high one in context.hi. */
export type IntEval = (context: EvalContext) => number;

/** Evaluates text: the result is context.textBytes[textFrom .. textTo), without the NUL. */
export type TextEval = (context: EvalContext) => void;

/** The record, the context of the event, and the result. */
export class EvalContext implements Word64Out {
  /** The memory that holds the record, and the record's place in it. */
  view: DataView = new DataView(NO_BYTES.buffer);
  bytes: Uint8Array = NO_BYTES;
  rawOffset = 0;
  rawBytes = 0;

  /** What _cpu _vm _vcpu _pid _tid say. */
  cpu = 0;
  vm = 0;
  vcpu = -1;
  pid = 0;
  tid = 0;
  /** The canonical time of the record; Infinity where it is not known: the present. */
  timeCycles = Number.POSITIVE_INFINITY;

  /** High word of the last integer result (the low one is returned). */
  hi = 0;
  /** The last text result: textBytes[textFrom .. textTo). */
  textBytes: Uint8Array = NO_BYTES;
  textFrom = 0;
  textTo = 0;

  /** Operations without a result in C (ir.ts). */
  undefinedCount = 0;
  /** Reads outside the record, which gave 0 or no text. */
  outsideCount = 0;
  /** Bytes looked at for the ends of text: what bounds the work on a hostile record. */
  scannedBytes = 0;
  /** Records that were too short for the expression. */
  skippedCount = 0;

  /** Two words per value that the caller hands in. */
  readonly values = new Int32Array(EVAL_VALUES_MAX * 2);
  /** Two words per local. */
  readonly locals = new Int32Array(EVAL_LOCALS_MAX * 2);
  /** Where printf() writes; without one it writes nowhere. */
  out: ByteWriter | undefined = undefined;

  /** Points at a record: its bytes are memory[rawOffset .. rawOffset + rawBytes). */
  setRecord(view: DataView, bytes: Uint8Array, rawOffset: number, rawBytes: number): void {
    this.view = view;
    this.bytes = bytes;
    this.rawOffset = rawOffset;
    this.rawBytes = rawBytes;
  }
}
