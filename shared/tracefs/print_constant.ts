// Numbers in print formats that do not depend on the record.

import type { ExprNode } from "../expr/ast.ts";
import { foldConstants } from "../expr/fold.ts";
import type { PieceCompiler } from "./print_piece.ts";

/** The value of a constant expression, as signed words. Throws ExprError when it is none. */
export function evaluateConstant(
  compiler: PieceCompiler,
  node: ExprNode,
): { readonly lo: number; readonly hi: number } {
  if (node.kind === "number") return node;
  const { value } = compiler.typed(node);
  const ir = value.kind === "int" ? foldConstants(value.ir) : undefined;
  if (ir?.op !== "const") return compiler.fail("expected a constant", node);
  return { lo: ir.lo, hi: ir.hi };
}
