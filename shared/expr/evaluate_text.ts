// Closures whose result is text: a range of bytes, in the record or anywhere else, never copied.

import type { FormatField } from "../tracefs/format.ts";
import type { EvalContext, EvalFunctions, IntEval, TextEval } from "./eval_context.ts";
import { compileTextCall } from "./evaluate_call.ts";
import type { IntIr, TextIr } from "./ir.ts";

export function compileText(
  ir: TextIr,
  compile: (ir: IntIr) => IntEval,
  functions: EvalFunctions,
): TextEval {
  switch (ir.op) {
    case "text": {
      const nul = ir.bytes.indexOf(0);
      const bytes = nul < 0 ? ir.bytes : ir.bytes.subarray(0, nul);
      return (c) => {
        c.textBytes = bytes;
        c.textFrom = 0;
        c.textTo = bytes.length;
      };
    }
    case "field_text":
      return compileFieldText(ir.field);
    case "pointer_text": {
      const pointer = compile(ir.pointer);
      return (c) => {
        const offset = pointer(c);
        if (c.hi !== 0 || offset < 0) noText(c);
        else recordText(c, offset, c.rawBytes - offset);
      };
    }
    case "select_text": {
      const test = compile(ir.test);
      const yes = compileText(ir.yes, compile, functions);
      const no = compileText(ir.no, compile, functions);
      return (c) => {
        if ((test(c) | c.hi) !== 0) yes(c);
        else no(c);
      };
    }
    case "call_text":
      return compileTextCall(
        ir.call,
        { int: compile, text: (operand) => compileText(operand, compile, functions) },
        functions,
      );
  }
}

/** A character array: fixed ones lie in the record; of dynamic ones the record says where. */
export function compileFieldText(field: FormatField): TextEval {
  const { offsetBytes, sizeBytes, isDynamic, isRelative } = field;
  if (!isDynamic) {
    // `char buf[]` at the end of a record has size 0 and takes what is left.
    if (sizeBytes === 0) return (c) => recordText(c, offsetBytes, c.rawBytes - offsetBytes);
    return (c) => recordText(c, offsetBytes, sizeBytes);
  }
  const base = isRelative ? offsetBytes + sizeBytes : 0;
  const isOld = sizeBytes === 2;
  return (c) => {
    if (offsetBytes + sizeBytes > c.rawBytes) {
      noText(c);
      return;
    }
    const at = c.rawOffset + offsetBytes;
    const offset = base + c.view.getUint16(at, true);
    const length = isOld ? c.rawBytes - offset : c.view.getUint16(at + 2, true);
    recordText(c, offset, length);
  };
}

function noText(c: EvalContext): void {
  c.outsideCount++;
  c.textFrom = 0;
  c.textTo = 0;
}

/** Text at `offset` of the record: up to a NUL, `lengthMax` bytes or the end of the record. */
function recordText(c: EvalContext, offset: number, lengthMax: number): void {
  if (offset > c.rawBytes) {
    noText(c);
    return;
  }
  const from = c.rawOffset + offset;
  const limit = Math.min(from + Math.max(0, lengthMax), c.rawOffset + c.rawBytes);
  let to = from;
  const { bytes } = c;
  while (to < limit && bytes[to] !== 0) to++;
  c.scannedBytes += to - from;
  c.textBytes = bytes;
  c.textFrom = from;
  c.textTo = to;
}
