// Calls of functions that the caller provides (ksymbol, comm_get, printf, ...): rare, so they may
// allocate their arguments.

import {
  type CallArgument,
  type EvalContext,
  type EvalFunction,
  type EvalFunctions,
  type IntEval,
  MissingFunctionError,
  type TextEval,
} from "./eval_context.ts";
import type { ArgumentIr, FunctionCall, IntIr, TextIr } from "./ir.ts";
import { fromDouble } from "./word64.ts";

/** How arguments are compiled: handed in, because text may itself be a call. */
export interface ArgumentCompilers {
  readonly int: (ir: IntIr) => IntEval;
  readonly text: (ir: TextIr) => TextEval;
}

type ArgumentEval = (context: EvalContext) => CallArgument;

/** A call whose result is a number. Throws MissingFunctionError. */
export function compileCall(
  call: FunctionCall,
  compilers: ArgumentCompilers,
  functions: EvalFunctions,
): IntEval {
  const run = compileBody(call, compilers, functions);
  return (c) => {
    const result = run(c);
    return fromDouble(c, typeof result === "number" && Number.isSafeInteger(result) ? result : 0);
  };
}

/** A call whose result is text. Throws MissingFunctionError. */
export function compileTextCall(
  call: FunctionCall,
  compilers: ArgumentCompilers,
  functions: EvalFunctions,
): TextEval {
  const run = compileBody(call, compilers, functions);
  return (c) => {
    const result = run(c);
    if (typeof result === "number")
      throw new TypeError(`${call.name}() gave a number, wanted text`);
    c.textBytes = result;
    c.textFrom = 0;
    c.textTo = result.length;
  };
}

function compileBody(
  call: FunctionCall,
  compilers: ArgumentCompilers,
  functions: EvalFunctions,
): (c: EvalContext) => Uint8Array | number {
  const body: EvalFunction | undefined = functions.get(call.name);
  if (body === undefined) throw new MissingFunctionError(call.name);
  const args = call.args.map((arg) => compileArgument(arg, compilers));
  return (c) =>
    body(
      args.map((arg) => arg(c)),
      c,
    );
}

function compileArgument(arg: ArgumentIr, compilers: ArgumentCompilers): ArgumentEval {
  if (arg.kind === "int") {
    const value = compilers.int(arg.value);
    const { isSigned } = arg;
    return (c) => {
      const lo = value(c);
      return { kind: "int", lo, hi: c.hi, isSigned };
    };
  }
  const text = compilers.text(arg.value);
  return (c) => {
    text(c);
    return { kind: "text", bytes: c.textBytes, from: c.textFrom, to: c.textTo };
  };
}
