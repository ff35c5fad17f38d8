// The closure back end: a typed expression as a tree of JavaScript closures.
//
// Integers are pairs of signed 32-bit words: a closure returns the low word and leaves the high one
// in `context.hi`. Nothing is allocated and no BigInt is made, but for divisions of huge numbers.
// This is what prints, filters in user space, and runs keys that WASM cannot (text, functions);
// WASM (wasm_emit.ts) must give the same results, which property tests check.

import { globBytes } from "../text/glob.ts";
import type { EvalContext, EvalFunctions, IntEval, TextEval } from "./eval_context.ts";
import { compileCall } from "./evaluate_call.ts";
import { compileArithmetic, compileCompare } from "./evaluate_operators.ts";
import { compileText } from "./evaluate_text.ts";
import type { CheckedExpr, ContextSlot, IntIr, LocalSlot } from "./ir.ts";

export type { IntEval, TextEval } from "./eval_context.ts";

const NO_FUNCTIONS: EvalFunctions = new Map();

/**
 * Compiles an expression whose value is an integer: call it after setRecord(), for records of at
 * least `expr.recordBytesMin` bytes. Throws MissingFunctionError for a function that
 * `functions` lacks.
 */
export function compileInt(
  expr: Extract<CheckedExpr, { kind: "int" }>,
  functions: EvalFunctions = NO_FUNCTIONS,
): IntEval {
  const body = compileIr(expr.ir, functions);
  return expr.locals.length === 0 ? body : withLocals(expr.locals, body, functions);
}

/**
 * compileInt() for an expression whose value is text: the result is context.textBytes and so on.
 */
export function compileTextExpr(
  expr: Extract<CheckedExpr, { kind: "text" }>,
  functions: EvalFunctions = NO_FUNCTIONS,
): TextEval {
  const body = compileText(expr.ir, (ir) => compileIr(ir, functions), functions);
  if (expr.locals.length === 0) return body;
  return withLocals(expr.locals, body as (c: EvalContext) => unknown, functions) as TextEval;
}

/** Locals start as copies of their fields at every evaluation. */
function withLocals<T>(
  locals: readonly LocalSlot[],
  body: (c: EvalContext) => T,
  functions: EvalFunctions,
): (c: EvalContext) => T {
  const initials = locals.map((local) => compileIr(local.initial, functions));
  return (c) => {
    for (let slot = 0; slot < initials.length; slot++) {
      c.locals[slot * 2] = initials[slot]!(c);
      c.locals[slot * 2 + 1] = c.hi;
    }
    return body(c);
  };
}

/** Compiles one node. */
export function compileIr(ir: IntIr, functions: EvalFunctions = NO_FUNCTIONS): IntEval {
  const compile = (operand: IntIr): IntEval => compileIr(operand, functions);
  switch (ir.op) {
    case "const": {
      const { lo, hi } = ir;
      return (c) => {
        c.hi = hi;
        return lo;
      };
    }
    case "load":
      return compileLoad(ir.offset, ir.bytes, ir.isSigned);
    case "deref":
      return compileDeref(compile(ir.pointer), ir.bytes, ir.isSigned);
    case "dynamic_offset":
    case "dynamic_length":
      return compileDynamic(ir);
    case "context":
      return compileContext(ir.slot);
    case "value":
      return compileSlot("values", ir.index);
    case "local":
      return compileSlot("locals", ir.slot);
    case "assign":
      return compileAssign(ir.slot, compile(ir.value));
    case "arithmetic":
      return compileArithmetic(ir, compile);
    case "compare":
      return compileCompare(ir, compile);
    case "extend":
      return compileExtend(ir.bits, ir.isSigned, compile(ir.operand));
    case "swap":
      return compileSwap(ir.bits, compile(ir.operand));
    case "is_zero":
    case "logic":
    case "select":
    case "elvis":
    case "sequence":
      return compileControl(ir, compile);
    case "text_equal":
    case "text_glob":
    case "text_compare":
      return compileTextTest(ir, compile, functions);
    case "call":
      return compileCall(
        ir.call,
        { int: compile, text: (operand) => compileText(operand, compile, functions) },
        functions,
      );
  }
}

