// Operators whose meaning depends on what their operands are: numbers, places in the record, text.

import type { BinaryNode, ConditionalNode, NameNode } from "./ast.ts";
import type { Checker } from "./check.ts";
import type { IntIr } from "./ir.ts";
import { offsetPointer, signedInt } from "./operations.ts";
import { isText, type Typed } from "./typed.ts";

/** left OPERATOR right, of numbers, places and text. */
export function checkBinary(checker: Checker, node: BinaryNode): Typed {
  const { operator } = node;
  if (operator === "&&" || operator === "||") {
    const left = checker.condition(node.left);
    const right = checker.condition(node.right);
    return signedInt({ op: "logic", isAnd: operator === "&&", left, right });
  }
  const [left, right] = readOperands(checker, node);
  if (operator === "~") {
    const text = checker.asText(left, node.left.at);
    const pattern = checker.asText(right, node.right.at);
    return signedInt({ op: "text_glob", text, pattern });
  }
  const isEquality = operator === "==" || operator === "!=";
  if (isEquality && (isText(left) || isText(right))) {
    const leftText = checker.asText(left, node.left.at);
    const rightText = checker.asText(right, node.right.at);
    const isEqual = operator === "==";
    return signedInt({ op: "text_equal", isEqual, left: leftText, right: rightText });
  }
  if (operator === "+" || operator === "-") {
    if (left.kind === "pointer" && right.kind === "int") {
      return offsetPointer(left, right.ir, operator === "-");
    }
    if (right.kind === "pointer" && left.kind === "int" && operator === "+") {
      return offsetPointer(right, left.ir, false);
    }
  }
  return checker.operate(
    node,
    checker.asInt(left, node.left.at),
    checker.asInt(right, node.right.at),
  );
}

/**
 * Both values. A bare word compared with a field that is text is text too, as in the kernel's
 * filters: comm == bash. Beside anything else it is a field that there is not: taken as text,
 * `prev_com == "bash"` would compare two constants.
 */
function readOperands(checker: Checker, { left, right }: BinaryNode): [Typed, Typed] {
  const value = checker.value(left);
  const isTextField = isText(value) && value.kind === "pointer" && value.field !== undefined;
  const isWord =
    isTextField && right.kind === "name" && checker.scope.lookup(right.name) === undefined;
  return [value, isWord ? wordText(right) : checker.value(right)];
}

/** test ? yes : no, and test ?: no. */
export function checkConditional(checker: Checker, node: ConditionalNode): Typed {
  if (node.yes === undefined) {
    const test = checker.int(node.test);
    const no = checker.int(node.no);
    const ir: IntIr = { op: "elvis", test: test.ir, no: no.ir };
    return { kind: "int", ir, isSigned: test.isSigned && no.isSigned };
  }
  const test = checker.condition(node.test);
  const yes = checker.value(node.yes);
  const no = checker.value(node.no);
  if (yes.kind === "int" && no.kind === "int") {
    const ir: IntIr = { op: "select", test, yes: yes.ir, no: no.ir };
    return { kind: "int", ir, isSigned: yes.isSigned && no.isSigned };
  }
  const yesText = checker.asText(yes, node.yes.at);
  const noText = checker.asText(no, node.no.at);
  return { kind: "text", ir: { op: "select_text", test, yes: yesText, no: noText } };
}

function wordText(node: NameNode): Typed {
  return { kind: "text", ir: { op: "text", bytes: new TextEncoder().encode(node.name) } };
}
