// The checker: names to fields, C's conversions made explicit, constants folded.
//
//   checkExpr(parseExpr("83-irq+32"), source, formatScope(format))
//     -> { kind: "int", isSigned: true, recordBytesMin: 12, ir: (83 - load s32 at 8) + 32 }
//
// See ir.ts for the arithmetic. An unknown name is an ExprError that lists the names there are.
// Every node is visited once: the time is linear in the length of the expression.

import { similarNames } from "../text/similar.ts";
import type { FormatField } from "../tracefs/format.ts";
import type {
  AssignNode,
  BinaryNode,
  CallNode,
  ExprNode,
  MemberNode,
  SizeofNode,
  UnaryNode,
} from "./ast.ts";
import { plainName } from "./ast_walk.ts";
import { checkBuiltin } from "./builtins.ts";
import type { CType } from "./c_type.ts";
import { checkBinary, checkConditional } from "./check_operators.ts";
import { ExprError } from "./error.ts";
import { foldConstants } from "./fold.ts";
import type { CheckedExpr, IntIr, TextIr } from "./ir.ts";
import { isPure } from "./ir_walk.ts";
import { checkAssign, checkBlock, checkStep, declareLocals, LocalTable } from "./locals.ts";
import {
  arithmetic,
  convert,
  MINUS_ONE,
  ONE,
  offsetPointer,
  operate,
  signedInt,
  ZERO,
} from "./operations.ts";
import type { ExprScope, ExprVariable } from "./scope.ts";
import {
  asText,
  constant,
  constantNumber,
  integerBytes,
  isText,
  smallConstant,
  type Typed,
  type TypedInt,
  type TypedPointer,
} from "./typed.ts";

/** Names listed in the hint for an unknown one. */
const NAMES_LISTED_MAX = 40;

/** Extra meaning for calls: returns undefined for a name that it does not know. */
export type CallHook = (checker: Checker, node: CallNode) => Typed | undefined;

/** Checks a parsed expression. Throws ExprError. */
export function checkExpr(
  node: ExprNode,
  source: string,
  scope: ExprScope,
  callHook?: CallHook,
): CheckedExpr {
  const checker = new Checker(source, scope, callHook);
  declareLocals(checker, node);
  return checker.finish(checker.value(node), node.at);
}

/** Checks the nodes of one expression; use checkExpr() unless parts of a tree are wanted. */
export class Checker {
  readonly source: string;
  readonly scope: ExprScope;
  readonly #callHook: CallHook | undefined;
  /** Fields that are assigned to, and variables of blocks. */
  readonly locals = new LocalTable();
  #recordBytesMin = 0;

  constructor(source: string, scope: ExprScope, callHook?: CallHook) {
    this.source = source;
    this.scope = scope;
    this.#callHook = callHook;
  }

