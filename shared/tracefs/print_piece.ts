// Print pieces: what one print format is made of, each a closure that writes its part of the text.

import type { ExprNode } from "../expr/ast.ts";
import { Checker } from "../expr/check.ts";
import type { EvalContext, EvalFunctions } from "../expr/eval_context.ts";
import { compileInt, compileIr, type IntEval, type TextEval } from "../expr/evaluate.ts";
import { compileText } from "../expr/evaluate_text.ts";
import { foldConstants } from "../expr/fold.ts";
import type { IntIr, TextIr } from "../expr/ir.ts";
import { isPure } from "../expr/ir_walk.ts";
import type { ExprScope } from "../expr/scope.ts";
import type { Typed } from "../expr/typed.ts";
import type { ByteWriter } from "../text/byte_writer.ts";
import type { EventFormat } from "./format.ts";
import type { StringResolver } from "./kernel_strings.ts";
import { printFormatOf } from "./print_rewrite.ts";
import { printCallHook, printScope } from "./print_scope.ts";
import type { SymbolResolver } from "./symbols.ts";

/** Writes one part of the text from the context's record. */
export type PrintPiece = (context: EvalContext, out: ByteWriter) => void;

/** What a print format may need from outside. */
export interface PrintOptions {
  /** Names for %pS and %ps, of the kernel that the event came from. */
  readonly symbols?: SymbolResolver | undefined;
  /** Constant strings that records point at, of that kernel. */
  readonly strings?: StringResolver | undefined;
  /** Values of names that the kernel left in the format (enum constants). */
  readonly constants?: ((name: string) => bigint | undefined) | undefined;
}

/** Compiles the arguments of one print format; keeps what they need of a record. */
export class PieceCompiler {
  readonly format: EventFormat;
  readonly options: PrintOptions;
  /** Names that nobody knows: they count as 0. */
  readonly unresolved = new Set<string>();
  /** Bytes that a record must have. */
  recordBytesMin = 0;
  readonly #scope: ExprScope;
  /** The print format that is compiled; arguments are places in it. */
  readonly source: string;

  constructor(format: EventFormat, options: PrintOptions) {
    this.format = format;
    this.options = options;
    this.source = printFormatOf(format);
    this.#scope = printScope(format, options, this.unresolved);
  }

  /** The typed value of an argument. Throws ExprError. */
  typed(node: ExprNode): { readonly value: Typed; readonly checker: Checker } {
    const checker = this.#checker();
    const value = checker.value(node);
    this.recordBytesMin = Math.max(this.recordBytesMin, checker.recordBytesMin);
    return { value, checker };
  }

  /** An argument as a number. Throws ExprError. */
  number(node: ExprNode): { readonly evaluate: IntEval; readonly ir: IntIr } {
    const { value, checker } = this.typed(node);
    // Places in the record have no address here: they count as a null pointer.
    const ir: Typed = value.kind === "int" ? value : NULL_POINTER;
    const expr = checker.finish(ir, node.at);
    if (expr.kind !== "int" || !isPure(expr.ir)) {
      return checker.fail("print formats cannot compare text", node.at);
    }
    return { evaluate: compileInt(expr), ir: expr.locals.length === 0 ? expr.ir : NO_IR };
  }

  /** A condition. Throws ExprError. */
  condition(node: ExprNode): IntEval {
    const checker = this.#checker();
    const ir = foldConstants(checker.condition(node));
    this.recordBytesMin = Math.max(this.recordBytesMin, checker.recordBytesMin);
    if (!isPure(ir)) return checker.fail("print formats cannot compare text", node.at);
    return compileIr(ir);
  }

  text(ir: TextIr): TextEval {
    return compileText(ir, (operand) => compileIr(operand), NO_FUNCTIONS);
  }

  fail(detail: string, node: ExprNode): never {
    return this.#checker().fail(detail, node.at);
  }

  #checker(): Checker {
    return new Checker(this.source, this.#scope, printCallHook);
  }
}

const NO_FUNCTIONS: EvalFunctions = new Map();
const NULL_POINTER: Typed = { kind: "int", ir: { op: "const", lo: 0, hi: 0 }, isSigned: false };
/** Stands for an expression that is not a plain field. */
const NO_IR: IntIr = { op: "value", index: 0 };
