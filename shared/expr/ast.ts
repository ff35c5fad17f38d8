// The syntax tree of a C expression, before names and types are known.

import type { CType } from "./c_type.ts";

/** Operators with two operands, `~` being the glob match. */
export type BinaryOperator =
  | "*"
  | "/"
  | "%"
  | "+"
  | "-"
  | "<<"
  | ">>"
  | "<"
  | "<="
  | ">"
  | ">="
  | "~"
  | "=="
  | "!="
  | "&"
  | "^"
  | "|"
  | "&&"
  | "||";

export type UnaryOperator = "+" | "-" | "!" | "~" | "&" | "*" | "++" | "--";

interface NodeBase {
  /** Index of the character that an error about this node points at. */
  readonly at: number;
  /** Levels of nodes below, for the depth limit. */
  readonly depth: number;
}

export interface NumberNode extends NodeBase {
  readonly kind: "number";
  /** Signed 32-bit words. */
  readonly lo: number;
  readonly hi: number;
  readonly isUnsigned: boolean;
  /** The byte of a character literal, so that it can stand for a string of one. */
  readonly charBytes: Uint8Array | undefined;
}

export interface StringNode extends NodeBase {
  readonly kind: "string";
  readonly bytes: Uint8Array;
  /** Where its source begins and ends, quotes included (several literals in a row are one). */
  readonly end: number;
}

export interface NameNode extends NodeBase {
  readonly kind: "name";
  readonly name: string;
}

export interface UnaryNode extends NodeBase {
  readonly kind: "unary";
  readonly operator: UnaryOperator;
  readonly operand: ExprNode;
}

/** x++ and x-- */
export interface PostfixNode extends NodeBase {
  readonly kind: "postfix";
  readonly operator: "++" | "--";
  readonly operand: ExprNode;
}

export interface BinaryNode extends NodeBase {
  readonly kind: "binary";
  readonly operator: BinaryOperator;
  readonly left: ExprNode;
  readonly right: ExprNode;
}

/** target = value; for += and the like `operator` is the arithmetic one. */
export interface AssignNode extends NodeBase {
  readonly kind: "assign";
  readonly operator: BinaryOperator | undefined;
  readonly target: ExprNode;
  readonly value: ExprNode;
}

/** test ? yes : no; GNU's `test ?: no` has no `yes`. */
export interface ConditionalNode extends NodeBase {
  readonly kind: "conditional";
  readonly test: ExprNode;
  readonly yes: ExprNode | undefined;
  readonly no: ExprNode;
}

export interface CommaNode extends NodeBase {
  readonly kind: "comma";
  readonly left: ExprNode;
  readonly right: ExprNode;
}

export interface CastNode extends NodeBase {
  readonly kind: "cast";
  readonly type: CType;
  readonly operand: ExprNode;
}

/** sizeof(type) or sizeof expression. */
export interface SizeofNode extends NodeBase {
  readonly kind: "sizeof";
  readonly type: CType | undefined;
  readonly operand: ExprNode | undefined;
}

export interface CallNode extends NodeBase {
  readonly kind: "call";
  readonly name: string;
  readonly args: readonly ExprNode[];
}

export interface IndexNode extends NodeBase {
  readonly kind: "index";
  readonly base: ExprNode;
  readonly index: ExprNode;
}

/** base->name and base.name */
export interface MemberNode extends NodeBase {
  readonly kind: "member";
  readonly base: ExprNode;
  readonly name: string;
}

/** { value, "text" } as in the arguments of __print_flags. */
export interface ListNode extends NodeBase {
  readonly kind: "list";
  readonly items: readonly ExprNode[];
}

/** GNU's ({ int x = 1; int y = 2; x < y ? x : y; }), as the kernel's min() leaves it in formats. */
export interface BlockNode extends NodeBase {
  readonly kind: "block";
  readonly variables: readonly BlockVariable[];
  readonly result: ExprNode;
}

/** One declaration of a block. */
export interface BlockVariable {
  readonly name: string;
  readonly type: CType;
  readonly value: ExprNode;
}

export type ExprNode =
  | NumberNode
  | StringNode
  | NameNode
  | UnaryNode
  | PostfixNode
  | BinaryNode
  | AssignNode
  | ConditionalNode
  | CommaNode
  | CastNode
  | SizeofNode
  | CallNode
  | IndexNode
  | MemberNode
  | ListNode
  | BlockNode;
