// Constant folding: what does not depend on the record is computed once.
//
// An operation that C leaves undefined stays as it is, so that it is still counted per record.

import { EvalContext } from "./eval_context.ts";
import { compileIr } from "./evaluate.ts";
import type { IntIr } from "./ir.ts";
import { mapOperands, operandsOf } from "./ir_walk.ts";

const FOLDABLE: ReadonlySet<IntIr["op"]> = new Set<IntIr["op"]>([
  "arithmetic",
  "compare",
  "is_zero",
  "logic",
  "extend",
  "select",
  "elvis",
  "sequence",
  "swap",
]);

/** Nodes that are folded already: parts of an expression are folded before the whole is. */
const FOLDED = new WeakSet<IntIr>();

/** The same value with fewer operations. Linear, however often it is called on the parts. */
export function foldConstants(root: IntIr): IntIr {
  if (FOLDED.has(root)) return root;
  const folded = foldNode(mapOperands(root, foldConstants));
  FOLDED.add(folded);
  return folded;
}

function foldNode(ir: IntIr): IntIr {
  if (FOLDABLE.has(ir.op) && operandsOf(ir).every((operand) => operand.op === "const")) {
    const context = new EvalContext();
    const lo = compileIr(ir)(context);
    return context.undefinedCount > 0 ? ir : { op: "const", lo, hi: context.hi };
  }
  return simplify(ir);
}

/** Choices whose condition is known, and conversions that change nothing. */
function simplify(ir: IntIr): IntIr {
  if (ir.op === "select" && ir.test.op === "const") {
    return (ir.test.lo | ir.test.hi) !== 0 ? ir.yes : ir.no;
  }
  if (ir.op === "extend" && ir.operand.op === "load" && ir.operand.bytes * 8 === ir.bits) {
    // The load extends as well: only how differs.
    return { ...ir.operand, isSigned: ir.isSigned };
  }
  if (ir.op === "arithmetic" && ir.operator === "add") {
    const { left, right } = ir;
    if (left.op === "const" && (left.lo | left.hi) === 0) return right;
    if (right.op === "const" && (right.lo | right.hi) === 0) return left;
    if (left.op === "const") return { ...ir, left: right, right: left };
  }
  return ir;
}
