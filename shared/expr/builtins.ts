// Functions that expressions call: ntohl, ntohs and strncmp are operations; the others (printf,
// ksymbol, comm_get, ...) belong to whoever evaluates the expression.

import type { CallNode } from "./ast.ts";
import type { Checker } from "./check.ts";
import type { ArgumentIr, FunctionCall } from "./ir.ts";
import { convert, signedInt } from "./operations.ts";
import type { FunctionSignature } from "./scope.ts";
import { asText, type Typed } from "./typed.ts";

/** The value of a call, or undefined when nobody knows the function. */
export function checkBuiltin(checker: Checker, node: CallNode): Typed | undefined {
  switch (node.name) {
    case "ntohl":
    case "htonl":
      return swap(checker, node, 32);
    case "ntohs":
    case "htons":
      return swap(checker, node, 16);
    case "strncmp":
    case "strcmp":
      return compareText(checker, node);
    default: {
      const signature = checker.scope.lookupFunction(node.name);
      return signature === undefined ? undefined : checkCall(checker, node, signature);
    }
  }
}

/**
 * As perf-prof declares them: int ntohl(int), short ntohs(short); unsigned here, as in C's
 * libraries.
 */
function swap(checker: Checker, node: CallNode, bits: 16 | 32): Typed {
  expectCount(checker, node, 1);
  const operand = checker.int(node.args[0]!);
  return convert(signedInt({ op: "swap", bits, operand: operand.ir }), bits, false);
}

function compareText(checker: Checker, node: CallNode): Typed {
  const isBounded = node.name === "strncmp";
  expectCount(checker, node, isBounded ? 3 : 2);
  const left = checker.text(node.args[0]!);
  const right = checker.text(node.args[1]!);
  const bytesMax = isBounded
    ? checker.int(node.args[2]!).ir
    : { op: "const" as const, lo: -1, hi: -1 };
  return signedInt({ op: "text_compare", left, right, bytesMax });
}

function checkCall(checker: Checker, node: CallNode, signature: FunctionSignature): Typed {
  const { parameters, isVariadic, result } = signature;
  if (isVariadic !== true || node.args.length < parameters.length) {
    expectCount(checker, node, parameters.length);
  }
  const args = node.args.map((arg, index): ArgumentIr => {
    const wanted = parameters[index];
    if (wanted === "text") return { kind: "text", value: checker.text(arg) };
    if (wanted === "int") return intArgument(checker.int(arg));
    const value = checker.value(arg);
    if (value.kind === "int") return intArgument(value);
    const text = asText(value);
    if (text === undefined) checker.fail("this is an array, wanted a number or text", arg.at);
    return { kind: "text", value: text };
  });
  const call: FunctionCall = { name: node.name, args };
  if (result === "text") return { kind: "text", ir: { op: "call_text", call } };
  return signedInt({ op: "call", call });
}

function intArgument(value: Extract<Typed, { kind: "int" }>): ArgumentIr {
  return { kind: "int", value: value.ir, isSigned: value.isSigned };
}

function expectCount(checker: Checker, node: CallNode, count: number): void {
  if (node.args.length === count) return;
  checker.fail(
    `${node.name}() takes ${count} argument${count === 1 ? "" : "s"}, found ${node.args.length}`,
    node.at,
  );
}
