// __print_flags(value, "|", { 1, "S" }, ...) and __print_symbolic(value, { 0, "Fixed" }, ...).

import type { CallNode, ExprNode } from "../expr/ast.ts";
import type { EvalContext } from "../expr/eval_context.ts";
import type { IntIr } from "../expr/ir.ts";
import { type ByteWriter, safeBytes } from "../text/byte_writer.ts";
import { evaluateConstant } from "./print_constant.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";
import { constantValue } from "./print_scope.ts";

/** The lists of one format, as columns. */
interface ValueList {
  readonly lo: Int32Array;
  readonly hi: Int32Array;
  readonly names: readonly Uint8Array[];
}

/** Every flag whose bits are all set, then the rest in hexadecimal. Throws ExprError. */
export function flagsPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [valueNode, delimiterNode, ...rest] = node.args;
  if (valueNode === undefined || delimiterNode === undefined) {
    return compiler.fail("__print_flags() wants a value and a delimiter", node);
  }
  const { evaluate, ir } = compiler.number(valueNode);
  const restMask = unknownMask(ir);
  const delimiter = safeBytes(stringBytes(compiler, delimiterNode));
  const { lo, hi, names } = readList(compiler, rest);
  return (c: EvalContext, out: ByteWriter) => {
    let valueLo = evaluate(c);
    let valueHi = c.hi;
    let isFirst = true;
    for (let i = 0; i < names.length; i++) {
      const maskLo = lo[i]!;
      const maskHi = hi[i]!;
      if ((valueLo & maskLo) !== maskLo || (valueHi & maskHi) !== maskHi) continue;
      if ((maskLo | maskHi) === 0) continue;
      if (!isFirst) out.raw(delimiter);
      isFirst = false;
      out.raw(names[i]!);
      valueLo &= ~maskLo;
      valueHi &= ~maskHi;
    }
    if ((valueLo | valueHi) === 0) return;
    if (!isFirst) out.raw(delimiter);
    out.ascii("0x");
    out.hex64(valueLo & restMask.lo, valueHi & restMask.hi);
  };
}

/** Lists longer than this are searched through a map. */
const LINEAR_MAX = 8;

/** The name of the first equal value, or the value in hexadecimal. Throws ExprError. */
export function symbolicPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const [valueNode, ...rest] = node.args;
  if (valueNode === undefined) return compiler.fail("__print_symbolic() wants a value", node);
  const { evaluate, ir } = compiler.number(valueNode);
  const unknown = unknownMask(ir);
  const { lo, hi, names } = readList(compiler, rest);
  const firstByLow = new Map<number, number>();
  if (names.length > LINEAR_MAX) {
    for (let i = names.length - 1; i >= 0; i--) firstByLow.set(lo[i]!, i);
  }
  return (c: EvalContext, out: ByteWriter) => {
    const valueLo = evaluate(c);
    const valueHi = c.hi;
    const start = names.length > LINEAR_MAX ? (firstByLow.get(valueLo) ?? names.length) : 0;
    for (let i = start; i < names.length; i++) {
      if (lo[i] === valueLo && hi[i] === valueHi) {
        out.raw(names[i]!);
        return;
      }
    }
    out.ascii("0x");
    out.hex64(valueLo & unknown.lo, valueHi & unknown.hi);
  };
}

/**
 * A field without a name in the list is shown with the digits of its own width, as libtraceevent
 * does: an int of -5 as 0xfffffffb.
 */
function unknownMask(ir: IntIr): { readonly lo: number; readonly hi: number } {
  if (ir.op !== "load" || ir.bytes === 8) return { lo: -1, hi: -1 };
  return { lo: ir.bytes === 4 ? -1 : (1 << (ir.bytes * 8)) - 1, hi: 0 };
}

/**
 * The `{ value, "name" }` items. One whose value is the name of an unknown constant is left out: it
 * cannot match (the compiler notes the name).
 */
function readList(compiler: PieceCompiler, nodes: readonly ExprNode[]): ValueList {
  const lo: number[] = [];
  const hi: number[] = [];
  const names: Uint8Array[] = [];
  for (const node of nodes) {
    // The kernel's lists end with an empty item, or with one whose name is a null pointer.
    if (node.kind === "list" && (node.items.length === 0 || isNull(node.items[1]))) break;
    if (node.kind !== "list" || node.items.length !== 2) {
      return compiler.fail('expected { value, "name" }', node);
    }
    const [valueNode, nameNode] = node.items as [ExprNode, ExprNode];
    const name = safeBytes(stringBytes(compiler, nameNode));
    if (isUnresolved(compiler, valueNode)) continue;
    const value = evaluateConstant(compiler, valueNode);
    lo.push(value.lo);
    hi.push(value.hi);
    names.push(name);
  }
  return { lo: Int32Array.from(lo), hi: Int32Array.from(hi), names };
}

function isUnresolved(compiler: PieceCompiler, node: ExprNode): boolean {
  if (node.kind === "cast") return isUnresolved(compiler, node.operand);
  if (node.kind !== "name" || constantValue(node.name, compiler.options) !== undefined)
    return false;
  compiler.unresolved.add(node.name);
  return true;
}

/** 0, NULL or a cast of them. */
function isNull(node: ExprNode | undefined): boolean {
  if (node?.kind === "cast") return isNull(node.operand);
  if (node?.kind === "number") return (node.lo | node.hi) === 0 && node.charBytes === undefined;
  return node?.kind === "name" && node.name === "NULL";
}

function stringBytes(compiler: PieceCompiler, node: ExprNode): Uint8Array {
  if (node.kind === "string") return node.bytes;
  if (node.kind === "number" && node.charBytes !== undefined) return node.charBytes;
  return compiler.fail("expected a string", node);
}
