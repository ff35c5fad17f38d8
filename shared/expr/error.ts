// ExprError: an expression that cannot be used, with the place in it.
//
//   Cannot parse expression: expected ")", found end of expression
//       (address>>12
//                   ^
//
// The last two lines come from caret(): the command line prints them under the message.

import { printableAscii } from "../text/printable_ascii.ts";

/** Most characters of the expression that caret() shows on either side of the place. */
const CARET_CONTEXT_MAX = 60;

/** A syntax or type error in an expression; `position` counts characters from 0. */
export class ExprError extends SyntaxError {
  override readonly name: string = "ExprError";
  /** The whole text that was parsed. */
  readonly source: string;
  readonly position: number;
  /** The message without the words that say what was being done. */
  readonly detail: string;
  /** How to mend it, empty when unknown. */
  readonly hint: string;

  constructor(detail: string, source: string, position: number, hint = "") {
    super(`Cannot parse expression: ${detail}`);
    this.detail = detail;
    this.source = source;
    this.position = Math.min(Math.max(0, position), source.length);
    this.hint = hint;
  }

  /** The expression and a caret under the place, two lines of printable ASCII. */
  caret(indent = "    "): string {
    const from = Math.max(0, this.position - CARET_CONTEXT_MAX);
    const to = Math.min(this.source.length, this.position + CARET_CONTEXT_MAX);
    const head = from > 0 ? "..." : "";
    const tail = to < this.source.length ? "..." : "";
    const shown = printableAscii(this.source.slice(from, to));
    const column = head.length + this.position - from;
    return `${indent}${head}${shown}${tail}\n${indent}${" ".repeat(column)}^`;
  }
}
