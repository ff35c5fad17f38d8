// Pratt parser: the text of a C expression to its syntax tree.
//
//   parseExpr("(((address>>18)&1)?42:0) + ((address>>12)&0x3f)")
//
// C's own precedences; the glob match `~` between two operands binds like < and >. Every level of
// nesting and every operand counts towards EXPR_DEPTH_MAX, so that all that walks the tree by
// recursion is safe on any input.

import type {
  AssignNode,
  BinaryOperator,
  BlockVariable,
  ExprNode,
  StringNode,
  UnaryOperator,
} from "./ast.ts";
import { isTypeWord } from "./c_type.ts";
import { ExprError } from "./error.ts";
import { EXPR_CHARS_MAX, type Token } from "./lexer.ts";
import { TokenStream } from "./token_stream.ts";
import { isCast, readDeclarator, readTypeName } from "./type_name.ts";

/** Levels of a syntax tree: a chain of n operators has n. */
export const EXPR_DEPTH_MAX = 512;
/** Arguments of one call or items of one list. */
export const EXPR_ARGUMENTS_MAX = 2048;

/** Declarations in one ({ block }). */
export const BLOCK_VARIABLES_MAX = 16;

export interface ParseOptions {
  /** Longest text, EXPR_CHARS_MAX unless told. */
  readonly charsMax?: number;
  /**
   * The text is the print format of a kernel: `{ 1, "x" }` lists may stand among arguments, and a
   * cast may name a type that is not known here.
   */
  readonly isPrintFormat?: boolean;
}

const COMMA_POWER = 1;
const ASSIGN_POWER = 2;
const CONDITIONAL_POWER = 3;
const UNARY_POWER = 14;

const BINARY_POWER: ReadonlyMap<string, number> = new Map([
  ["||", 4],
  ["&&", 5],
  ["|", 6],
  ["^", 7],
  ["&", 8],
  ["==", 9],
  ["!=", 9],
  ["<", 10],
  ["<=", 10],
  [">", 10],
  [">=", 10],
  ["~", 10],
  ["<<", 11],
  [">>", 11],
  ["+", 12],
  ["-", 12],
  ["*", 13],
  ["/", 13],
  ["%", 13],
]);

const ASSIGNMENTS: ReadonlyMap<string, BinaryOperator | undefined> = new Map<
  string,
  BinaryOperator | undefined
>([
  ["=", undefined],
  ["+=", "+"],
  ["-=", "-"],
  ["*=", "*"],
  ["/=", "/"],
  ["%=", "%"],
  ["&=", "&"],
  ["|=", "|"],
  ["^=", "^"],
  ["<<=", "<<"],
  [">>=", ">>"],
]);

const UNARY_OPERATORS: ReadonlySet<string> = new Set(["+", "-", "!", "~", "&", "*", "++", "--"]);

/** Parses one whole expression. Throws ExprError. */
export function parseExpr(source: string, options: ParseOptions = {}): ExprNode {
  const parser = new Parser(source, options);
  const node = parser.expression(COMMA_POWER);
  parser.expectEnd();
  return node;
}

/** Parses expressions separated by commas (the arguments of a print format). Throws ExprError. */
export function parseExprList(source: string, options: ParseOptions = {}): ExprNode[] {
  return new Parser(source, options).list();
}

class Parser {
  readonly #tokens: TokenStream;
  readonly #isPrintFormat: boolean;
  /** Levels of recursion at this moment. */
  #level = 0;

  constructor(source: string, options: ParseOptions) {
    this.#isPrintFormat = options.isPrintFormat ?? false;
    this.#tokens = new TokenStream(source, options.charsMax ?? EXPR_CHARS_MAX);
  }

