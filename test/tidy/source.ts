/**
 * Views of TypeScript source in which the house rules can be looked up without being fooled by
 * text inside strings, templates, regular expressions and comments. All keep offsets and lines:
 *
 *   const a = "x{"; // why     text
 *   const a = "x{";            withoutComments
 *   const a = "  ";            code
 */

export interface Source {
  readonly path: string;
  readonly text: string;
  readonly withoutComments: string;
  readonly code: string;
}

/** A `/` after one of these begins a regular expression, after anything else it divides. */
const REGEX_AFTER_CHARACTERS = "(,=:[!&|?{;+-*%<>~^";
const REGEX_AFTER_WORDS = /\b(return|typeof|case|in|of|delete|void|throw|new|else|do|await)$/;

type Kind = "string" | "comment";

class Scanner {
  readonly #text: string;
  readonly #withoutComments: string[];
  readonly #code: string[];
  #at = 0;

  constructor(text: string) {
    this.#text = text;
    this.#withoutComments = [...splitUnits(text)];
    this.#code = [...splitUnits(text)];
  }

  scan(): { withoutComments: string; code: string } {
    while (this.#at < this.#text.length) this.#step();
    return { withoutComments: this.#withoutComments.join(""), code: this.#code.join("") };
  }

  #step(): void {
    const character = this.#text[this.#at]!;
    const pair = this.#text.slice(this.#at, this.#at + 2);
    if (pair === "//") this.#blankTo(this.#find("\n", this.#at), "comment");
    else if (pair === "/*") this.#blankTo(this.#find("*/", this.#at + 2) + 2, "comment");
    else if (character === '"' || character === "'") this.#quoted(character);
    else if (character === "`") this.#template();
    else if (character === "/" && this.#beginsRegex()) this.#regex();
    else this.#at++;
  }

  #find(what: string, from: number): number {
    const found = this.#text.indexOf(what, from);
    return found < 0 ? this.#text.length : found;
  }

  /** Blanks [at, to) but for line ends, and goes there. */
  #blankTo(to: number, kind: Kind): void {
    for (; this.#at < to && this.#at < this.#text.length; this.#at++) {
      if (this.#text[this.#at] === "\n") continue;
      this.#code[this.#at] = " ";
      if (kind === "comment") this.#withoutComments[this.#at] = " ";
    }
  }

  #quoted(quote: string): void {
    let end = this.#at + 1;
    while (end < this.#text.length && this.#text[end] !== quote && this.#text[end] !== "\n") {
      end += this.#text[end] === "\\" ? 2 : 1;
    }
    this.#at++;
    this.#blankTo(end, "string");
    this.#at = end + 1;
  }

  /** Blanks the text of a template; what stands in ${} stays code. */
  #template(): void {
    this.#at++;
    while (this.#at < this.#text.length && this.#text[this.#at] !== "`") {
      const escaped = this.#text[this.#at] === "\\";
      if (this.#text.startsWith("${", this.#at)) this.#substitution();
      else this.#blankTo(this.#at + (escaped ? 2 : 1), "string");
    }
    this.#at++;
  }

  #substitution(): void {
    this.#at += 2;
    for (let depth = 1; this.#at < this.#text.length; ) {
      const character = this.#text[this.#at]!;
      if (character === "{") depth++;
      if (character === "}" && --depth === 0) break;
      this.#step();
    }
    this.#at++;
  }

  #beginsRegex(): boolean {
    const before = this.#code
      .slice(Math.max(0, this.#at - 80), this.#at)
      .join("")
      .trimEnd();
    if (before === "" || REGEX_AFTER_CHARACTERS.includes(before.at(-1)!)) return true;
    return REGEX_AFTER_WORDS.test(before);
  }

  #regex(): void {
    let end = this.#at + 1;
    for (let inClass = false; end < this.#text.length; end++) {
      const character = this.#text[end]!;
      if (character === "\n" || (character === "/" && !inClass)) break;
      if (character === "[") inClass = true;
      if (character === "]") inClass = false;
      if (character === "\\") end++;
    }
    this.#at++;
    this.#blankTo(end, "string");
    this.#at = end + 1;
  }
}

/** UTF-16 units, so that offsets into the text and into the array agree. */
function splitUnits(text: string): string[] {
  return text.split("");
}

/** The views of one file. */
export function readSource(path: string, text: string): Source {
  return { path, text, ...new Scanner(text).scan() };
}

/** Line number, from 1, of an offset. */
export function lineAt(text: string, offset: number): number {
  let line = 1;
  for (let i = text.indexOf("\n"); i >= 0 && i < offset; i = text.indexOf("\n", i + 1)) line++;
  return line;
}
