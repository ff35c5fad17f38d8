// The reference evaluator: C on 64-bit integers, written as plainly as possible on BigInt. It works
// on the syntax tree and has typing rules of its own, so that it shares nothing with the checker.

import type { ExprNode } from "../../../shared/expr/ast.ts";

export interface ReferenceValue {
  readonly value: bigint;
  readonly isSigned: boolean;
}

export interface ReferenceEnvironment {
  readonly variables: ReadonlyMap<string, ReferenceValue>;
  undefinedCount: number;
}

const wrap = (value: bigint, isSigned: boolean): bigint =>
  isSigned ? BigInt.asIntN(64, value) : BigInt.asUintN(64, value);
const INT64_MIN = -(1n << 63n);

/** Evaluates arithmetic, comparison, logic, ?:, comma and casts. */
export function reference(node: ExprNode, env: ReferenceEnvironment): ReferenceValue {
  switch (node.kind) {
    case "number": {
      const bits = (BigInt(node.hi >>> 0) << 32n) | BigInt(node.lo >>> 0);
      return { value: wrap(bits, !node.isUnsigned), isSigned: !node.isUnsigned };
    }
    case "name":
      return env.variables.get(node.name)!;
    case "unary": {
      const operand = reference(node.operand, env);
      const { isSigned } = operand;
      if (node.operator === "!") return { value: operand.value === 0n ? 1n : 0n, isSigned: true };
      if (node.operator === "~") return { value: wrap(~operand.value, isSigned), isSigned };
      if (node.operator === "-") return { value: wrap(-operand.value, isSigned), isSigned };
      return operand;
    }
    case "cast": {
      const { bits, isSigned } = node.type;
      const { value } = reference(node.operand, env);
      const cut = isSigned ? BigInt.asIntN(bits, value) : BigInt.asUintN(bits, value);
      return { value: cut, isSigned: bits < 64 || isSigned };
    }
    case "conditional": {
      const yes = () => reference(node.yes!, env);
      const no = () => reference(node.no, env);
      const isTrue = reference(node.test, env).value !== 0n;
      // The branch not taken gives its type only: its counters must not move.
      const count = env.undefinedCount;
      const other = isTrue ? no() : yes();
      env.undefinedCount = count;
      const taken = isTrue ? yes() : no();
      const isSigned = taken.isSigned && other.isSigned;
      return { value: wrap(taken.value, isSigned), isSigned };
    }
    case "comma":
      reference(node.left, env);
      return reference(node.right, env);
    case "binary":
      return referenceBinary(node.operator, node.left, node.right, env);
    default:
      throw new TypeError(`the reference does not know ${node.kind}`);
  }
}

function referenceBinary(
  operator: string,
  leftNode: ExprNode,
  rightNode: ExprNode,
  env: ReferenceEnvironment,
): ReferenceValue {
  const boolean = (test: boolean) => ({ value: test ? 1n : 0n, isSigned: true });
  const left = reference(leftNode, env);
  if (operator === "&&")
    return boolean(left.value !== 0n && reference(rightNode, env).value !== 0n);
  if (operator === "||")
    return boolean(left.value !== 0n || reference(rightNode, env).value !== 0n);
  const right = reference(rightNode, env);
  if (operator === "<<" || operator === ">>") return shift(operator, left, right, env);
  const isSigned = left.isSigned && right.isSigned;
  const a = wrap(left.value, isSigned);
  const b = wrap(right.value, isSigned);
  const number = (value: bigint) => ({ value: wrap(value, isSigned), isSigned });
  switch (operator) {
    case "+":
      return number(a + b);
    case "-":
      return number(a - b);
    case "*":
      return number(a * b);
    case "&":
      return number(a & b);
    case "|":
      return number(a | b);
    case "^":
      return number(a ^ b);
    case "/":
    case "%":
      if (b === 0n || (isSigned && a === INT64_MIN && b === -1n)) {
        env.undefinedCount++;
        return number(operator === "/" && b !== 0n ? INT64_MIN : 0n);
      }
      return number(operator === "/" ? a / b : a % b);
    case "==":
      return boolean(a === b);
    case "!=":
      return boolean(a !== b);
    case "<":
      return boolean(a < b);
    case "<=":
      return boolean(a <= b);
    case ">":
      return boolean(a > b);
    case ">=":
      return boolean(a >= b);
    default:
      throw new TypeError(`the reference does not know ${operator}`);
  }
}

function shift(
  operator: string,
  left: ReferenceValue,
  right: ReferenceValue,
  env: ReferenceEnvironment,
): ReferenceValue {
  const { value, isSigned } = left;
  const amount = BigInt.asUintN(64, right.value);
  if (amount >= 64n) {
    env.undefinedCount++;
    return { value: operator === ">>" && value < 0n ? -1n : 0n, isSigned };
  }
  const result = operator === "<<" ? value << amount : value >> amount;
  return { value: wrap(result, isSigned), isSigned };
}
