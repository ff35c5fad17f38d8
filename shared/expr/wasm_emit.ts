// The WASM back end: one typed integer expression as the instructions that leave it on the stack.
//
// WebAssembly's i64 is C's 64-bit integer: it wraps, and has signed and unsigned division, shift
// and comparison. What would trap (division) or means something else (shift counts are masked) is
// guarded, and counted in a global.

import { CONTEXT_CPU, CONTEXT_TASKS, CONTEXT_VCPU, CONTEXT_VM } from "./batch_context.ts";
import type { ArithmeticOperator, CompareOperator, ContextSlot, IntIr } from "./ir.ts";
import { type CodeWriter, I32, I64, OP } from "./wasm_bytes.ts";
import { emitDivision, emitShift, GLOBAL_OUTSIDE, isDivision, isShift } from "./wasm_guards.ts";

/** Locals that the loop around the expression keeps. */
export interface RecordLocals {
  /** i32: index of the record in its batch. */
  readonly index: number;
  /** i32: address of the record, and its size in bytes. */
  readonly base: number;
  readonly rawBytes: number;
  /** i32: address of the context words. */
  readonly context: number;
  /** i64 locals of the fields that the expression assigns to. */
  readonly slots: readonly number[];
  /** Where common_pid lies in a record. */
  readonly commonPidOffset: number;
}

/** Words of the context; pid and tid are in a column of their own. */
const CONTEXT_WORDS: Record<ContextSlot, number> = {
  cpu: CONTEXT_CPU,
  vm: CONTEXT_VM,
  vcpu: CONTEXT_VCPU,
  pid: -1,
  tid: -1,
};

const ARITHMETIC: Record<ArithmeticOperator, number> = {
  add: OP.i64Add,
  sub: OP.i64Sub,
  mul: OP.i64Mul,
  and: OP.i64And,
  or: OP.i64Or,
  xor: OP.i64Xor,
  shl: OP.i64Shl,
  shr_s: OP.i64ShrS,
  shr_u: OP.i64ShrU,
  div_s: OP.i64DivS,
  div_u: OP.i64DivU,
  rem_s: OP.i64RemS,
  rem_u: OP.i64RemU,
};

const COMPARE: Record<CompareOperator, number> = {
  eq: OP.i64Eq,
  ne: OP.i64Ne,
  lt_s: OP.i64LtS,
  lt_u: OP.i64LtU,
  gt_s: OP.i64GtS,
  gt_u: OP.i64GtU,
  le_s: OP.i64LeS,
  le_u: OP.i64LeU,
  ge_s: OP.i64GeS,
  ge_u: OP.i64GeU,
};

/** Emits instructions for expressions into one function. */
export class ExprEmitter {
  readonly #code: CodeWriter;
  readonly #locals: RecordLocals;

  constructor(code: CodeWriter, locals: RecordLocals) {
    this.#code = code;
    this.#locals = locals;
  }