  list(): ExprNode[] {
    const items: ExprNode[] = [];
    do {
      if (items.length >= EXPR_ARGUMENTS_MAX) this.#tokens.fail("too many arguments");
      items.push(this.expression(ASSIGN_POWER));
    } while (this.#tokens.take(","));
    this.expectEnd();
    return items;
  }

  expectEnd(): void {
    if (this.#tokens.peek().kind !== "end")
      this.#tokens.fail(`unexpected ${this.#tokens.describe(this.#tokens.peek())}`);
  }

  /** An expression of operators that bind at least as tightly as `power`. */
  expression(power: number): ExprNode {
    if (++this.#level > EXPR_DEPTH_MAX)
      this.#tokens.fail(`nested deeper than ${EXPR_DEPTH_MAX} levels`);
    let left = this.#prefix();
    for (;;) {
      const next = this.#infix(left, power);
      if (next === undefined) break;
      left = next;
    }
    this.#level--;
    return left;
  }

  /** Extends `left` by the operator that follows, or returns undefined when it binds too weakly. */
  #infix(left: ExprNode, power: number): ExprNode | undefined {
    const token = this.#tokens.peek();
    if (token.kind !== "punctuator") return undefined;
    const binary = BINARY_POWER.get(token.text);
    if (binary !== undefined) {
      if (binary < power) return undefined;
      this.#tokens.index++;
      const right = this.expression(binary + 1);
      const operator = token.text as BinaryOperator;
      return this.#node({ kind: "binary", at: token.at, operator, left, right }, left, right);
    }
    if (token.text === "?" && power <= CONDITIONAL_POWER) return this.#conditional(left);
    if (ASSIGNMENTS.has(token.text) && power <= ASSIGN_POWER) return this.#assign(left, token);
    if (token.text === "," && power <= COMMA_POWER) {
      this.#tokens.index++;
      const right = this.expression(ASSIGN_POWER);
      return this.#node({ kind: "comma", at: token.at, left, right }, left, right);
    }
    return undefined;
  }

  #conditional(test: ExprNode): ExprNode {
    const at = this.#tokens.next().at;
    let yes: ExprNode | undefined;
    if (!this.#tokens.take(":")) {
      yes = this.expression(COMMA_POWER);
      this.#tokens.expect(":");
    }
    const no = this.expression(CONDITIONAL_POWER);
    return this.#node({ kind: "conditional", at, test, yes, no }, test, yes, no);
  }

  #assign(target: ExprNode, token: Token): ExprNode {
    this.#tokens.index++;
    const value = this.expression(ASSIGN_POWER);
    const operator = ASSIGNMENTS.get(token.text);
    const node: Omit<AssignNode, "depth"> = {
      kind: "assign",
      at: token.at,
      operator,
      target,
      value,
    };
    return this.#node(node, target, value);
  }

