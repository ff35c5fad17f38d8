/**
 * A text that the user typed, and a caret under a place in it:
 *
 *     prev_pid>0&&nofield==1
 *                 ^
 */
import { printableAscii } from "./printable_ascii.ts";

/** Longest piece of the text that is shown: longer ones are cut around the place. */
const CARET_TEXT_MAX = 160;

/** Two lines of printable ASCII, indented by two, without a newline at the end. */
export function caretLines(text: string, position: number): string {
  const from = Math.max(0, position - CARET_TEXT_MAX / 2);
  const shown = printableAscii(text.slice(from, from + CARET_TEXT_MAX));
  return `  ${shown}\n  ${" ".repeat(Math.min(position - from, shown.length))}^`;
}
