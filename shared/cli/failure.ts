/**
 * How a failure reaches the user: one line that says what could not be done, perhaps a caret under
 * the place in what was typed, perhaps a HINT, and the exit code.
 *
 *   agent-host: ERROR: Cannot parse event: "/" is missing after the filter
 *     irq:irq_handler_entry/irq==3
 *                                 ^
 *   HINT: ...
 */
import { caretLines } from "../text/caret.ts";

/** Exit codes of both agents; documented in README. */
export const EXIT = {
  DONE: 0,
  FAILED: 1,
  USAGE: 2,
  THRESHOLD: 3,
  SOURCE: 4,
  BUG: 70,
} as const;

export type ExitCode = (typeof EXIT)[keyof typeof EXIT];

/** A failure as plain data: it crosses from the worker to the main thread. */
export interface Failure {
  readonly message: string;
  readonly hint: string | undefined;
  /** What was typed, and where in it the fault is. */
  readonly text: string | undefined;
  readonly position: number;
  readonly exitCode: ExitCode;
  /** Only for our own bugs. */
  readonly stack: string | undefined;
}

/** A wrong command line. */
export class UsageError extends Error {
  override readonly name = "UsageError";
  readonly hint: string | undefined;
  constructor(message: string, hint?: string) {
    super(message);
    this.hint = hint;
  }
}

/** What we did not foresee while we did something that has a name; the stack is that of `cause`. */
export class BugError extends Error {
  override readonly name = "BugError";

  constructor(what: string, cause: unknown) {
    const { message, stack } = cause instanceof Error ? cause : new Error(String(cause));
    super(`${what}: ${message}`);
    this.stack = stack ?? "";
  }
}

/** Error classes that are the user's or the machine's, not ours, and their exit code. */
const EXIT_BY_NAME: ReadonlyMap<string, ExitCode> = new Map([
  ["UsageError", EXIT.USAGE],
  ["EventSyntaxError", EXIT.USAGE],
  ["ExprError", EXIT.USAGE],
  ["PushTargetError", EXIT.USAGE],
  ["PullSourceError", EXIT.USAGE],
  ["FilterError", EXIT.USAGE],
  ["NoCpuError", EXIT.USAGE],
  ["UnknownEventError", EXIT.USAGE],
  ["SourceError", EXIT.SOURCE],
  ["ClockWithdrawnError", EXIT.FAILED],
  ["ElfError", EXIT.FAILED],
  ["FfiError", EXIT.FAILED],
  ["FormatError", EXIT.FAILED],
  ["NoEventError", EXIT.FAILED],
  ["SysError", EXIT.FAILED],
  ["TimeLineError", EXIT.FAILED],
  ["TracefsError", EXIT.FAILED],
  ["VmLookupError", EXIT.FAILED],
]);

/** Errors of the language itself, and what was found to be a bug: whatever they say, ours. */
const BUG_NAMES = [
  "BugError",
  "TypeError",
  "ReferenceError",
  "SyntaxError",
  "EvalError",
  "URIError",
];

/** Whether this is no error of which a class of ours says what it means: a bug, most likely. */
export function isUnforeseen(error: unknown): boolean {
  return !(error instanceof Error && EXIT_BY_NAME.has(error.name));
}

/** Longest message and hint: both may quote what was typed, or what a guest sent. */
const LINE_CHARS_MAX = 1000;

/** Turns whatever was thrown into a Failure: what we did not foresee is a bug, with its stack. */
export function failureOf(error: unknown): Failure {
  const { name, message, hint, text, source, position, code, stack } = (error ?? {}) as {
    name?: string;
    message?: string;
    hint?: string;
    text?: string;
    /** What ExprError calls its text. */
    source?: string;
    position?: number;
    code?: string;
    stack?: string;
  };
  const known = EXIT_BY_NAME.get(name ?? "");
  // Errors of node:fs carry a code; RangeErrors of ours begin with what could not be done, as do
  // some of V8's own messages.
  const isOurs = /^Cannot /.test(message ?? "") && !BUG_NAMES.includes(name ?? "");
  const isExpected = known !== undefined || isFileError(code) || isOurs;
  return {
    message: message ?? String(error),
    hint: hint === "" ? undefined : hint,
    text: text ?? (name === "ExprError" ? source : undefined),
    position: position ?? 0,
    exitCode: known ?? (isExpected ? EXIT.FAILED : EXIT.BUG),
    stack: isExpected ? undefined : stack,
  };
}

function isFileError(code: string | undefined): boolean {
  return code !== undefined && /^E[A-Z0-9]+$/.test(code);
}

/** One line that a terminal may be given: no control characters, and not endless. */
export function toLine(text: string): string {
  const cut = text.length > LINE_CHARS_MAX ? `${text.slice(0, LINE_CHARS_MAX)}...` : text;
  return toLines(cut.replace(/\s*\n\s*/g, " "));
}

/** Lines of ours that a terminal may be given, whatever they quote: no other control characters. */
export function toLines(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, "?");
}

/** The lines to print. */
export function formatFailure(program: string, failure: Failure): string {
  const label = failure.exitCode === EXIT.BUG ? "BUG" : "ERROR";
  let out = `${program}: ${label}: ${toLine(failure.message)}\n`;
  if (failure.text !== undefined && failure.text !== "") {
    out += `${caretLines(failure.text, failure.position)}\n`;
  }
  if (failure.hint !== undefined) out += `HINT: ${toLine(failure.hint)}\n`;
  if (failure.stack !== undefined) out += `${toLines(failure.stack)}\n`;
  return out;
}
