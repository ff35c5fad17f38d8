// Tokens of a C expression.
//
//   (((address>>18)&1)?42:0) + 0x3fUL     name~"virtio0-input*"     c == '\n'
//
// Strings and character literals come out as bytes: \n \t \\ \" \0 \x41 \101 are decoded. A quoted
// 'text' of more than one character is a string, as in the kernel's event filters.

import { ExprError } from "./error.ts";

/** Characters of one expression from a command line. */
export const EXPR_CHARS_MAX = 64 * 1024;

export type TokenKind = "number" | "string" | "char" | "name" | "punctuator" | "end";

/** One token; which of the value members is used depends on the kind. */
export interface Token {
  readonly kind: TokenKind;
  /** Index of its first character, and the one behind its last. */
  readonly at: number;
  readonly end: number;
  /** A name or punctuator as written. */
  readonly text: string;
  /** number, char: the value, as signed 32-bit words. */
  readonly lo: number;
  readonly hi: number;
  /** number: has a U suffix or does not fit a signed 64-bit integer. */
  readonly isUnsigned: boolean;
  /** string, char: the bytes. */
  readonly bytes: Uint8Array;
}

const NO_BYTES = new Uint8Array(0);

/** Longest first, so that the first match is the right one. */
const PUNCTUATORS: readonly string[] = (
  "<<= >>= ... -> ++ -- << >> <= >= == != && || += -= *= /= %= &= |= ^= " +
  "( ) [ ] { } . & * + - ~ ! / % < > ^ | ? : = , ; # @ $"
).split(" ");

const ESCAPES: ReadonlyMap<string, number> = new Map([
  ["n", 10],
  ["t", 9],
  ["r", 13],
  ["a", 7],
  ["b", 8],
  ["f", 12],
  ["v", 11],
  ["e", 27],
]);

/** Reads tokens one after the other. */
export class Lexer {
  readonly source: string;
  #at = 0;

  /** Throws ExprError when the text is longer than `charsMax`. */
  constructor(source: string, charsMax: number = EXPR_CHARS_MAX) {
    this.source = source;
    if (source.length > charsMax) {
      throw new ExprError(
        `it has ${source.length} characters, limit is ${charsMax}`,
        source,
        charsMax,
      );
    }
  }

  /** The next token; "end" again and again at the end. Throws ExprError. */
  next(): Token {
    const source = this.source;
    while (isSpace(source.charCodeAt(this.#at))) this.#at++;
    const at = this.#at;
    if (at >= source.length) return this.#token("end", at, at, "");
    const code = source.charCodeAt(at);
    if (isDigit(code)) return this.#number(at);
    if (isNameStart(code)) return this.#name(at);
    if (code === 0x22) return this.#string(at);
    if (code === 0x27) return this.#quoted(at);
    const punctuator = this.#punctuator(at);
    if (punctuator === undefined) {
      throw new ExprError(`unexpected character ${printable(source[at]!)}`, source, at);
    }
    this.#at = at + punctuator.length;
    return this.#token("punctuator", at, this.#at, punctuator);
  }

  #punctuator(at: number): string | undefined {
    const first = this.source[at];
    for (const candidate of PUNCTUATORS) {
      if (candidate[0] === first && this.source.startsWith(candidate, at)) return candidate;
    }
    return undefined;
  }

  #token(kind: TokenKind, at: number, end: number, text: string): Token {
    return { kind, at, end, text, lo: 0, hi: 0, isUnsigned: false, bytes: NO_BYTES };
  }

  #name(at: number): Token {
    let end = at + 1;
    while (isNamePart(this.source.charCodeAt(end))) end++;
    this.#at = end;
    return this.#token("name", at, end, this.source.slice(at, end));
  }

