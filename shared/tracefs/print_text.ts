// %s: text from the record, literals, and the kernel's __print_ functions.

import type { CallNode, ExprNode } from "../expr/ast.ts";
import type { EvalContext } from "../expr/eval_context.ts";
import type { IntEval, TextEval } from "../expr/evaluate.ts";
import { compileFieldText } from "../expr/evaluate_text.ts";
import { asText } from "../expr/typed.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { Conversion } from "../text/printf.ts";
import { arrayPiece, dynamicArrayPiece, hexPiece, maskPiece } from "./print_array.ts";
import { flagsPiece, symbolicPiece } from "./print_list.ts";
import { readSize } from "./print_number.ts";
import type { PieceCompiler, PrintPiece } from "./print_piece.ts";

/** Room for one padded text before padding is given up (see ByteWriter.padFrom). */
const PADDED_BYTES_MAX = 4096;

/** An argument printed by a %s conversion. Throws ExprError. */
export function textPiece(
  compiler: PieceCompiler,
  conversion: Conversion,
  node: ExprNode,
  width: IntEval | undefined,
  precision: IntEval | undefined,
): PrintPiece {
  const text = plainText(compiler, node);
  const isBare = conversion.width <= 0 && conversion.precision < 0;
  if (text !== undefined) {
    if (isBare && width === undefined && precision === undefined) {
      return (c, out) => {
        text(c);
        out.untrusted(c.textBytes, c.textFrom, c.textTo);
      };
    }
    return (c, out) => {
      const size = readSize(conversion, c, width, precision);
      const { width: columns, precision: bytesMax, isLeft } = size;
      text(c);
      writePadded(out, c, columns, bytesMax, isLeft);
    };
  }
  const piece = functionPiece(compiler, node);
  if (isBare && width === undefined && precision === undefined) return piece;
  return (c, out) => {
    const {
      width: columns,
      precision: bytesMax,
      isLeft,
    } = readSize(conversion, c, width, precision);
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

/** Text that lies somewhere as bytes; undefined for what has to be made. */
function plainText(compiler: PieceCompiler, node: ExprNode): TextEval | undefined {
  if (node.kind === "cast") return plainText(compiler, node.operand);
  if (node.kind === "conditional") return plainChoice(compiler, node);
  if (node.kind === "call" && isPrintFunction(node.name)) return undefined;
  // A null pointer, as the other branch of a choice.
  if (node.kind === "number" && node.charBytes === undefined) return emptyText;
  const { value } = compiler.typed(node);
  const text = asText(value);
  if (text !== undefined) return compiler.text(text);
  if (value.kind === "int" && value.field !== undefined && value.field.sizeBytes < 8) {
    // A number printed as text: its bytes, as libtraceevent does.
    return compileFieldText(value.field);
  }
  return undefined;
}

function emptyText(c: EvalContext): void {
  c.textFrom = 0;
  c.textTo = 0;
}

type ConditionalNode = Extract<ExprNode, { kind: "conditional" }>;

/** A choice between two texts that lie somewhere. */
function plainChoice(compiler: PieceCompiler, node: ConditionalNode): TextEval | undefined {
  if (node.yes === undefined) return undefined;
  const yes = plainText(compiler, node.yes);
  const no = yes === undefined ? undefined : plainText(compiler, node.no);
  if (yes === undefined || no === undefined) return undefined;
  const test = compiler.condition(node.test);
  return (c) => {
    if ((test(c) | c.hi) !== 0) yes(c);
    else no(c);
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
  "mc_event_error_type",
]);

function isPrintFunction(name: string): boolean {
  return PRINT_FUNCTIONS.has(name);
}

/** What has to be made: choices, functions, and pointers that cannot be followed. */
function functionPiece(compiler: PieceCompiler, node: ExprNode): PrintPiece {
  if (node.kind === "cast") return functionPiece(compiler, node.operand);
  if (node.kind === "conditional") return choicePiece(compiler, node);
  if (node.kind === "call" && isPrintFunction(node.name)) return callPiece(compiler, node);
  const { value } = compiler.typed(node);
  if (value.kind === "int" && value.field !== undefined) {
    // The text is in the kernel's memory: a known constant, or its address, as libtraceevent has it.
    const { evaluate } = compiler.number(node);
    const { strings } = compiler.options;
    return (c, out) => {
      const lo = evaluate(c);
      const text = strings?.lookup(lo, c.hi);
      if (text !== undefined) out.raw(text);
      else out.hex64(lo, c.hi);
    };
  }
  return compiler.fail("this is no text", node);
}

function choicePiece(compiler: PieceCompiler, node: ConditionalNode): PrintPiece {
  if (node.yes === undefined) return compiler.fail("this is no text", node);
  const test = compiler.condition(node.test);
  const yes = barePiece(compiler, node.yes);
  const no = barePiece(compiler, node.no);
  return (c, out) => {
    if ((test(c) | c.hi) !== 0) yes(c, out);
    else no(c, out);
  };
}

/** Text without width and precision. */
function barePiece(compiler: PieceCompiler, node: ExprNode): PrintPiece {
  const text = plainText(compiler, node);
  if (text === undefined) return functionPiece(compiler, node);
  return (c, out) => {
    text(c);
    out.untrusted(c.textBytes, c.textFrom, c.textTo);
  };
}

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
    case "mc_event_error_type":
      return errorTypePiece(compiler, node);
    default:
      return maskPiece(compiler, node);
  }
}

/** enum hw_event_mc_err_type in <linux/edac.h>, as the kernel's mc_event_error_type() names it. */
const ERROR_TYPES = ["Corrected", "Uncorrected", "Deferred", "Fatal"];

function errorTypePiece(compiler: PieceCompiler, node: CallNode): PrintPiece {
  const first = node.args[0] ?? compiler.fail("mc_event_error_type() wants a number", node);
  const { evaluate } = compiler.number(first);
  return (c, out) => out.ascii(ERROR_TYPES[evaluate(c)] ?? "Info");
}
