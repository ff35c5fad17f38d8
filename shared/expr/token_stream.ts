// A list of tokens with a place in it, and what every parser needs: peek, take, expect, fail.

import { printableAscii } from "../text/printable_ascii.ts";
import { ExprError } from "./error.ts";
import { Lexer, type Token } from "./lexer.ts";

/** The tokens of one text. */
export class TokenStream {
  readonly source: string;
  /** Index of the next token: set it back to read again. */
  index = 0;
  readonly #tokens: Token[] = [];

  /** Throws ExprError for what are no tokens, and for texts longer than `charsMax`. */
  constructor(source: string, charsMax: number) {
    this.source = source;
    const lexer = new Lexer(source, charsMax);
    for (;;) {
      const token = lexer.next();
      this.#tokens.push(token);
      if (token.kind === "end") break;
    }
  }

  /** The next token, `ahead` further ones skipped; "end" at the end. */
  peek(ahead = 0): Token {
    return this.#tokens[Math.min(this.index + ahead, this.#tokens.length - 1)]!;
  }

  /** Takes the next token. */
  next(): Token {
    const token = this.peek();
    this.index++;
    return token;
  }

  /** Whether the next token is this punctuator. */
  is(text: string): boolean {
    const token = this.peek();
    return token.kind === "punctuator" && token.text === text;
  }

  /** Takes the punctuator when it is next. */
  take(text: string): boolean {
    if (!this.is(text)) return false;
    this.index++;
    return true;
  }

  /** Takes the punctuator. Throws ExprError when it is not next. */
  expect(text: string): void {
    if (!this.take(text)) this.fail(`expected "${text}", found ${this.describe(this.peek())}`);
  }

  /** A token as an error message shows it. */
  describe(token: Token): string {
    if (token.kind === "end") return "end of expression";
    const text = this.source.slice(token.at, Math.min(token.end, token.at + 40));
    return `"${printableAscii(text)}"`;
  }

  /** Throws an ExprError that points at the next token. */
  fail(detail: string): never {
    throw new ExprError(detail, this.source, this.peek().at);
  }
}
