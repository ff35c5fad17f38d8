// Operators on typed values: C's usual conversions, as explicit operations.

import type { ArithmeticOperator, IntIr } from "./ir.ts";
import {
  compareOperator,
  constant,
  constantNumber,
  type TypedInt,
  type TypedPointer,
} from "./typed.ts";

export const ZERO: TypedInt = { kind: "int", ir: constantNumber(0), isSigned: true };
export const ONE: TypedInt = { kind: "int", ir: constantNumber(1), isSigned: true };
export const MINUS_ONE: TypedInt = { kind: "int", ir: constant(-1, -1), isSigned: true };

/** A signed number, which is what comparisons and logic give. */
export function signedInt(ir: IntIr): TypedInt {
  return { kind: "int", ir, isSigned: true };
}

/** Unsigned when one of the operands is. */
export function arithmetic(
  operator: ArithmeticOperator,
  left: TypedInt,
  right: TypedInt,
): TypedInt {
  const ir: IntIr = { op: "arithmetic", operator, left: left.ir, right: right.ir };
  return { kind: "int", ir, isSigned: left.isSigned && right.isSigned };
}

const PLAIN_OPERATORS: ReadonlyMap<string, ArithmeticOperator> = new Map<
  string,
  ArithmeticOperator
>([
  ["+", "add"],
  ["-", "sub"],
  ["*", "mul"],
  ["&", "and"],
  ["|", "or"],
  ["^", "xor"],
]);

/** left OPERATOR right for arithmetic and comparison; undefined for operators of other kinds. */
export function operate(operator: string, left: TypedInt, right: TypedInt): TypedInt | undefined {
  const isSigned = left.isSigned && right.isSigned;
  const compare = compareOperator(operator, isSigned);
  if (compare !== undefined) {
    return signedInt({ op: "compare", operator: compare, left: left.ir, right: right.ir });
  }
  const plain = PLAIN_OPERATORS.get(operator);
  if (plain !== undefined) return arithmetic(plain, left, right);
  switch (operator) {
    case "/":
      return arithmetic(isSigned ? "div_s" : "div_u", left, right);
    case "%":
      return arithmetic(isSigned ? "rem_s" : "rem_u", left, right);
    // The type of a shift is that of its left operand alone.
    case "<<":
      return { ...arithmetic("shl", left, right), isSigned: left.isSigned };
    case ">>": {
      const shift = left.isSigned ? "shr_s" : "shr_u";
      return { ...arithmetic(shift, left, right), isSigned: left.isSigned };
    }
    default:
      return undefined;
  }
}

/** Conversion to an integer type, the value then promoted to 64 bits again. */
export function convert(value: TypedInt, bits: 8 | 16 | 32 | 64, isSigned: boolean): TypedInt {
  if (bits === 64) return { kind: "int", ir: value.ir, isSigned };
  return signedInt({ op: "extend", bits, isSigned, operand: value.ir });
}

/** pointer + count elements, or - when `isMinus`. */
export function offsetPointer(base: TypedPointer, count: IntIr, isMinus: boolean): TypedPointer {
  const size = constantNumber(Math.max(1, base.elementBytes));
  const bytes: IntIr =
    base.elementBytes <= 1
      ? count
      : { op: "arithmetic", operator: "mul", left: count, right: size };
  const operator: ArithmeticOperator = isMinus ? "sub" : "add";
  return {
    kind: "pointer",
    ir: { op: "arithmetic", operator, left: base.ir, right: bytes },
    elementBytes: base.elementBytes,
    isSigned: base.isSigned,
  };
}
