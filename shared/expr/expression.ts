// Expressions evaluated one record at a time: filters in user space, role, printkey, and so on.
//
//   const filter = compileFilter('name~"virtio0-input*" && common_pid==26027', format);
//   context.setRecord(view, bytes, rawOffset, rawBytes);  context.cpu = 3;  ...
//   if (filter.test(context)) ...
//
// For many records at once program.ts is faster.

import type { EventFormat } from "../tracefs/format.ts";
import { checkExpr } from "./check.ts";
import type { EvalContext, EvalFunctions } from "./eval_context.ts";
import { compileInt, compileTextExpr } from "./evaluate.ts";
import { parseExpr } from "./parser.ts";
import { checkFilter, checkNumber, wrapMissing } from "./program.ts";
import { formatScope } from "./scope.ts";

/** A condition on one record. */
export interface ExprFilter {
  readonly source: string;
  /** False also for a record that is too short, which counts in context.skippedCount. */
  test(context: EvalContext): boolean;
}

/** An expression that gives a number or text. */
export interface CompiledExpr {
  readonly source: string;
  readonly kind: "int" | "text";
  /** int only: whether the number is signed. */
  readonly isSigned: boolean;
  /**
   * Evaluates on the context's record. Returns false, and counts context.skippedCount, when the
   * record is too short. An int leaves its words in `lo` and `context.hi`, text in
   * context.textBytes, textFrom and textTo.
   */
  evaluate(context: EvalContext): boolean;
  /** int only: the low word of the last value, signed. */
  readonly lo: number;
}

/** Compiles a filter. Throws ExprError. */
export function compileFilter(
  source: string,
  format: EventFormat,
  functions?: EvalFunctions,
): ExprFilter {
  checkFilter(source, format);
  const expr = checkNumber(source, format);
  const evaluate = wrapMissing(source, () => compileInt(expr, functions));
  const { recordBytesMin } = expr;
  return {
    source,
    test(context) {
      if (context.rawBytes < recordBytesMin) {
        context.skippedCount++;
        return false;
      }
      return (evaluate(context) | context.hi) !== 0;
    },
  };
}

/**
 * Compiles any expression; `valueNames` are numbers that the caller sets in context.values
 * (printkey has `key`). Without a format there are only those. Throws ExprError.
 */
export function compileExpr(
  source: string,
  format: EventFormat | undefined,
  valueNames: readonly string[] = [],
  functions?: EvalFunctions,
): CompiledExpr {
  const expr = checkExpr(parseExpr(source), source, formatScope(format, valueNames));
  const { recordBytesMin } = expr;
  const evaluate = wrapMissing<(context: EvalContext) => unknown>(source, () =>
    expr.kind === "int" ? compileInt(expr, functions) : compileTextExpr(expr, functions),
  );
  return {
    source,
    kind: expr.kind,
    isSigned: expr.kind === "int" && expr.isSigned,
    lo: 0,
    evaluate(this: { lo: number }, context) {
      if (context.rawBytes < recordBytesMin) {
        context.skippedCount++;
        return false;
      }
      const result = evaluate(context);
      if (typeof result === "number") this.lo = result;
      return true;
    },
  };
}
