// Arithmetic and comparison closures; those with a constant on the right are special, since most
// are.

import type { IntEval } from "./eval_context.ts";
import type { IntIr } from "./ir.ts";
import {
  add64,
  divS64,
  divU64,
  lessS64,
  lessU64,
  mul64,
  shl64,
  shrS64,
  shrU64,
  sub64,
  type Word64Out,
} from "./word64.ts";

type ArithmeticIr = Extract<IntIr, { op: "arithmetic" }>;
type CompareIr = Extract<IntIr, { op: "compare" }>;
type Operation = (out: Word64Out, aLo: number, aHi: number, bLo: number, bHi: number) => number;

const OPERATIONS: Record<ArithmeticIr["operator"], Operation> = {
  add: add64,
  sub: sub64,
  mul: mul64,
  shl: shl64,
  shr_s: shrS64,
  shr_u: shrU64,
  and: (out, aLo, aHi, bLo, bHi) => {
    out.hi = aHi & bHi;
    return aLo & bLo;
  },
  or: (out, aLo, aHi, bLo, bHi) => {
    out.hi = aHi | bHi;
    return aLo | bLo;
  },
  xor: (out, aLo, aHi, bLo, bHi) => {
    out.hi = aHi ^ bHi;
    return aLo ^ bLo;
  },
  div_s: (out, aLo, aHi, bLo, bHi) => divS64(out, aLo, aHi, bLo, bHi, false),
  div_u: (out, aLo, aHi, bLo, bHi) => divU64(out, aLo, aHi, bLo, bHi, false),
  rem_s: (out, aLo, aHi, bLo, bHi) => divS64(out, aLo, aHi, bLo, bHi, true),
  rem_u: (out, aLo, aHi, bLo, bHi) => divU64(out, aLo, aHi, bLo, bHi, true),
};

/** left OPERATOR right */
export function compileArithmetic(ir: ArithmeticIr, compile: (ir: IntIr) => IntEval): IntEval {
  const left = compile(ir.left);
  if (ir.right.op === "const") {
    const special = withConstant(ir.operator, left, ir.right.lo, ir.right.hi);
    if (special !== undefined) return special;
  }
  const right = compile(ir.right);
  const operation = OPERATIONS[ir.operator];
  return (c) => {
    const aLo = left(c);
    const aHi = c.hi;
    const bLo = right(c);
    return operation(c, aLo, aHi, bLo, c.hi);
  };
}

/** Closures of their own for masks, shifts and sums with a constant. */
function withConstant(
  operator: ArithmeticIr["operator"],
  left: IntEval,
  lo: number,
  hi: number,
): IntEval | undefined {
  switch (operator) {
    case "and":
      return (c) => {
        const aLo = left(c);
        c.hi &= hi;
        return aLo & lo;
      };
    case "or":
      return (c) => {
        const aLo = left(c);
        c.hi |= hi;
        return aLo | lo;
      };
    case "add":
      return (c) => {
        const aLo = left(c);
        return add64(c, aLo, c.hi, lo, hi);
      };
    case "sub":
      return (c) => {
        const aLo = left(c);
        return sub64(c, aLo, c.hi, lo, hi);
      };
    case "shl":
      return (c) => {
        const aLo = left(c);
        return shl64(c, aLo, c.hi, lo, hi);
      };
    case "shr_u":
      return (c) => {
        const aLo = left(c);
        return shrU64(c, aLo, c.hi, lo, hi);
      };
    case "shr_s":
      return (c) => {
        const aLo = left(c);
        return shrS64(c, aLo, c.hi, lo, hi);
      };
    default:
      return undefined;
  }
}

type Test = (aLo: number, aHi: number, bLo: number, bHi: number) => boolean;

const TESTS: Record<CompareIr["operator"], Test> = {
  eq: (aLo, aHi, bLo, bHi) => aLo === bLo && aHi === bHi,
  ne: (aLo, aHi, bLo, bHi) => aLo !== bLo || aHi !== bHi,
  lt_s: lessS64,
  lt_u: lessU64,
  gt_s: (aLo, aHi, bLo, bHi) => lessS64(bLo, bHi, aLo, aHi),
  gt_u: (aLo, aHi, bLo, bHi) => lessU64(bLo, bHi, aLo, aHi),
  le_s: (aLo, aHi, bLo, bHi) => !lessS64(bLo, bHi, aLo, aHi),
  le_u: (aLo, aHi, bLo, bHi) => !lessU64(bLo, bHi, aLo, aHi),
  ge_s: (aLo, aHi, bLo, bHi) => !lessS64(aLo, aHi, bLo, bHi),
  ge_u: (aLo, aHi, bLo, bHi) => !lessU64(aLo, aHi, bLo, bHi),
};

/** 1 or 0 */
export function compileCompare(ir: CompareIr, compile: (ir: IntIr) => IntEval): IntEval {
  const left = compile(ir.left);
  if (ir.right.op === "const" && (ir.operator === "eq" || ir.operator === "ne")) {
    const { lo, hi } = ir.right;
    const isEqual = ir.operator === "eq";
    return (c) => {
      const result = left(c) === lo && c.hi === hi;
      c.hi = 0;
      return result === isEqual ? 1 : 0;
    };
  }
  const right = compile(ir.right);
  const test = TESTS[ir.operator];
  return (c) => {
    const aLo = left(c);
    const aHi = c.hi;
    const bLo = right(c);
    const result = test(aLo, aHi, bLo, c.hi);
    c.hi = 0;
    return result ? 1 : 0;
  };
}
