/**
 * The output of a program or of a guest's console, as lines that can be awaited and quoted.
 *
 * What a guest writes may hold anything, so `tail()` escapes control characters: it ends up in
 * error messages on somebody's terminal.
 */

import { appendFileSync } from "node:fs";
import { withDeadline } from "./deadline.ts";

const LINES_MAX = 20_000;
const LINE_CHARS_MAX = 16_384;

interface Waiter {
  readonly pattern: RegExp;
  readonly resolve: (line: string) => void;
  readonly reject: (error: Error) => void;
}

function printable(line: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point
  return line.replace(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f]/g, (character) => {
    return `\\x${character.charCodeAt(0).toString(16).padStart(2, "0")}`;
  });
}

export class LineLog {
  readonly name: string;
  readonly #file: string | undefined;
  readonly #lines: string[] = [];
  readonly #decoder = new TextDecoder();
  readonly #waiters = new Set<Waiter>();
  #partial = "";
  #ended: Error | undefined;
  /** Called with every whole line, for showing output while it comes. */
  onLine: ((line: string) => void) | undefined;

  /** `file`, when given, receives every byte as it came. */
  constructor(name: string, file?: string) {
    this.name = name;
    this.#file = file;
  }

  get lines(): readonly string[] {
    return this.#lines;
  }

  append(bytes: Uint8Array): void {
    if (this.#file !== undefined) {
      appendFileSync(this.#file, bytes);
    }
    const parts = (this.#partial + this.#decoder.decode(bytes, { stream: true })).split("\n");
    this.#partial = (parts.pop() ?? "").slice(-LINE_CHARS_MAX);
    for (const part of parts) {
      this.#addLine(part.replace(/\r+$/, ""));
    }
  }

  /** No more output will come: whoever still waits is told `reason`. */
  end(reason: Error): void {
    if (this.#partial !== "") {
      this.#addLine(this.#partial);
      this.#partial = "";
    }
    this.#ended ??= reason;
    for (const waiter of this.#waiters) {
      waiter.reject(this.#ended);
    }
    this.#waiters.clear();
  }

  /**
   * The first line that matches, also among those already there from `fromLine` on.
   * @throws DeadlineError, or what `end` was given
   */
  async waitForLine(pattern: RegExp, deadlineMs: number, fromLine = 0): Promise<string> {
    const past = this.#lines.slice(fromLine).find((line) => pattern.test(line));
    if (past !== undefined) {
      return past;
    }
    if (this.#ended !== undefined) {
      throw this.#ended;
    }
    let waiter: Waiter | undefined;
    const promise = new Promise<string>((resolve, reject) => {
      waiter = { pattern, resolve, reject };
      this.#waiters.add(waiter);
    });
    try {
      return await withDeadline(promise, deadlineMs, `${pattern} in the ${this.name}`);
    } finally {
      this.#waiters.delete(waiter!);
    }
  }

  /** The last `count` lines, escaped, the unfinished one included. */
  tail(count: number): string {
    const lines = this.#partial === "" ? this.#lines : [...this.#lines, this.#partial];
    return lines.slice(-count).map(printable).join("\n");
  }

  #addLine(line: string): void {
    this.#lines.push(line.slice(0, LINE_CHARS_MAX));
    if (this.#lines.length > LINES_MAX) {
      this.#lines.splice(0, this.#lines.length - LINES_MAX);
    }
    this.onLine?.(line);
    for (const waiter of this.#waiters) {
      if (waiter.pattern.test(line)) {
        this.#waiters.delete(waiter);
        waiter.resolve(line);
      }
    }
  }
}