/** A field at a fixed offset: the caller has made sure that the record reaches that far. */
export function compileLoad(offset: number, bytes: number, isSigned: boolean): IntEval {
  switch (bytes) {
    case 8:
      return (c) => {
        const at = c.rawOffset + offset;
        c.hi = c.view.getInt32(at + 4, true);
        return c.view.getInt32(at, true);
      };
    case 4:
      if (isSigned) {
        return (c) => {
          const lo = c.view.getInt32(c.rawOffset + offset, true);
          c.hi = lo >> 31;
          return lo;
        };
      }
      return (c) => {
        c.hi = 0;
        return c.view.getInt32(c.rawOffset + offset, true);
      };
    case 2:
      return (c) => {
        const at = c.rawOffset + offset;
        const lo = isSigned ? c.view.getInt16(at, true) : c.view.getUint16(at, true);
        c.hi = lo >> 31;
        return lo;
      };
    default:
      return (c) => {
        const at = c.rawOffset + offset;
        const lo = isSigned ? c.view.getInt8(at) : c.view.getUint8(at);
        c.hi = lo >> 31;
        return lo;
      };
  }
}

function compileDeref(pointer: IntEval, bytes: number, isSigned: boolean): IntEval {
  const load = compileLoad(0, bytes, isSigned);
  return (c) => {
    const offset = pointer(c);
    // Also refuses every negative or huge offset: those have a high word or a negative low one.
    if (c.hi !== 0 || offset < 0 || offset > c.rawBytes - bytes) {
      c.outsideCount++;
      c.hi = 0;
      return 0;
    }
    const base = c.rawOffset;
    c.rawOffset = base + offset;
    const lo = load(c);
    c.rawOffset = base;
    return lo;
  };
}

/** __data_loc and __rel_loc: u16 offset, u16 length (an old one of 2 bytes has no length). */
function compileDynamic(ir: Extract<IntIr, { op: "dynamic_offset" | "dynamic_length" }>): IntEval {
  const { offsetBytes, sizeBytes, isRelative } = ir.field;
  const base = isRelative ? offsetBytes + sizeBytes : 0;
  const isOffset = ir.op === "dynamic_offset";
  if (sizeBytes === 2) {
    return (c) => {
      const offset = c.view.getUint16(c.rawOffset + offsetBytes, true) + base;
      c.hi = 0;
      return isOffset ? offset : Math.max(0, c.rawBytes - offset);
    };
  }
  return (c) => {
    const word = c.view.getUint32(c.rawOffset + offsetBytes, true);
    c.hi = 0;
    return isOffset ? (word & 0xffff) + base : word >>> 16;
  };
}

function compileContext(slot: ContextSlot): IntEval {
  return (c) => {
    const value = c[slot] | 0;
    c.hi = value >> 31;
    return value;
  };
}

function compileSlot(array: "values" | "locals", index: number): IntEval {
  return (c) => {
    c.hi = c[array][index * 2 + 1]!;
    return c[array][index * 2]!;
  };
}

function compileAssign(slot: number, value: IntEval): IntEval {
  return (c) => {
    const lo = value(c);
    c.locals[slot * 2] = lo;
    c.locals[slot * 2 + 1] = c.hi;
    return lo;
  };
}

function compileExtend(bits: 8 | 16 | 32, isSigned: boolean, operand: IntEval): IntEval {
  if (bits === 32) {
    if (!isSigned) {
      return (c) => {
        const lo = operand(c);
        c.hi = 0;
        return lo;
      };
    }
    return (c) => {
      const lo = operand(c);
      c.hi = lo >> 31;
      return lo;
    };
  }
  const shift = 32 - bits;
  if (isSigned) {
    return (c) => {
      const lo = (operand(c) << shift) >> shift;
      c.hi = lo >> 31;
      return lo;
    };
  }
  return (c) => {
    const lo = (operand(c) << shift) >>> shift;
    c.hi = 0;
    return lo;
  };
}