  /** Decimal, 0x, 0b and octal with any of the suffixes u, l, ul, ll, ull, z. */
  #number(at: number): Token {
    let end = at + 1;
    while (isNamePart(this.source.charCodeAt(end))) end++;
    this.#at = end;
    const word = this.source.slice(at, end);
    const match = /^(0[xX][0-9a-fA-F]+|0[bB][01]+|\d+)([uUlLzZ]{0,3})$/.exec(word);
    const digits = match?.[1] ?? "";
    const isOctal = digits.length > 1 && digits[0] === "0" && isDigit(digits.charCodeAt(1));
    // Leading zeros apart, the longest 64-bit number is binary.
    if (digits === "" || digits.length > 128 || (isOctal && /[89]/.test(digits))) {
      throw new ExprError(`"${word.slice(0, 40)}" is not a number`, this.source, at);
    }
    const value = BigInt(isOctal ? `0o${digits}` : digits);
    if (value > 0xffffffffffffffffn) {
      throw new ExprError("the number does not fit 64 bits", this.source, at);
    }
    const isUnsigned = /u/i.test(match?.[2] ?? "") || value > 0x7fffffffffffffffn;
    return {
      ...this.#token("number", at, end, word),
      lo: Number(BigInt.asIntN(32, value)),
      hi: Number(BigInt.asIntN(32, value >> 32n)),
      isUnsigned,
    };
  }

  #string(at: number): Token {
    const bytes = this.#quotedBytes(at, 0x22);
    return { ...this.#token("string", at, this.#at, ""), bytes };
  }

  /** 'a' is a number (and text where text is wanted), 'abc' a string. */
  #quoted(at: number): Token {
    const bytes = this.#quotedBytes(at, 0x27);
    if (bytes.length !== 1) return { ...this.#token("string", at, this.#at, ""), bytes };
    return { ...this.#token("char", at, this.#at, ""), bytes, lo: bytes[0]! };
  }

  #quotedBytes(at: number, quote: number): Uint8Array {
    const source = this.source;
    const bytes: number[] = [];
    let i = at + 1;
    while (i < source.length && source.charCodeAt(i) !== quote) {
      if (source[i] === "\\") {
        i = this.#escape(i + 1, bytes);
      } else {
        pushUtf8(bytes, source.codePointAt(i)!);
        i += source.codePointAt(i)! > 0xffff ? 2 : 1;
      }
    }
    if (i >= source.length) throw new ExprError("the string is not closed", source, at);
    this.#at = i + 1;
    return Uint8Array.from(bytes);
  }

  /** Decodes the escape whose first character (behind the backslash) is at `at`. */
  #escape(at: number, bytes: number[]): number {
    const source = this.source;
    const digits = /^(?:x([0-9a-fA-F]{1,2})|([0-7]{1,3}))/.exec(source.slice(at, at + 3));
    if (digits?.[1] !== undefined) {
      bytes.push(Number.parseInt(digits[1], 16));
      return at + digits[0].length;
    }
    if (digits?.[2] !== undefined) {
      bytes.push(Number.parseInt(digits[2], 8) & 0xff);
      return at + digits[0].length;
    }
    if (at >= source.length) return at;
    const code = ESCAPES.get(source[at]!);
    if (code !== undefined) bytes.push(code);
    else pushUtf8(bytes, source.charCodeAt(at));
    return at + 1;
  }
}

function pushUtf8(bytes: number[], codePoint: number): void {
  if (codePoint < 0x80) bytes.push(codePoint);
  else bytes.push(...new TextEncoder().encode(String.fromCodePoint(codePoint)));
}

function printable(char: string): string {
  return /[\x20-\x7e]/.test(char) ? `"${char}"` : `U+${char.charCodeAt(0).toString(16)}`;
}

function isSpace(code: number): boolean {
  return code === 0x20 || (code >= 9 && code <= 13);
}

function isDigit(code: number): boolean {
  return code >= 0x30 && code <= 0x39;
}

function isNameStart(code: number): boolean {
  return (code >= 0x41 && code <= 0x5a) || (code >= 0x61 && code <= 0x7a) || code === 0x5f;
}

function isNamePart(code: number): boolean {
  return isNameStart(code) || isDigit(code);
}
