// Bytes of the record that functions print: where they begin and how many there are.

import type { ExprNode } from "../expr/ast.ts";
import type { EvalContext } from "../expr/eval_context.ts";
import { compileIr } from "../expr/evaluate.ts";
import { foldConstants } from "../expr/fold.ts";
import type { FormatField } from "./format.ts";
import type { PieceCompiler } from "./print_piece.ts";

/** Bytes of a record, found anew for each one. */
export interface Place {
  /** The field that they are, undefined for a computed place. */
  readonly field: FormatField | undefined;
  /** Bytes that the place has by its declaration: 0 when only the record tells. */
  readonly sizeBytes: number;
  /**
   * Sets context.textBytes[textFrom .. textTo) to them, cut at the end of the record; false, and an
   * empty range, when they begin outside of it.
   */
  find(context: EvalContext): boolean;
}

/**
 * The place that a node names: a field, a dynamic array, or a pointer into one. Throws ExprError.
 */
export function placeOf(compiler: PieceCompiler, node: ExprNode): Place {
  if (node.kind === "cast") return placeOf(compiler, node.operand);
  const { value } = compiler.typed(node);
  if (value.kind === "text") return compiler.fail("expected a field", node);
  const { field } = value;
  if (field !== undefined) return fieldPlace(field);
  if (value.kind === "int") return compiler.fail("expected a field", node);
  const pointer = compileIr(foldConstants(value.ir));
  return {
    field: undefined,
    sizeBytes: 0,
    find(c) {
      const offset = pointer(c);
      return setRange(c, c.hi === 0 ? offset : -1, c.rawBytes);
    },
  };
}

/** The bytes of a field: of a dynamic one those that the record points at. */
export function fieldPlace(field: FormatField): Place {
  const { offsetBytes, sizeBytes, isDynamic, isRelative } = field;
  if (!isDynamic) {
    return {
      field,
      sizeBytes,
      find: (c) => setRange(c, offsetBytes, sizeBytes === 0 ? c.rawBytes : sizeBytes),
    };
  }
  const base = isRelative ? offsetBytes + sizeBytes : 0;
  const isOld = sizeBytes === 2;
  return {
    field,
    sizeBytes: 0,
    find(c) {
      if (offsetBytes + sizeBytes > c.rawBytes) return setRange(c, -1, 0);
      const at = c.rawOffset + offsetBytes;
      const offset = base + c.view.getUint16(at, true);
      return setRange(c, offset, isOld ? c.rawBytes : c.view.getUint16(at + 2, true));
    },
  };
}

function setRange(c: EvalContext, offset: number, lengthMax: number): boolean {
  c.textBytes = c.bytes;
  if (offset < 0 || offset > c.rawBytes) {
    c.outsideCount++;
    c.textFrom = 0;
    c.textTo = 0;
    return false;
  }
  c.textFrom = c.rawOffset + offset;
  c.textTo = c.textFrom + Math.min(lengthMax, c.rawBytes - offset);
  return true;
}
