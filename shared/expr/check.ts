// The checker: names to fields, C's conversions made explicit, constants folded.
//
//   checkExpr(parseExpr("83-irq+32"), source, formatScope(format))
//     -> { kind: "int", isSigned: true, recordBytesMin: 12, ir: (83 - load s32 at 8) + 32 }
//
// See ir.ts for the arithmetic. An unknown name is an ExprError that lists the names there are.
// Every node is visited once: the time is linear in the length of the expression.

import type { FormatField } from "../tracefs/format.ts";
import type {
  AssignNode,
  BinaryNode,
  BlockNode,
  CallNode,
  ConditionalNode,
  ExprNode,
  MemberNode,
  PostfixNode,
  SizeofNode,
  UnaryNode,
} from "./ast.ts";
import { assignedNodes, plainName } from "./ast_walk.ts";
import { checkBuiltin } from "./builtins.ts";
import type { CType } from "./c_type.ts";
import { ExprError } from "./error.ts";
import { EVAL_LOCALS_MAX } from "./eval_context.ts";
import { foldConstants } from "./fold.ts";
import type { CheckedExpr, IntIr, LocalSlot, TextIr } from "./ir.ts";
import { isPure } from "./ir_walk.ts";
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
  checker.declareLocals(node);
  return checker.finish(checker.value(node), node.at);
}

/** Checks the nodes of one expression; use checkExpr() unless parts of a tree are wanted. */
export class Checker {
  readonly source: string;
  readonly scope: ExprScope;
  readonly #callHook: CallHook | undefined;
  readonly #localByName = new Map<string, number>();
  readonly #locals: LocalSlot[] = [];
  #recordBytesMin = 0;

  constructor(source: string, scope: ExprScope, callHook?: CallHook) {
    this.source = source;
    this.scope = scope;
    this.#callHook = callHook;
  }

  /** Wraps up: the value with what the whole expression needs. */
  finish(value: Typed, at: number): CheckedExpr {
    const common = { recordBytesMin: this.#recordBytesMin, locals: this.#locals };
    if (value.kind === "int") {
      const ir = foldConstants(value.ir);
      return { kind: "int", ir, isSigned: value.isSigned, isPure: isPure(ir), ...common };
    }
    const text = asText(value);
    if (text === undefined) return this.fail("the value is an array: index it", at);
    return { kind: "text", ir: text, ...common };
  }

  /** Every field that is assigned to becomes a local before anything is read. */
  declareLocals(node: ExprNode): void {
    for (const target of assignedNodes(node)) {
      const name = plainName(target);
      if (name === undefined) {
        this.fail("only a field can be assigned to, not memory behind a pointer", target.at);
      }
      if (this.#localByName.has(name)) continue;
      const value = this.#variable(name, target.at);
      if (value.kind !== "int") {
        this.fail(`"${name}" is not a number: it cannot be assigned to`, target.at);
      }
      const bits = ((integerBytes(value.field?.sizeBytes ?? 8) ?? 8) * 8) as 8 | 16 | 32 | 64;
      const isSigned = value.field?.isSigned ?? value.isSigned;
      this.#localByName.set(name, this.#locals.length);
      this.#addLocal({ name, initial: value.ir, bits, isSigned }, target.at);
    }
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
        return this.#step(node, true);
      case "binary":
        return this.#binary(node);
      case "assign":
        return this.#assign(node);
      case "conditional":
        return this.#conditional(node);
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
        return this.#block(node);
    }
  }

  /** The node as an integer; text and arrays are an error. */
  int(node: ExprNode): TypedInt {
    return this.#asInt(this.value(node), node.at);
  }

  /** The node as a condition; a place in the record counts as true, as its address would. */
  condition(node: ExprNode): IntIr {
    const value = this.value(node);
    return value.kind === "pointer" ? ONE.ir : this.#asInt(value, node.at).ir;
  }

  /** The node as text; numbers are an error. */
  text(node: ExprNode): TextIr {
    return this.#asText(this.value(node), node.at);
  }

  #asInt(value: Typed, at: number): TypedInt {
    if (value.kind === "int") return value;
    if (isText(value)) return this.fail("this is text, wanted a number", at);
    return this.fail("this is an array, wanted a number: index it", at);
  }

