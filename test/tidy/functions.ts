/**
 * Functions of a source file and their length, found in its code view (see source.ts). Three heads
 * are known, as the formatter leaves them:
 *
 *   function name<T>(...): Type {      name(...): Type {      (...): Type => {
 *
 * Signatures without a body are passed over.
 */
import { lineAt, type Source } from "./source.ts";

export interface FunctionSpan {
  readonly name: string;
  readonly line: number;
  readonly lines: number;
}

const CLOSING: Readonly<Record<string, string>> = { "(": ")", "{": "}", "[": "]", "<": ">" };
const FUNCTION_HEAD = /\bfunction\b\s*\*?\s*([\w$]*)\s*/g;
const METHOD_HEAD =
  /^[ \t]*(?:(?:static|async|override|get|set)\s+)*\*?\s*(#?[\w$]+|\[[\w$.]+\])\s*(?=[<(])/gm;
const ARROW_BODY = /=>\s*\{/g;
const CONTROL_WORDS = new Set(["if", "for", "while", "switch", "catch", "with", "function"]);
/** A brace after one of these belongs to a type; after a finished type it opens the body. */
const TYPE_GOES_ON = /(?:[:|&<,(]|=>|\bis|\bkeyof|\breadonly)\s*$/;

/** Offset just past the bracket that closes the one at `open`, or -1. */
function skipBrackets(code: string, open: number): number {
  const opening = code[open]!;
  const closing = CLOSING[opening]!;
  for (let i = open, depth = 0; i < code.length; i++) {
    const isArrow = closing === ">" && code[i - 1] === "=";
    if (code[i] === opening) depth++;
    else if (code[i] === closing && !isArrow && --depth === 0) return i + 1;
  }
  return -1;
}

function skipSpaces(code: string, from: number): number {
  let at = from;
  while (/\s/.test(code[at] ?? "")) at++;
  return at;
}

/** Offset of the `{` of the body whose parameters (or their generics) begin at `from`, or -1. */
function findBody(code: string, from: number): number {
  let at = from;
  if (code[at] === "<") at = skipSpaces(code, skipBrackets(code, at));
  if (code[at] !== "(") return -1;
  const afterParameters = skipBrackets(code, at);
  if (afterParameters < 0) return -1;
  at = skipSpaces(code, afterParameters);
  if (code[at] === "{") return at;
  if (code[at] !== ":") return -1;
  const typeFrom = at;
  for (at++; at < code.length; at++) {
    const character = code[at]!;
    if (character === ";" || character === ")" || character === "}") return -1;
    if (character === "(" || character === "[") at = skipBrackets(code, at) - 1;
    else if (character === "{") {
      if (!TYPE_GOES_ON.test(code.slice(typeFrom, at))) return at;
      at = skipBrackets(code, at) - 1;
    }
    if (at < 0) return -1;
  }
  return -1;
}

function spanOf(code: string, name: string, head: number, body: number): FunctionSpan {
  const end = skipBrackets(code, body);
  const line = lineAt(code, head);
  return { name, line, lines: lineAt(code, end < 0 ? code.length : end - 1) - line + 1 };
}

function namedFunctions(code: string, head: RegExp): FunctionSpan[] {
  const spans: FunctionSpan[] = [];
  for (const match of code.matchAll(head)) {
    const name = match[1]!;
    if (CONTROL_WORDS.has(name)) continue;
    const body = findBody(code, match.index + match[0].length);
    const start = match.index + match[0].search(/\S/);
    if (body >= 0) spans.push(spanOf(code, name || "function", start, body));
  }
  return spans;
}

/** The arrow that groups tests is a heading, not a function. */
function isTestGroup(code: string, arrow: number): boolean {
  const lineStart = code.lastIndexOf("\n", arrow) + 1;
  return /\bdescribe\b/.test(code.slice(lineStart, arrow));
}

function arrowFunctions(code: string): FunctionSpan[] {
  const spans: FunctionSpan[] = [];
  for (const match of code.matchAll(ARROW_BODY)) {
    if (isTestGroup(code, match.index)) continue;
    const body = match.index + match[0].length - 1;
    spans.push(spanOf(code, "arrow function", match.index, body));
  }
  return spans;
}

/** All functions with a body, by line. */
export function findFunctions(source: Source): FunctionSpan[] {
  const { code } = source;
  return [
    ...namedFunctions(code, FUNCTION_HEAD),
    ...namedFunctions(code, METHOD_HEAD),
    ...arrowFunctions(code),
  ].sort((a, b) => a.line - b.line);
}
