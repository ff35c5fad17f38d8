// Print formats: the `print fmt` of a tracepoint compiled to closures that write the text of a
// record.
//
//   const printer = compilePrintFormat(format, { symbols });
//   printer.render(out, view, bytes, rawOffset, rawBytes);    // "irq=38 name=virtio0-input.3"
//
// It prints what libtraceevent prints (and with it perf, trace-cmd and perf-prof). It differs where
// libtraceevent is wrong about C: arithmetic here is signed where the kernel's is, ({ blocks }) and
// casts of text work. Newlines and other control characters of the format come out escaped.
//
// The format and the record may be a hostile guest's. No code is generated from them; work and
// output per record are bounded; what lies outside the record is never read. A format that cannot
// be compiled gives `field=value` pairs, and `reason` says why.

import type { ExprNode, StringNode } from "../expr/ast.ts";
import { ExprError } from "../expr/error.ts";
import { EvalContext } from "../expr/eval_context.ts";
import type { IntEval } from "../expr/evaluate.ts";
import { parseExprList } from "../expr/parser.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import { type Conversion, parsePrintf } from "../text/printf.ts";
import { type EventFormat, FORMAT_BYTES_MAX } from "./format.ts";
import { fieldPieces } from "./print_fields.ts";
import { numberPiece } from "./print_number.ts";
import { PieceCompiler, type PrintOptions, type PrintPiece } from "./print_piece.ts";
import { pointerPiece } from "./print_pointer.ts";
import { textPiece } from "./print_text.ts";

export type { PrintOptions } from "./print_piece.ts";

/** Bytes of text after which one record's output is cut, with "..." at its end. */
export const RENDER_BYTES_MAX = 32 * 1024;
/**
 * Bytes of strings looked at for one record; honest ones stay below perf's record limit of 8 KiB.
 */
const SCAN_BYTES_MAX = 1024 * 1024;

/** A compiled print format. */
export interface PrintRenderer {
  /**
   * Writes the text of the record at bytes[rawOffset .. rawOffset + rawBytes), which begins with
   * common_type; `view` is over the same memory as `bytes`. Never throws for what is in the record.
   */
  render(
    out: ByteWriter,
    view: DataView,
    bytes: Uint8Array,
    rawOffset: number,
    rawBytes: number,
  ): void;
  /** Whether records are printed as field=value pairs. */
  readonly isFallback: boolean;
  /** Why, for `list --unrendered`; empty when the format is in use. */
  readonly reason: string;
  /** Names in the format that nobody knows the values of; they count as 0, or never match. */
  readonly unresolved: readonly string[];
  /** Records that were shorter than the format needs: printed as pairs. */
  readonly shortCount: number;
}

/** Compiles a format; never throws for what the format says. */
export function compilePrintFormat(format: EventFormat, options: PrintOptions = {}): PrintRenderer {
  const fallback = fieldPieces(format);
  try {
    const compiler = new PieceCompiler(format, options);
    const pieces = compilePieces(compiler);
    return new Renderer(pieces, compiler.recordBytesMin, fallback, "", [...compiler.unresolved]);
  } catch (error) {
    if (!(error instanceof ExprError) && !(error instanceof RangeError)) throw error;
    const reason = error instanceof ExprError ? error.detail : error.message;
    return new Renderer(undefined, 0, fallback, reason, []);
  }
}

/** Why the event's records are printed as field=value pairs; empty when its format is in use. */
export function unrenderedReason(format: EventFormat): string {
  return compilePrintFormat(format).reason;
}

class Renderer implements PrintRenderer {
  readonly isFallback: boolean;
  readonly reason: string;
  readonly unresolved: readonly string[];
  shortCount = 0;
  readonly #pieces: readonly PrintPiece[];
  readonly #fallback: readonly PrintPiece[];
  readonly #recordBytesMin: number;
  readonly #context = new EvalContext();

  constructor(
    pieces: readonly PrintPiece[] | undefined,
    recordBytesMin: number,
    fallback: readonly PrintPiece[],
    reason: string,
    unresolved: readonly string[],
  ) {
    this.isFallback = pieces === undefined;
    this.reason = reason;
    this.unresolved = unresolved;
    this.#pieces = pieces ?? fallback;
    this.#fallback = fallback;
    this.#recordBytesMin = recordBytesMin;
  }

