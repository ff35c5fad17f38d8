// Operations that WebAssembly would trap on, or means differently than ir.ts says: guarded, with
// what the guards catch counted in a global.

import type { ArithmeticOperator, IntIr } from "./ir.ts";
import { type CodeWriter, I64, OP } from "./wasm_bytes.ts";

/** Globals of the module. */
export const GLOBAL_SKIPPED = 0;
export const GLOBAL_UNDEFINED = 1;
export const GLOBAL_OUTSIDE = 2;
export const GLOBAL_REJECTED = 3;

const INT64_MIN = -(1n << 63n);

type ArithmeticIr = Extract<IntIr, { op: "arithmetic" }>;

/** Emits operands; ExprEmitter is one. */
export interface OperandEmitter {
  /** Leaves the value, an i64. */
  value(ir: IntIr): void;
}

export function isDivision(operator: ArithmeticOperator): boolean {
  return (
    operator === "div_s" || operator === "div_u" || operator === "rem_s" || operator === "rem_u"
  );
}

export function isShift(operator: ArithmeticOperator): boolean {
  return operator === "shl" || operator === "shr_s" || operator === "shr_u";
}

/** Counts of 64 and more move all bits out. */
export function emitShift(
  code: CodeWriter,
  emitter: OperandEmitter,
  ir: ArithmeticIr,
  opcode: number,
): void {
  const { left, right } = ir;
  if (right.op === "const" && right.hi === 0 && right.lo >= 0 && right.lo < 64) {
    emitter.value(left);
    emitter.value(right);
    code.emit(opcode);
    return;
  }
  const value = code.local(I64);
  const amount = code.local(I64);
  emitter.value(left);
  code.set(value);
  emitter.value(right);
  code.tee(amount);
  code.i64(63n);
  code.emit(OP.i64LeU);
  code.ifElse(
    () => {
      code.get(value);
      code.get(amount);
      code.emit(opcode);
    },
    () => {
      code.count(GLOBAL_UNDEFINED);
      if (ir.operator !== "shr_s") {
        code.i64(0n);
        return;
      }
      code.get(value);
      code.i64(63n);
      code.emit(OP.i64ShrS);
    },
  );
}

/** Division by zero gives 0. */
export function emitDivision(
  code: CodeWriter,
  emitter: OperandEmitter,
  ir: ArithmeticIr,
  opcode: number,
): void {
  const { left, right } = ir;
  const isSigned = ir.operator === "div_s" || ir.operator === "rem_s";
  if (right.op === "const" && isPlainDivisor(right.lo, right.hi)) {
    emitter.value(left);
    emitter.value(right);
    code.emit(opcode);
    return;
  }
  const dividend = code.local(I64);
  const divisor = code.local(I64);
  emitter.value(left);
  code.set(dividend);
  emitter.value(right);
  code.tee(divisor);
  code.emit(OP.i64Eqz);
  code.ifElse(
    () => {
      code.count(GLOBAL_UNDEFINED);
      code.i64(0n);
    },
    () => {
      if (isSigned) emitSignedDivision(code, ir.operator === "div_s", dividend, divisor, opcode);
      else {
        code.get(dividend);
        code.get(divisor);
        code.emit(opcode);
      }
    },
  );
}

/** INT64_MIN / -1 traps in WASM; the remainder does not, but counts as well. */
function emitSignedDivision(
  code: CodeWriter,
  isQuotient: boolean,
  dividend: number,
  divisor: number,
  opcode: number,
): void {
  code.get(dividend);
  code.i64(INT64_MIN);
  code.emit(OP.i64Eq);
  code.get(divisor);
  code.i64(-1n);
  code.emit(OP.i64Eq, OP.i32And);
  code.ifElse(
    () => {
      code.count(GLOBAL_UNDEFINED);
      code.i64(isQuotient ? INT64_MIN : 0n);
    },
    () => {
      code.get(dividend);
      code.get(divisor);
      code.emit(opcode);
    },
  );
}

/** Neither 0 nor -1. */
function isPlainDivisor(lo: number, hi: number): boolean {
  return (lo | hi) !== 0 && !(lo === -1 && hi === -1);
}