  /** Wraps up: the value with what the whole expression needs. */
  finish(value: Typed, at: number): CheckedExpr {
    const common = { recordBytesMin: this.#recordBytesMin, locals: this.locals.slots };
    if (value.kind === "int") {
      const ir = foldConstants(value.ir);
      return { kind: "int", ir, isSigned: value.isSigned, isPure: isPure(ir), ...common };
    }
    const text = asText(value);
    if (text === undefined) return this.fail("the value is an array: index it", at);
    return { kind: "text", ir: text, ...common };
  }

  /** The typed value of a node. */
  value(node: ExprNode): Typed {
    switch (node.kind) {
      case "number": {
        const charBytes = node.charBytes === undefined ? {} : { charBytes: node.charBytes };
        const ir = constant(node.lo, node.hi);
        return { kind: "int", ir, isSigned: !node.isUnsigned, ...charBytes };
      }
      case "string":
        return { kind: "text", ir: { op: "text", bytes: node.bytes } };
      case "name":
        return this.#bareName(node.name, node.at);
      case "member":
        return this.#member(node);
      case "unary":
        return this.#unary(node);
      case "postfix":
        return checkStep(this, node, true);
      case "binary":
        return checkBinary(this, node);
      case "assign":
        return checkAssign(this, node);
      case "conditional":
        return checkConditional(this, node);
      case "comma":
        return this.#comma(node.left, node.right);
      case "cast":
        return this.#cast(node.type, node.operand);
      case "sizeof":
        return this.#sizeof(node);
      case "call":
        return this.#call(node);
      case "index":
        return this.element(this.value(node.base), this.int(node.index), node.at);
      case "list":
        return this.fail("a list is not a value", node.at);
      case "block":
        return checkBlock(this, node);
    }
  }

  /** The node as an integer; text and arrays are an error. */
  int(node: ExprNode): TypedInt {
    return this.asInt(this.value(node), node.at);
  }

  /** The node as a condition; a place in the record counts as true, as its address would. */
  condition(node: ExprNode): IntIr {
    const value = this.value(node);
    return value.kind === "pointer" ? ONE.ir : this.asInt(value, node.at).ir;
  }

  /** The node as text; numbers are an error. */
  text(node: ExprNode): TextIr {
    return this.asText(this.value(node), node.at);
  }

  /** A value as an integer; `at` is where the error would point. */
  asInt(value: Typed, at: number): TypedInt {
    if (value.kind === "int") return value;
    if (isText(value)) return this.fail("this is text, wanted a number", at);
    return this.fail("this is an array, wanted a number: index it", at);
  }

  /** A value as text; `at` is where the error would point. */
  asText(value: Typed, at: number): TextIr {
    const text = asText(value);
    if (text !== undefined) return text;
    const field = value.kind === "int" ? value.field : undefined;
    if (field?.isPointer !== true) return this.fail("this is a number, wanted text", at);
    return this.fail(
      `"${field.name}" points to memory that the record does not hold, wanted text`,
      at,
    );
  }

  /** Bytes that a record must have for what was checked so far. */
  get recordBytesMin(): number {
    return this.#recordBytesMin;
  }

  /** Notes that the record must reach to `bytes`. */
  needBytes(bytes: number): void {
    this.#recordBytesMin = Math.max(this.#recordBytesMin, bytes);
  }

  /** The value of a field: an integer, or a place for arrays. */
  field(field: FormatField, at: number): Typed {
    if (field.isDynamic) return this.dynamicPointer(field);
    const { elementBytes, isSigned, offsetBytes } = field;
    if (field.isArray) {
      return { kind: "pointer", ir: constantNumber(offsetBytes), elementBytes, isSigned, field };
    }
    const bytes = integerBytes(field.sizeBytes);
    if (bytes === undefined) {
      return this.fail(`"${field.name}" is no number: it is ${field.type}`, at);
    }
    this.needBytes(offsetBytes + bytes);
    const ir: IntIr = { op: "load", offset: offsetBytes, bytes, isSigned };
    return { kind: "int", ir, isSigned: isSigned || bytes < 8, field };
  }

  /** Where the bytes of a dynamic field lie. */
  dynamicPointer(field: FormatField): TypedPointer {
    this.needBytes(field.offsetBytes + field.sizeBytes);
    const { elementBytes, isSigned } = field;
    return { kind: "pointer", ir: { op: "dynamic_offset", field }, elementBytes, isSigned, field };
  }

  /** base[index] */
  element(base: Typed, index: TypedInt, at: number): TypedInt {
    if (base.kind !== "pointer") return this.fail("this is no array: it cannot be indexed", at);
    const bytes = integerBytes(base.elementBytes);
    if (bytes === undefined) return this.fail("the size of the elements is not known", at);
    const isSigned = base.isSigned || bytes < 8;
    const fixed = base.field?.isDynamic === false && base.field.sizeBytes > 0 ? base.field : null;
    const indexIr = foldConstants(index.ir);
    const constantIndex = fixed === null ? undefined : smallConstant(indexIr);
    if (fixed !== null && constantIndex !== undefined) {
      const offset = fixed.offsetBytes + constantIndex * bytes;
      if ((constantIndex + 1) * bytes > fixed.sizeBytes) {
        const count = Math.floor(fixed.sizeBytes / bytes);
        return this.fail(`index ${constantIndex} is outside "${fixed.name}" of ${count}`, at);
      }
      this.needBytes(offset + bytes);
      return { kind: "int", ir: { op: "load", offset, bytes, isSigned: base.isSigned }, isSigned };
    }
    const pointer = offsetPointer(base, indexIr, false).ir;
    return { kind: "int", ir: { op: "deref", pointer, bytes, isSigned: base.isSigned }, isSigned };
  }

  fail(detail: string, at: number, hint = ""): never {
    throw new ExprError(detail, this.source, at, hint);
  }

  #bareName(name: string, at: number): Typed {
    if (this.scope.lookupConstant === undefined || this.locals.has(name)) {
      return this.#name(name, at);
    }
    if (this.scope.lookup(name) !== undefined) return this.#name(name, at);
    const value = this.scope.lookupConstant(name);
    return value === undefined ? this.#unknown(name, at) : signedInt(constant(value.lo, value.hi));
  }

