// %s: text from the record, literals, and the kernel's __print_ functions.

import type { CallNode, ExprNode } from "../expr/ast.ts";
import type { EvalContext } from "../expr/eval_context.ts";
import type { IntEval, TextEval } from "../expr/evaluate.ts";
import { compileFieldText } from "../expr/evaluate_text.ts";
import { asText } from "../expr/typed.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { Conversion } from "../text/printf.ts";
import { arrayPiece, dynamicArrayPiece, hexPiece, maskPiece } from "./print_array.ts";
import { helperPiece, isHelper } from "./print_helper.ts";
import { hexDumpPiece } from "./print_hex_dump.ts";
import { flagsPiece, symbolicPiece } from "./print_list.ts";
import { readSize } from "./print_number.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";

/** Room for one padded text before padding is given up (see ByteWriter.padFrom). */
const PADDED_BYTES_MAX = 4096;

/** What a %s prints: text that lies somewhere as bytes, or something that has to be made. */
type TextSource =
  | { readonly kind: "text"; readonly evaluate: TextEval }
  | { readonly kind: "piece"; readonly piece: PrintPiece };

/** An argument printed by a %s conversion. Throws ExprError. */
export function textPiece(
  compiler: PieceCompiler,
  conversion: Conversion,
  node: ExprNode,
  width: IntEval | undefined,
  precision: IntEval | undefined,
): PrintPiece {
  const source = textSource(compiler, node);
  const isBare =
    conversion.width <= 0 &&
    conversion.precision < 0 &&
    width === undefined &&
    precision === undefined;
  if (isBare) return sourcePiece(source);
  if (source.kind === "text") {
    const { evaluate } = source;
    return (c, out) => {
      const size = readSize(conversion, c, width, precision);
      const { width: columns, precision: bytesMax, isLeft } = size;
      evaluate(c);
      writePadded(out, c, columns, bytesMax, isLeft);
    };
  }
  const { piece } = source;
  return (c, out) => {
    const size = readSize(conversion, c, width, precision);
    const { width: columns, precision: bytesMax, isLeft } = size;
    out.reserve(PADDED_BYTES_MAX);
    const mark = out.mark();
    piece(c, out);
    if (bytesMax >= 0) out.truncateFrom(mark, bytesMax);
    if (columns > 0) out.padFrom(mark, columns, isLeft);
  };
}

function writePadded(
  out: ByteWriter,
  c: EvalContext,
  columns: number,
  bytesMax: number,
  isLeft: boolean,
): void {
  const to = bytesMax >= 0 ? Math.min(c.textTo, c.textFrom + bytesMax) : c.textTo;
  const missing = columns - (to - c.textFrom);
  if (missing > 0 && !isLeft) out.fill(0x20, missing);
  out.untrusted(c.textBytes, c.textFrom, to);
  if (missing > 0 && isLeft) out.fill(0x20, missing);
}

/** Prints a source without width and precision. */
function sourcePiece(source: TextSource): PrintPiece {
  if (source.kind === "piece") return source.piece;
  const { evaluate } = source;
  return (c, out) => {
    evaluate(c);
    out.untrusted(c.textBytes, c.textFrom, c.textTo);
  };
}

/** Compiles an argument of %s; each node is visited once. */
function textSource(compiler: PieceCompiler, node: ExprNode): TextSource {
  if (node.kind === "cast") return textSource(compiler, node.operand);
  if (node.kind === "conditional") return choiceSource(compiler, node);
  if (node.kind === "call" && (PRINT_FUNCTIONS.has(node.name) || isHelper(node.name))) {
    return { kind: "piece", piece: callPiece(compiler, node) };
  }
  // A null pointer, as the other branch of a choice.
  if (node.kind === "number" && node.charBytes === undefined) {
    return { kind: "text", evaluate: emptyText };
  }
  const { value } = compiler.typed(node);
  const text = asText(value);
  if (text !== undefined) return { kind: "text", evaluate: compiler.text(text) };
  const field = value.kind === "int" ? value.field : undefined;
  if (field === undefined) return compiler.fail("this is no text", node);
  // A number printed as text: its bytes, as libtraceevent does.
  if (field.sizeBytes < 8) return { kind: "text", evaluate: compileFieldText(field) };
  return { kind: "piece", piece: kernelTextPiece(compiler, node) };
}

function emptyText(c: EvalContext): void {
  c.textFrom = 0;
  c.textTo = 0;
}

/** test ? yes : no; text when both are, so that a precision is applied to the bytes. */
function choiceSource(
  compiler: PieceCompiler,
  node: Extract<ExprNode, { kind: "conditional" }>,
): TextSource {
  if (node.yes === undefined) return compiler.fail("this is no text", node);
  const test = compiler.condition(node.test);
  const yes = textSource(compiler, node.yes);
  const no = textSource(compiler, node.no);
  if (yes.kind === "text" && no.kind === "text") {
    const evaluate: TextEval = (c) => {
      if ((test(c) | c.hi) !== 0) yes.evaluate(c);
      else no.evaluate(c);
    };
    return { kind: "text", evaluate };
  }
  const yesPiece = sourcePiece(yes);
  const noPiece = sourcePiece(no);
  const piece: PrintPiece = (c, out) => {
    if ((test(c) | c.hi) !== 0) yesPiece(c, out);
    else noPiece(c, out);
  };
  return { kind: "piece", piece };
}

/**
 * The text is in the kernel's memory: a known constant, or its address, as libtraceevent has it.
 */
function kernelTextPiece(compiler: PieceCompiler, node: ExprNode): PrintPiece {
  const { evaluate } = compiler.number(node);
  const { strings } = compiler.options;
  return (c, out) => {
    const lo = evaluate(c);
    const text = strings?.lookup(lo, c.hi);
    if (text !== undefined) out.raw(text);
    else out.hex64(lo, c.hi);
  };
}

const PRINT_FUNCTIONS: ReadonlySet<string> = new Set([
  "__print_flags",
  "__print_flags_u64",
  "__print_symbolic",
  "__print_symbolic_u64",
  "__print_hex",
  "__print_hex_str",
  "__print_array",
  "__print_dynamic_array",
  "__get_bitmask",
  "__get_rel_bitmask",
  "__get_cpumask",
  "__get_rel_cpumask",
  "__print_hex_dump",
]);

function callPiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  switch (node.name) {
    case "__print_flags":
    case "__print_flags_u64":
      return flagsPiece(compiler, node);
    case "__print_symbolic":
    case "__print_symbolic_u64":
      return symbolicPiece(compiler, node);
    case "__print_hex":
      return hexPiece(compiler, node, " ");
    case "__print_hex_str":
      return hexPiece(compiler, node, "");
    case "__print_array":
      return arrayPiece(compiler, node);
    case "__print_dynamic_array":
      return dynamicArrayPiece(compiler, node);
    case "__print_hex_dump":
      return hexDumpPiece(compiler, node);
    default:
      return isHelper(node.name) ? helperPiece(compiler, node) : maskPiece(compiler, node);
  }
}