  /** Leaves the value, an i64. Throws TypeError for text and calls, which isPure() excludes. */
  value(ir: IntIr): void {
    const code = this.#code;
    switch (ir.op) {
      case "const":
        code.i64((BigInt(ir.hi) << 32n) | BigInt(ir.lo >>> 0));
        return;
      case "load":
        code.get(this.#locals.base);
        code.memory(loadOpcode(ir.bytes, ir.isSigned), ir.offset);
        return;
      case "deref":
        this.#deref(ir);
        return;
      case "dynamic_offset":
      case "dynamic_length":
        this.#dynamic(ir);
        return;
      case "context":
        this.#context(ir.slot);
        return;
      case "local":
        code.get(this.#locals.slots[ir.slot]!);
        return;
      case "assign":
        this.value(ir.value);
        code.tee(this.#locals.slots[ir.slot]!);
        return;
      case "arithmetic":
        this.#arithmetic(ir);
        return;
      case "compare":
      case "is_zero":
      case "logic":
        this.condition(ir);
        code.emit(OP.i64ExtendI32U);
        return;
      case "extend":
        this.#extend(ir);
        return;
      case "swap":
        this.#swap(ir);
        return;
      case "select":
        this.condition(ir.test);
        this.#code.ifElse(
          () => this.value(ir.yes),
          () => this.value(ir.no),
        );
        return;
      case "elvis":
        this.#elvis(ir);
        return;
      case "sequence":
        this.value(ir.first);
        code.emit(OP.drop);
        this.value(ir.second);
        return;
      default:
        throw new TypeError(`Cannot compile an expression to WASM: it has a "${ir.op}"`);
    }
  }

  /** Leaves an i32: 1 when the value is not zero, else 0 (each branch ends in a comparison). */
  condition(ir: IntIr): void {
    const code = this.#code;
    switch (ir.op) {
      case "compare":
        this.value(ir.left);
        this.value(ir.right);
        code.emit(COMPARE[ir.operator]);
        return;
      case "is_zero":
        this.condition(ir.operand);
        code.emit(OP.i32Eqz);
        return;
      case "logic":
        this.condition(ir.left);
        code.emit(OP.if, I32);
        if (ir.isAnd) this.condition(ir.right);
        else code.i32(1);
        code.emit(OP.else);
        if (ir.isAnd) code.i32(0);
        else this.condition(ir.right);
        code.emit(OP.end);
        return;
      default:
        this.value(ir);
        code.i64(0n);
        code.emit(OP.i64Ne);
    }
  }

  #deref(ir: Extract<IntIr, { op: "deref" }>): void {
    const code = this.#code;
    const pointer = code.local(I64);
    this.value(ir.pointer);
    code.tee(pointer);
    code.i64(0x7fffffffn);
    code.emit(OP.i64LeU);
    code.get(pointer);
    code.i64(BigInt(ir.bytes));
    code.emit(OP.i64Add);
    code.get(this.#locals.rawBytes);
    code.emit(OP.i64ExtendI32U, OP.i64LeU, OP.i32And);
    this.#code.ifElse(
      () => {
        code.get(pointer);
        code.emit(OP.i32WrapI64);
        code.get(this.#locals.base);
        code.emit(OP.i32Add);
        code.memory(loadOpcode(ir.bytes, ir.isSigned), 0);
      },
      () => {
        code.count(GLOBAL_OUTSIDE);
        code.i64(0n);
      },
    );
  }

  #dynamic(ir: Extract<IntIr, { op: "dynamic_offset" | "dynamic_length" }>): void {
    const code = this.#code;
    const { offsetBytes, sizeBytes, isRelative } = ir.field;
    const base = BigInt(isRelative ? offsetBytes + sizeBytes : 0);
    const isOffset = ir.op === "dynamic_offset";
    if (isOffset || sizeBytes !== 2) {
      code.get(this.#locals.base);
      code.memory(OP.i64Load16U, isOffset ? offsetBytes : offsetBytes + 2);
      if (isOffset && base > 0n) {
        code.i64(base);
        code.emit(OP.i64Add);
      }
      return;
    }
    // An old location has no length: it takes the rest of the record, if any.
    const length = code.local(I64);
    code.get(this.#locals.rawBytes);
    code.emit(OP.i64ExtendI32U);
    code.get(this.#locals.base);
    code.memory(OP.i64Load16U, offsetBytes);
    code.i64(base);
    code.emit(OP.i64Add, OP.i64Sub);
    code.tee(length);
    code.i64(0n);
    code.get(length);
    code.i64(0n);
    code.emit(OP.i64GtS, OP.select);
  }

  #context(slot: ContextSlot): void {
    const code = this.#code;
    const word = CONTEXT_WORDS[slot];
    if (word >= 0) {
      code.get(this.#locals.context);
      code.memory(OP.i64Load32S, word * 4);
      return;
    }
    const tasks = code.local(I32);
    code.get(this.#locals.context);
    code.memory(OP.i32Load, CONTEXT_TASKS * 4);
    code.tee(tasks);
    this.#code.ifElse(
      () => {
        code.get(tasks);
        code.get(this.#locals.index);
        code.i32(3);
        code.emit(OP.i32Shl, OP.i32Add);
        code.memory(OP.i64Load32S, slot === "pid" ? 0 : 4);
      },
      () => {
        code.get(this.#locals.base);
        code.memory(OP.i64Load32S, this.#locals.commonPidOffset);
      },
    );
  }

  #arithmetic(ir: Extract<IntIr, { op: "arithmetic" }>): void {
    const opcode = ARITHMETIC[ir.operator];
    if (isDivision(ir.operator)) emitDivision(this.#code, this, ir, opcode);
    else if (isShift(ir.operator)) emitShift(this.#code, this, ir, opcode);
    else {
      this.value(ir.left);
      this.value(ir.right);
      this.#code.emit(opcode);
    }
  }

  #extend(ir: Extract<IntIr, { op: "extend" }>): void {
    const code = this.#code;
    this.value(ir.operand);
    if (ir.isSigned) {
      code.emit({ 8: OP.i64Extend8S, 16: OP.i64Extend16S, 32: OP.i64Extend32S }[ir.bits]);
      return;
    }
    code.i64((1n << BigInt(ir.bits)) - 1n);
    code.emit(OP.i64And);
  }

  /** Byte by byte: ((x >> from) & 0xff) << to, all or-ed together. */
  #swap(ir: Extract<IntIr, { op: "swap" }>): void {
    const code = this.#code;
    const value = code.local(I64);
    this.value(ir.operand);
    code.set(value);
    for (let from = 0; from < ir.bits; from += 8) {
      code.get(value);
      code.i64(BigInt(from));
      code.emit(OP.i64ShrU);
      code.i64(0xffn);
      code.emit(OP.i64And);
      code.i64(BigInt(ir.bits - 8 - from));
      code.emit(OP.i64Shl);
      if (from > 0) code.emit(OP.i64Or);
    }
  }

  #elvis(ir: Extract<IntIr, { op: "elvis" }>): void {
    const code = this.#code;
    const value = code.local(I64);
    this.value(ir.test);
    code.tee(value);
    code.i64(0n);
    code.emit(OP.i64Ne);
    this.#code.ifElse(
      () => code.get(value),
      () => this.value(ir.no),
    );
  }
}

function loadOpcode(bytes: number, isSigned: boolean): number {
  switch (bytes) {
    case 1:
      return isSigned ? OP.i64Load8S : OP.i64Load8U;
    case 2:
      return isSigned ? OP.i64Load16S : OP.i64Load16U;
    case 4:
      return isSigned ? OP.i64Load32S : OP.i64Load32U;
    default:
      return OP.i64Load;
  }
}