function compileSwap(bits: 16 | 32, operand: IntEval): IntEval {
  return (c) => {
    const lo = operand(c);
    c.hi = 0;
    const low = ((lo & 0xff) << 8) | ((lo >>> 8) & 0xff);
    return bits === 16 ? low : (low << 16) | ((lo >>> 8) & 0xff00) | (lo >>> 24);
  };
}

type ControlIr = Extract<IntIr, { op: "is_zero" | "logic" | "select" | "elvis" | "sequence" }>;

function compileControl(ir: ControlIr, compile: (ir: IntIr) => IntEval): IntEval {
  switch (ir.op) {
    case "is_zero": {
      const operand = compile(ir.operand);
      return (c) => {
        const isZero = (operand(c) | c.hi) === 0;
        c.hi = 0;
        return isZero ? 1 : 0;
      };
    }
    case "logic": {
      const left = compile(ir.left);
      const right = compile(ir.right);
      const { isAnd } = ir;
      return (c) => {
        const isLeft = (left(c) | c.hi) !== 0;
        const result = isAnd === isLeft ? (right(c) | c.hi) !== 0 : isLeft;
        c.hi = 0;
        return result ? 1 : 0;
      };
    }
    case "select": {
      const test = compile(ir.test);
      const yes = compile(ir.yes);
      const no = compile(ir.no);
      return (c) => ((test(c) | c.hi) !== 0 ? yes(c) : no(c));
    }
    case "elvis": {
      const test = compile(ir.test);
      const no = compile(ir.no);
      return (c) => {
        const lo = test(c);
        return (lo | c.hi) !== 0 ? lo : no(c);
      };
    }
    case "sequence": {
      const first = compile(ir.first);
      const second = compile(ir.second);
      return (c) => {
        first(c);
        return second(c);
      };
    }
  }
}

type TextTestIr = Extract<IntIr, { op: "text_equal" | "text_glob" | "text_compare" }>;

function compileTextTest(
  ir: TextTestIr,
  compile: (ir: IntIr) => IntEval,
  functions: EvalFunctions,
): IntEval {
  const isGlob = ir.op === "text_glob";
  const left = compileText(isGlob ? ir.text : ir.left, compile, functions);
  const right = compileText(isGlob ? ir.pattern : ir.right, compile, functions);
  const bytesMax = ir.op === "text_compare" ? compile(ir.bytesMax) : undefined;
  const isEqual = ir.op === "text_equal" && ir.isEqual;
  return (c) => {
    left(c);
    const { textBytes, textFrom, textTo } = c;
    right(c);
    const { textBytes: otherBytes, textFrom: otherFrom, textTo: otherTo } = c;
    if (bytesMax === undefined) {
      const result = isGlob
        ? globBytes(otherBytes, otherFrom, otherTo, textBytes, textFrom, textTo)
        : (compareBytes(textBytes, textFrom, textTo, otherBytes, otherFrom, otherTo) === 0) ===
          isEqual;
      c.hi = 0;
      return result ? 1 : 0;
    }
    const lo = bytesMax(c);
    // A count of 2^31 and above, negative ones (as size_t) among them, is no bound at all.
    const bound = c.hi !== 0 || lo < 0 ? 0x7fffffff : lo;
    const result = compareBytes(
      textBytes,
      textFrom,
      Math.min(textTo, textFrom + bound),
      otherBytes,
      otherFrom,
      Math.min(otherTo, otherFrom + bound),
    );
    c.hi = result >> 31;
    return result;
  };
}

/** strcmp(): the difference of the first bytes that differ, the end counting as 0. */
function compareBytes(
  a: Uint8Array,
  aFrom: number,
  aTo: number,
  b: Uint8Array,
  bFrom: number,
  bTo: number,
): number {
  const count = Math.max(aTo - aFrom, bTo - bFrom);
  for (let i = 0; i < count; i++) {
    const left = aFrom + i < aTo ? a[aFrom + i]! : 0;
    const right = bFrom + i < bTo ? b[bFrom + i]! : 0;
    if (left !== right) return left - right;
  }
  return 0;
}
