// Walking a syntax tree.

import type { ExprNode } from "./ast.ts";

/** The field that `name` or `REC->name` names, undefined for anything else. */
export function plainName(node: ExprNode): string | undefined {
  if (node.kind === "name") return node.name;
  const isRecord = node.kind === "member" && node.base.kind === "name" && node.base.name === "REC";
  return isRecord ? node.name : undefined;
}

/** The nodes right below. */
export function childrenOf(node: ExprNode): readonly ExprNode[] {
  switch (node.kind) {
    case "unary":
    case "postfix":
    case "cast":
      return [node.operand];
    case "sizeof":
      return node.operand === undefined ? [] : [node.operand];
    case "binary":
    case "comma":
      return [node.left, node.right];
    case "assign":
      return [node.target, node.value];
    case "conditional":
      return node.yes === undefined ? [node.test, node.no] : [node.test, node.yes, node.no];
    case "call":
      return node.args;
    case "index":
      return [node.base, node.index];
    case "member":
      return [node.base];
    case "list":
      return node.items;
    case "block":
      return [...node.variables.map((variable) => variable.value), node.result];
    default:
      return [];
  }
}

/** Fields that the tree assigns to: the targets of = += ++ --, each as often as it stands there. */
export function assignedNodes(root: ExprNode): ExprNode[] {
  const targets: ExprNode[] = [];
  const pending: ExprNode[] = [root];
  for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
    if (node.kind === "assign") targets.push(node.target);
    if (node.kind === "postfix") targets.push(node.operand);
    if (node.kind === "unary" && (node.operator === "++" || node.operator === "--")) {
      targets.push(node.operand);
    }
    pending.push(...childrenOf(node));
  }
  return targets;
}
