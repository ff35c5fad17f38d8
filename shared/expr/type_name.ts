// Type names in expressions: of casts, of sizeof, and of declarations in ({ blocks }).

import { type CType, isTypeWord, OPAQUE, typeFromWords } from "./c_type.ts";
import { ExprError } from "./error.ts";
import type { TokenStream } from "./token_stream.ts";

/** Words and stars of one type. */
const TYPE_WORDS_MAX = 8;

/**
 * `unsigned long *)`: words, stars and the closing parenthesis; undefined when it is something
 * else.
 */
export function readTypeName(tokens: TokenStream): CType | undefined {
  const words = readWords(tokens);
  if (words.length === 0) return undefined;
  let pointers = 0;
  while (tokens.is("*") && pointers < TYPE_WORDS_MAX) {
    tokens.next();
    pointers++;
    // `const char *const *`
    while (tokens.peek().kind === "name" && isTypeWord(tokens.peek().text)) tokens.next();
  }
  if (!tokens.take(")")) return undefined;
  const type = typeFromWords(words, pointers);
  if (type !== undefined) return type;
  return words.length === 1 ? { ...OPAQUE, pointers } : undefined;
}

function readWords(tokens: TokenStream): string[] {
  const words: string[] = [];
  while (tokens.peek().kind === "name" && words.length < TYPE_WORDS_MAX) {
    words.push(tokens.next().text);
  }
  return words;
}

/**
 * Whether the type name in parentheses that was just read, from token `mark` on, is a cast. It is
 * when its first word can only be a type; an unknown word followed by a value is a typedef that is
 * not known here: fine in a print format, an ExprError in an expression.
 */
export function isCast(tokens: TokenStream, mark: number, isPrintFormat: boolean): boolean {
  const first = tokens.peek(mark - tokens.index);
  if (isTypeWord(first.text)) return true;
  const token = tokens.peek();
  const isValue =
    token.kind === "number" ||
    token.kind === "char" ||
    token.kind === "name" ||
    token.kind === "string" ||
    tokens.is("(") ||
    tokens.is("~");
  const hasStars = tokens.peek(mark + 1 - tokens.index).text === "*";
  if (!isValue && !hasStars) return false;
  if (isPrintFormat) return true;
  // `(a) ~ "b"` is a match, and print formats have no such operator.
  if (tokens.is("~") || hasStars) return false;
  throw new ExprError(`unknown type "${first.text}"`, tokens.source, first.at);
}

/** `unsigned int name =`: the type and the name of a declaration. Throws ExprError. */
export function readDeclarator(tokens: TokenStream): { name: string; type: CType } {
  const words = readWords(tokens);
  const name = words.pop() ?? "";
  const type = typeFromWords(words, 0);
  if (type === undefined || !type.isKnown) tokens.fail("expected a declaration of a number");
  tokens.expect("=");
  return { name, type };
}