  #name(name: string, at: number): Typed {
    return this.locals.value(name) ?? this.variable(name, at);
  }

  /** The value of a field or of another name that the scope knows. */
  variable(name: string, at: number): Typed {
    const variable = this.scope.lookup(name);
    return variable === undefined ? this.#unknown(name, at) : this.#variableValue(variable, at);
  }

  #variableValue(variable: ExprVariable, at: number): Typed {
    switch (variable.kind) {
      case "field":
        return this.field(variable.field, at);
      case "context":
        return signedInt({ op: "context", slot: variable.slot });
      case "value": {
        const ir: IntIr = { op: "value", index: variable.index };
        return { kind: "int", ir, isSigned: variable.isSigned };
      }
    }
  }

  #unknown(name: string, at: number): never {
    const { names } = this.scope;
    const more = names.length > NAMES_LISTED_MAX ? ", ..." : "";
    const similar = similarNames(clip(name), names);
    const meant = similar.length === 0 ? "" : `did you mean ${similar.join(" or ")}? `;
    const listed = `there are ${names.slice(0, NAMES_LISTED_MAX).join(", ")}${more}`;
    const hint = names.length === 0 ? "" : meant + listed;
    return this.fail(`unknown variable "${clip(name)}"`, at, hint);
  }

  /** REC->field, and nothing else: the record holds no other structures. */
  #member(node: MemberNode): Typed {
    const name = plainName(node);
    if (name !== undefined) return this.#name(name, node.at);
    if (node.name === "function" || node.name === "ustring") {
      return this.fail(`".${node.name}" works only in filters that the kernel runs`, node.at);
    }
    return this.fail("the record holds no structures: only REC->field can be read", node.at);
  }

  #unary(node: UnaryNode): Typed {
    const { operand } = node;
    switch (node.operator) {
      case "+":
        return arithmetic("add", ZERO, this.int(operand));
      case "-":
        return arithmetic("sub", ZERO, this.int(operand));
      case "~":
        return arithmetic("xor", this.int(operand), MINUS_ONE);
      case "!":
        return signedInt({ op: "is_zero", operand: this.condition(operand) });
      case "*":
        return this.element(this.value(operand), ZERO, node.at);
      case "&":
        return this.#addressOf(operand);
      default:
        return checkStep(this, node, false);
    }
  }

  #addressOf(operand: ExprNode): Typed {
    if (operand.kind === "index") {
      const base = this.value(operand.base);
      if (base.kind !== "pointer") return this.fail("this is no array", operand.at);
      return offsetPointer(base, this.int(operand.index).ir, false);
    }
    const value = this.value(operand);
    if (value.kind === "pointer") return value;
    if (value.kind === "int" && value.field !== undefined) {
      const { offsetBytes, sizeBytes, isSigned } = value.field;
      const ir = constantNumber(offsetBytes);
      return { kind: "pointer", ir, elementBytes: sizeBytes, isSigned };
    }
    return this.fail("only a field has an address", operand.at);
  }

  /** Arithmetic and comparison by C's usual conversions. */
  operate(node: BinaryNode | AssignNode, left: TypedInt, right: TypedInt): TypedInt {
    const operator = node.operator ?? "=";
    const result = operate(operator, left, right);
    return result ?? this.fail(`operator "${operator}" does not work on numbers`, node.at);
  }

  #comma(left: ExprNode, right: ExprNode): Typed {
    const first = this.value(left);
    const second = this.value(right);
    if (first.kind !== "int" || second.kind !== "int") return second;
    const ir: IntIr = { op: "sequence", first: first.ir, second: second.ir };
    return { kind: "int", ir, isSigned: second.isSigned };
  }

  #cast(type: CType, operand: ExprNode): Typed {
    const value = this.value(operand);
    if (type.pointers > 0) return castToPointer(value, type);
    if (!type.isKnown) return value;
    if (value.kind === "text") return this.fail("text cannot be cast to a number", operand.at);
    const isSigned = value.kind === "int" && value.isSigned;
    return convert({ kind: "int", ir: value.ir, isSigned }, type.bits, type.isSigned);
  }

  #sizeof(node: SizeofNode): TypedInt {
    let bytes = 8;
    if (node.type !== undefined) {
      if (!node.type.isKnown && node.type.pointers === 0) {
        return this.fail("the size of this type is not known", node.at);
      }
      bytes = node.type.pointers > 0 ? 8 : node.type.bits / 8;
    } else {
      const value = this.value(node.operand!);
      // A field that is assigned to is a copy, of the field's own width.
      const copy = this.locals.find(plainName(node.operand!) ?? "")?.local;
      if (copy !== undefined) bytes = copy.bits / 8;
      else if (value.kind === "text")
        bytes = value.ir.op === "text" ? value.ir.bytes.length + 1 : 8;
      else if (value.field?.isDynamic === false) bytes = value.field.sizeBytes;
    }
    return { kind: "int", ir: constantNumber(bytes), isSigned: false };
  }

  #call(node: CallNode): Typed {
    const value = this.#callHook?.(this, node) ?? checkBuiltin(this, node);
    return value ?? this.fail(`unknown function "${clip(node.name)}"`, node.at);
  }
}

/** A cast to a pointer: it changes what lies at a place in the record, and nothing else. */
function castToPointer(value: Typed, type: CType): Typed {
  if (value.kind === "text") return value;
  if (value.kind === "int") return { ...value, isSigned: false };
  const element = type.pointers > 1 ? { bits: 64, isSigned: false, isKnown: true } : type;
  if (!element.isKnown || element.bits === value.elementBytes * 8) return value;
  const { bits, isSigned } = element;
  return { ...value, elementBytes: bits / 8, isSigned };
}

function clip(name: string): string {
  return name.length > 64 ? `${name.slice(0, 64)}...` : name;
}