  render(
    out: ByteWriter,
    view: DataView,
    bytes: Uint8Array,
    rawOffset: number,
    rawBytes: number,
  ): void {
    const context = this.#context;
    context.setRecord(view, bytes, rawOffset, rawBytes);
    context.scannedBytes = 0;
    const end = out.mark() + RENDER_BYTES_MAX;
    let pieces = this.#pieces;
    if (this.isFallback) out.ascii("[FAILED TO PARSE]");
    if (rawBytes < this.#recordBytesMin) {
      this.shortCount++;
      out.ascii("[SHORT RECORD]");
      pieces = this.#fallback;
    }
    for (let i = 0; i < pieces.length; i++) {
      pieces[i]!(context, out);
      if (out.mark() > end || context.scannedBytes > SCAN_BYTES_MAX) {
        out.ascii("...");
        return;
      }
    }
  }
}

function compilePieces(compiler: PieceCompiler): PrintPiece[] {
  const printFormat = compiler.source;
  const nodes = parseExprList(printFormat, { isPrintFormat: true, charsMax: FORMAT_BYTES_MAX });
  const [formatNode, ...args] = nodes;
  if (formatNode?.kind !== "string") {
    throw new ExprError("expected a format string", printFormat, formatNode?.at ?? 0);
  }
  const reader = new ArgumentReader(args, formatNode, printFormat);
  const parsed = parsePrintf(trimNewlines(formatNode.bytes));
  return parsed.map((piece): PrintPiece => {
    if (piece.kind === "conversion") return conversionPiece(compiler, piece.conversion, reader);
    const literal = literalBytes(piece.bytes);
    return (_context, out) => out.raw(literal);
  });
}

/** Hands out the arguments in order. */
class ArgumentReader {
  readonly #args: readonly ExprNode[];
  readonly #format: StringNode;
  readonly #source: string;
  #index = 0;

  constructor(args: readonly ExprNode[], format: StringNode, source: string) {
    this.#args = args;
    this.#format = format;
    this.#source = source;
  }

  next(): ExprNode {
    const node = this.#args[this.#index++];
    if (node !== undefined) return node;
    throw new ExprError("more conversions than arguments", this.#source, this.#format.at);
  }
}

function conversionPiece(
  compiler: PieceCompiler,
  conversion: Conversion,
  reader: ArgumentReader,
): PrintPiece {
  const sizeArgument = (isArgument: boolean): IntEval | undefined =>
    isArgument ? compiler.number(reader.next()).evaluate : undefined;
  const width = sizeArgument(conversion.isWidthArgument);
  const precision = sizeArgument(conversion.isPrecisionArgument);
  const node = reader.next();
  switch (conversion.letter) {
    case "s":
      return textPiece(compiler, conversion, node, width, precision);
    case "p":
      return pointerPiece(compiler, conversion, node, width);
    default:
      return numberPiece(conversion, compiler.number(node), width, precision);
  }
}

const NEWLINE = 0x0a;
const TAB = 0x09;

/** A line ends by itself: newlines at the end of a format are left out. */
function trimNewlines(bytes: Uint8Array): Uint8Array {
  let end = bytes.length;
  while (end > 0 && bytes[end - 1] === NEWLINE) end--;
  return bytes.subarray(0, end);
}

/** Literal text as it is written: tabs stay, newlines become \n, other controls \xNN. */
function literalBytes(bytes: Uint8Array): Uint8Array {
  const text: number[] = [];
  for (const byte of bytes) {
    if (byte === TAB || (byte >= 0x20 && byte < 0x7f)) text.push(byte);
    else if (byte === NEWLINE) text.push(0x5c, 0x6e);
    else text.push(...Array.from(`\\x${byte.toString(16).padStart(2, "0")}`, toCode));
  }
  return Uint8Array.from(text);
}

function toCode(char: string): number {
  return char.charCodeAt(0);
}