  #prefix(): ExprNode {
    const token = this.#tokens.next();
    switch (token.kind) {
      case "number":
      case "char": {
        const charBytes = token.kind === "char" ? token.bytes : undefined;
        const { at, lo, hi, isUnsigned } = token;
        return this.#postfix({ kind: "number", at, depth: 1, lo, hi, isUnsigned, charBytes });
      }
      case "string":
        return this.#postfix(this.#string(token));
      case "name":
        return this.#name(token);
      case "punctuator":
        return this.#prefixPunctuator(token);
      default:
        this.#tokens.index--;
        return this.#tokens.fail("expected a value, found end of expression");
    }
  }

  #prefixPunctuator(token: Token): ExprNode {
    if (token.text === "(") return this.#parenthesis(token);
    if (token.text === "{" && this.#isPrintFormat) return this.#braces(token);
    if (UNARY_OPERATORS.has(token.text)) {
      const operand = this.expression(UNARY_POWER);
      const operator = token.text as UnaryOperator;
      return this.#node({ kind: "unary", at: token.at, operator, operand }, operand);
    }
    this.#tokens.index--;
    return this.#tokens.fail(`expected a value, found ${this.#tokens.describe(token)}`);
  }

  /** Literals in a row are one string, as in C. */
  #string(first: Token): StringNode {
    const parts = [first.bytes];
    let end = first.end;
    while (this.#tokens.peek().kind === "string") {
      end = this.#tokens.peek().end;
      parts.push(this.#tokens.next().bytes);
    }
    const bytes = new Uint8Array(parts.reduce((sum, part) => sum + part.length, 0));
    let at = 0;
    for (const part of parts) {
      bytes.set(part, at);
      at += part.length;
    }
    return { kind: "string", at: first.at, depth: 1, bytes, end };
  }

  #name(token: Token): ExprNode {
    if (token.text === "sizeof") return this.#sizeof(token);
    if (this.#tokens.is("(")) {
      this.#tokens.index++;
      const args = this.#arguments(")");
      return this.#postfix(
        this.#node({ kind: "call", at: token.at, name: token.text, args }, ...args),
      );
    }
    return this.#postfix({ kind: "name", at: token.at, depth: 1, name: token.text });
  }

  #braces(token: Token): ExprNode {
    const items = this.#arguments("}");
    return this.#node({ kind: "list", at: token.at, items }, ...items);
  }

  /** Expressions up to the closing token, which is taken; the opening one is behind us. */
  #arguments(close: string): ExprNode[] {
    const args: ExprNode[] = [];
    if (this.#tokens.take(close)) return args;
    do {
      if (args.length >= EXPR_ARGUMENTS_MAX) this.#tokens.fail("too many arguments");
      // A comma may stand behind the last item of a list.
      if (close === "}" && this.#tokens.is("}")) break;
      args.push(this.expression(ASSIGN_POWER));
    } while (this.#tokens.take(","));
    this.#tokens.expect(close);
    return args;
  }

  #sizeof(token: Token): ExprNode {
    if (this.#tokens.is("(")) {
      const mark = this.#tokens.index++;
      const isType = isTypeWord(this.#tokens.peek().text);
      const type = isType ? readTypeName(this.#tokens) : undefined;
      if (type !== undefined) {
        return this.#node({ kind: "sizeof", at: token.at, type, operand: undefined });
      }
      this.#tokens.index = mark;
    }
    const operand = this.expression(UNARY_POWER);
    return this.#node({ kind: "sizeof", at: token.at, type: undefined, operand }, operand);
  }

  /** `(` opens a cast or an expression in parentheses. */
  #parenthesis(token: Token): ExprNode {
    if (this.#isPrintFormat && this.#tokens.take("{")) return this.#block(token);
    const mark = this.#tokens.index;
    const type = readTypeName(this.#tokens);
    if (type !== undefined && isCast(this.#tokens, mark, this.#isPrintFormat)) {
      const operand = this.expression(UNARY_POWER);
      return this.#node({ kind: "cast", at: token.at, type, operand }, operand);
    }
    this.#tokens.index = mark;
    const inner = this.expression(COMMA_POWER);
    this.#tokens.expect(")");
    return this.#postfix(inner);
  }

  /** `({` is behind us: declarations with a value each, and one expression. */
  #block(token: Token): ExprNode {
    const variables: BlockVariable[] = [];
    while (this.#tokens.peek().kind === "name" && isTypeWord(this.#tokens.peek().text)) {
      if (variables.length >= BLOCK_VARIABLES_MAX)
        this.#tokens.fail("too many variables in a block");
      variables.push(this.#declaration());
    }
    const result = this.expression(COMMA_POWER);
    this.#tokens.take(";");
    this.#tokens.expect("}");
    this.#tokens.expect(")");
    const values = variables.map((variable) => variable.value);
    return this.#postfix(
      this.#node({ kind: "block", at: token.at, variables, result }, result, ...values),
    );
  }

  /** `unsigned int name = value;` */
  #declaration(): BlockVariable {
    const { name, type } = readDeclarator(this.#tokens);
    const value = this.expression(ASSIGN_POWER);
    this.#tokens.expect(";");
    return { name, type, value };
  }

  /** [index], ->name, .name, ++ and -- behind an operand. */
  #postfix(operand: ExprNode): ExprNode {
    let node = operand;
    for (;;) {
      const token = this.#tokens.peek();
      if (token.kind !== "punctuator") return node;
      if (token.text === "[") {
        this.#tokens.index++;
        const index = this.expression(COMMA_POWER);
        this.#tokens.expect("]");
        node = this.#node({ kind: "index", at: token.at, base: node, index }, node, index);
      } else if (token.text === "->" || token.text === ".") {
        this.#tokens.index++;
        const name = this.#tokens.next();
        if (name.kind !== "name") {
          this.#tokens.index--;
          this.#tokens.fail("expected the name of a field");
        }
        node = this.#node({ kind: "member", at: name.at, base: node, name: name.text }, node);
      } else if (token.text === "++" || token.text === "--") {
        this.#tokens.index++;
        const operator = token.text;
        node = this.#node({ kind: "postfix", at: token.at, operator, operand: node }, node);
      } else {
        return node;
      }
    }
  }

  /** Adds the depth to a node and checks it. */
  #node<T extends DepthlessNode>(node: T, ...children: (ExprNode | undefined)[]): ExprNode {
    let depth = 0;
    for (const child of children) depth = Math.max(depth, child?.depth ?? 0);
    if (depth >= EXPR_DEPTH_MAX) {
      throw new ExprError(
        `nested deeper than ${EXPR_DEPTH_MAX} levels`,
        this.#tokens.source,
        node.at,
      );
    }
    return { ...node, depth: depth + 1 } as unknown as ExprNode;
  }
}

/** A node that has no depth yet. */
type DepthlessNode = ExprNode extends infer N
  ? N extends ExprNode
    ? Omit<N, "depth">
    : never
  : never;