  #asText(value: Typed, at: number): TextIr {
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
    const constantIndex = fixed === null ? undefined : smallConstant(foldConstants(index.ir));
    if (fixed !== null && constantIndex !== undefined) {
      const offset = fixed.offsetBytes + constantIndex * bytes;
      if ((constantIndex + 1) * bytes > fixed.sizeBytes) {
        const count = Math.floor(fixed.sizeBytes / bytes);
        return this.fail(`index ${constantIndex} is outside "${fixed.name}" of ${count}`, at);
      }
      this.needBytes(offset + bytes);
      return { kind: "int", ir: { op: "load", offset, bytes, isSigned: base.isSigned }, isSigned };
    }
    const pointer = offsetPointer(base, index.ir, false).ir;
    return { kind: "int", ir: { op: "deref", pointer, bytes, isSigned: base.isSigned }, isSigned };
  }

  fail(detail: string, at: number, hint = ""): never {
    throw new ExprError(detail, this.source, at, hint);
  }

  #bareName(name: string, at: number): Typed {
    if (this.scope.lookupConstant === undefined || this.#localByName.has(name)) {
      return this.#name(name, at);
    }
    if (this.scope.lookup(name) !== undefined) return this.#name(name, at);
    const value = this.scope.lookupConstant(name);
    return value === undefined ? this.#unknown(name, at) : signedInt(constant(value.lo, value.hi));
  }

  #name(name: string, at: number): Typed {
    const slot = this.#localByName.get(name);
    if (slot === undefined) return this.#variable(name, at);
    const local = this.#locals[slot]!;
    return { kind: "int", ir: { op: "local", slot }, isSigned: local.isSigned || local.bits < 64 };
  }

  #variable(name: string, at: number): Typed {
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
    const hint =
      names.length === 0 ? "" : `there are ${names.slice(0, NAMES_LISTED_MAX).join(", ")}${more}`;
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
        return this.#step(node, false);
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

  /** ++x, --x, and x++, x-- which give the value before. */
  #step(node: UnaryNode | PostfixNode, isPostfix: boolean): TypedInt {
    const isPlus = node.operator === "++";
    const sum = arithmetic(isPlus ? "add" : "sub", this.int(node.operand), ONE);
    const after = this.#store(node.operand, sum);
    if (!isPostfix) return after;
    const before = arithmetic(isPlus ? "sub" : "add", after, ONE);
    const local = this.#localOf(node.operand);
    return convert(before, local.bits, local.isSigned);
  }

  #assign(node: AssignNode): TypedInt {
    const value = this.int(node.value);
    if (node.operator === undefined) return this.#store(node.target, value);
    return this.#store(node.target, this.#operate(node, this.int(node.target), value));
  }

  #store(target: ExprNode, value: TypedInt): TypedInt {
    const local = this.#localOf(target);
    const converted = convert(value, local.bits, local.isSigned);
    const slot = this.#locals.indexOf(local);
    return { ...converted, ir: { op: "assign", slot, value: converted.ir } };
  }

  #localOf(target: ExprNode): LocalSlot {
    return this.#locals[this.#localByName.get(plainName(target)!)!]!;
  }

  #binary(node: BinaryNode): Typed {
    const { operator } = node;
    if (operator === "&&" || operator === "||") {
      const left = this.condition(node.left);
      const right = this.condition(node.right);
      return signedInt({ op: "logic", isAnd: operator === "&&", left, right });
    }
    const [left, right] = this.#operands(node);
    if (operator === "~") {
      const text = this.#asText(left, node.left.at);
      const pattern = this.#asText(right, node.right.at);
      return signedInt({ op: "text_glob", text, pattern });
    }
    const isEquality = operator === "==" || operator === "!=";
    if (isEquality && (isText(left) || isText(right))) {
      const leftText = this.#asText(left, node.left.at);
      const rightText = this.#asText(right, node.right.at);
      const isEqual = operator === "==";
      return signedInt({ op: "text_equal", isEqual, left: leftText, right: rightText });
    }
    if (operator === "+" || operator === "-") {
      if (left.kind === "pointer" && right.kind === "int") {
        return offsetPointer(left, right.ir, operator === "-");
      }
      if (right.kind === "pointer" && left.kind === "int" && operator === "+") {
        return offsetPointer(right, left.ir, false);
      }
    }
    return this.#operate(node, this.#asInt(left, node.left.at), this.#asInt(right, node.right.at));
  }

  /** Both values; a bare word beside text is text, as in the kernel's filters: comm == bash. */
  #operands(node: BinaryNode): [Typed, Typed] {
    if (this.#isUnknownName(node.left)) {
      // Of two unknown words neither is text: the first is the error.
      if (this.#isUnknownName(node.right)) return [this.value(node.left), this.value(node.right)];
      const right = this.value(node.right);
      return [isText(right) ? wordText(node.left) : this.value(node.left), right];
    }
    const left = this.value(node.left);
    const isWord = isText(left) && this.#isUnknownName(node.right);
    return [left, isWord ? wordText(node.right) : this.value(node.right)];
  }

  #isUnknownName(node: ExprNode): node is Extract<ExprNode, { kind: "name" }> {
    return node.kind === "name" && this.scope.lookup(node.name) === undefined;
  }

  #operate(node: BinaryNode | AssignNode, left: TypedInt, right: TypedInt): TypedInt {
    const operator = node.operator ?? "=";
    const result = operate(operator, left, right);
    return result ?? this.fail(`operator "${operator}" does not work on numbers`, node.at);
  }

  #conditional(node: ConditionalNode): Typed {
    if (node.yes === undefined) {
      const test = this.int(node.test);
      const no = this.int(node.no);
      const ir: IntIr = { op: "elvis", test: test.ir, no: no.ir };
      return { kind: "int", ir, isSigned: test.isSigned && no.isSigned };
    }
    const test = this.condition(node.test);
    const yes = this.value(node.yes);
    const no = this.value(node.no);
    if (yes.kind === "int" && no.kind === "int") {
      const ir: IntIr = { op: "select", test, yes: yes.ir, no: no.ir };
      return { kind: "int", ir, isSigned: yes.isSigned && no.isSigned };
    }
    const yesText = this.#asText(yes, node.yes.at);
    const noText = this.#asText(no, node.no.at);
    return { kind: "text", ir: { op: "select_text", test, yes: yesText, no: noText } };
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
      if (value.kind === "text") bytes = value.ir.op === "text" ? value.ir.bytes.length + 1 : 8;
      else if (value.field?.isDynamic === false) bytes = value.field.sizeBytes;
    }
    return { kind: "int", ir: constantNumber(bytes), isSigned: false };
  }

  /** Its variables are locals, each seen from its declaration to the end of the block. */
  #block(node: BlockNode): Typed {
    const shadowed = new Map<string, number | undefined>();
    const assignments: IntIr[] = [];
    for (const { name, type, value } of node.variables) {
      const number = convert(this.int(value), type.bits, type.isSigned);
      const slot = this.#locals.length;
      const { bits, isSigned } = type;
      this.#addLocal({ name, initial: ZERO.ir, bits, isSigned }, node.at);
      if (!shadowed.has(name)) shadowed.set(name, this.#localByName.get(name));
      this.#localByName.set(name, slot);
      assignments.push({ op: "assign", slot, value: number.ir });
    }
    const result = this.int(node.result);
    for (const [name, slot] of shadowed) {
      if (slot === undefined) this.#localByName.delete(name);
      else this.#localByName.set(name, slot);
    }
    let ir = result.ir;
    for (const first of assignments.reverse()) ir = { op: "sequence", first, second: ir };
    return { kind: "int", ir, isSigned: result.isSigned };
  }

  #addLocal(local: LocalSlot, at: number): void {
    if (this.#locals.length >= EVAL_LOCALS_MAX) this.fail("too many variables", at);
    this.#locals.push(local);
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

function wordText(node: Extract<ExprNode, { kind: "name" }>): Typed {
  return { kind: "text", ir: { op: "text", bytes: new TextEncoder().encode(node.name) } };
}

function clip(name: string): string {
  return name.length > 64 ? `${name.slice(0, 64)}...` : name;
}
