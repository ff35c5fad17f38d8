// Questions about a typed expression.

import type { ContextSlot, IntIr, TextIr } from "./ir.ts";

/**
 * The integer operands of a node. Text operands hold no integers that matter to these questions.
 */
export function operandsOf(ir: IntIr): readonly IntIr[] {
  switch (ir.op) {
    case "deref":
      return [ir.pointer];
    case "assign":
      return [ir.value];
    case "arithmetic":
    case "compare":
    case "logic":
      return [ir.left, ir.right];
    case "is_zero":
    case "extend":
    case "swap":
      return [ir.operand];
    case "select":
      return [ir.test, ir.yes, ir.no];
    case "elvis":
      return [ir.test, ir.no];
    case "sequence":
      return [ir.first, ir.second];
    default:
      return [];
  }
}

/** Whether the WASM back end can run it: integers only, no text and no calls. */
export function isPure(ir: IntIr): boolean {
  switch (ir.op) {
    case "text_equal":
    case "text_glob":
    case "text_compare":
    case "call":
    case "value":
      return false;
    default:
      return operandsOf(ir).every(isPure);
  }
}

/** Whether an expression of integers reads one of these variables (_cpu, _vcpu, ...). */
export function usesContext(ir: IntIr, slots: readonly ContextSlot[]): boolean {
  if (ir.op === "context") return slots.includes(ir.slot);
  return operandsOf(ir).some((operand) => usesContext(operand, slots));
}

/** The same node with its integer operands replaced, for rewriting from below. */
export function mapOperands(ir: IntIr, map: (operand: IntIr) => IntIr): IntIr {
  switch (ir.op) {
    case "deref":
      return { ...ir, pointer: map(ir.pointer) };
    case "assign":
      return { ...ir, value: map(ir.value) };
    case "arithmetic":
    case "compare":
    case "logic":
      return { ...ir, left: map(ir.left), right: map(ir.right) };
    case "is_zero":
    case "extend":
    case "swap":
      return { ...ir, operand: map(ir.operand) };
    case "select":
      return { ...ir, test: map(ir.test), yes: map(ir.yes), no: map(ir.no) };
    case "elvis":
      return { ...ir, test: map(ir.test), no: map(ir.no) };
    case "sequence":
      return { ...ir, first: map(ir.first), second: map(ir.second) };
    case "text_equal":
      return { ...ir, left: mapText(ir.left, map), right: mapText(ir.right, map) };
    case "text_glob":
      return { ...ir, text: mapText(ir.text, map), pattern: mapText(ir.pattern, map) };
    case "text_compare":
      return {
        ...ir,
        left: mapText(ir.left, map),
        right: mapText(ir.right, map),
        bytesMax: map(ir.bytesMax),
      };
    default:
      return ir;
  }
}

function mapText(ir: TextIr, map: (operand: IntIr) => IntIr): TextIr {
  switch (ir.op) {
    case "pointer_text":
      return { ...ir, pointer: map(ir.pointer) };
    case "select_text":
      return { ...ir, test: map(ir.test), yes: mapText(ir.yes, map), no: mapText(ir.no, map) };
    default:
      return ir;
  }
}
