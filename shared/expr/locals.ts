// Assignment: fields that an expression assigns to are copies of its own, as are variables of
// blocks.

import type { AssignNode, BlockNode, ExprNode, PostfixNode, UnaryNode } from "./ast.ts";
import { assignedNodes, plainName } from "./ast_walk.ts";
import type { Checker } from "./check.ts";
import { EVAL_LOCALS_MAX } from "./eval_context.ts";
import type { IntIr, LocalSlot } from "./ir.ts";
import { arithmetic, convert, ONE, ZERO } from "./operations.ts";
import { integerBytes, type Typed, type TypedInt } from "./typed.ts";

/** The locals of one expression, and the names that mean them at the moment. */
export class LocalTable {
  readonly slots: LocalSlot[] = [];
  readonly #slotByName = new Map<string, number>();

  has(name: string): boolean {
    return this.#slotByName.has(name);
  }

  /** The local of this name, or undefined. */
  find(name: string): { readonly slot: number; readonly local: LocalSlot } | undefined {
    const slot = this.#slotByName.get(name);
    return slot === undefined ? undefined : { slot, local: this.slots[slot]! };
  }

  /** The value of the local of this name, or undefined when there is none. */
  value(name: string): TypedInt | undefined {
    const found = this.find(name);
    if (found === undefined) return undefined;
    const { slot, local } = found;
    return { kind: "int", ir: { op: "local", slot }, isSigned: local.isSigned || local.bits < 64 };
  }

  /**
   * A new local; its name means it from here on. Returns the slot, or -1 when there are too many.
   */
  add(local: LocalSlot): number {
    if (this.slots.length >= EVAL_LOCALS_MAX) return -1;
    this.#slotByName.set(local.name, this.slots.length);
    return this.slots.push(local) - 1;
  }

  /** Lets a name mean another slot again, or nothing. */
  restore(name: string, slot: number | undefined): void {
    if (slot === undefined) this.#slotByName.delete(name);
    else this.#slotByName.set(name, slot);
  }
}

/** Every field that is assigned to becomes a local before anything is read. Throws ExprError. */
export function declareLocals(checker: Checker, root: ExprNode): void {
  for (const target of assignedNodes(root)) {
    const name = plainName(target);
    if (name === undefined) {
      checker.fail("only a field can be assigned to, not memory behind a pointer", target.at);
    }
    if (checker.locals.has(name)) continue;
    const value = checker.variable(name, target.at);
    if (value.kind !== "int") {
      checker.fail(`"${name}" is not a number: it cannot be assigned to`, target.at);
    }
    const bits = ((integerBytes(value.field?.sizeBytes ?? 8) ?? 8) * 8) as 8 | 16 | 32 | 64;
    const isSigned = value.field?.isSigned ?? value.isSigned;
    addLocal(checker, { name, initial: value.ir, bits, isSigned }, target.at);
  }
}

function addLocal(checker: Checker, local: LocalSlot, at: number): number {
  const slot = checker.locals.add(local);
  return slot >= 0 ? slot : checker.fail(`more than ${EVAL_LOCALS_MAX} variables`, at);
}

/** target = value, target += value, ... */
export function checkAssign(checker: Checker, node: AssignNode): TypedInt {
  const value = checker.int(node.value);
  if (node.operator === undefined) return store(checker, node.target, value);
  const result = checker.operate(node, checker.int(node.target), value);
  return store(checker, node.target, result);
}

/** ++x, --x, and x++, x-- which give the value before. */
export function checkStep(
  checker: Checker,
  node: UnaryNode | PostfixNode,
  isPostfix: boolean,
): TypedInt {
  const isPlus = node.operator === "++";
  const sum = arithmetic(isPlus ? "add" : "sub", checker.int(node.operand), ONE);
  const after = store(checker, node.operand, sum);
  if (!isPostfix) return after;
  const before = arithmetic(isPlus ? "sub" : "add", after, ONE);
  const { local } = targetOf(checker, node.operand);
  return convert(before, local.bits, local.isSigned);
}

function store(checker: Checker, target: ExprNode, value: TypedInt): TypedInt {
  const { slot, local } = targetOf(checker, target);
  const converted = convert(value, local.bits, local.isSigned);
  return { ...converted, ir: { op: "assign", slot, value: converted.ir } };
}

function targetOf(
  checker: Checker,
  target: ExprNode,
): { readonly slot: number; readonly local: LocalSlot } {
  const found = checker.locals.find(plainName(target) ?? "");
  return found ?? checker.fail("this cannot be assigned to", target.at);
}

/** ({ int x = 1; x + 1; }): variables are seen from their declaration to the end of the block. */
export function checkBlock(checker: Checker, node: BlockNode): Typed {
  const { locals } = checker;
  const shadowed = new Map<string, number | undefined>();
  const assignments: IntIr[] = [];
  for (const { name, type, value } of node.variables) {
    const number = convert(checker.int(value), type.bits, type.isSigned);
    const { bits, isSigned } = type;
    if (!shadowed.has(name)) shadowed.set(name, locals.find(name)?.slot);
    const slot = addLocal(checker, { name, initial: ZERO.ir, bits, isSigned }, node.at);
    assignments.push({ op: "assign", slot, value: number.ir });
  }
  const result = checker.int(node.result);
  for (const [name, slot] of shadowed) locals.restore(name, slot);
  let ir = result.ir;
  for (const first of assignments.reverse()) ir = { op: "sequence", first, second: ir };
  return { kind: "int", ir, isSigned: result.isSigned };
}
