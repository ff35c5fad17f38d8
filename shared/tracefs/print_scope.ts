// The names in print formats: REC->field, the kernel's macros, and enum constants that it left
// there.

import type { CallNode, ExprNode } from "../expr/ast.ts";
import type { Checker } from "../expr/check.ts";
import { arithmetic, ZERO } from "../expr/operations.ts";
import type { ExprScope } from "../expr/scope.ts";
import { constant, type Typed, type TypedInt } from "../expr/typed.ts";
import type { EventFormat, FormatField } from "./format.ts";
import type { PrintOptions } from "./print_piece.ts";

/** Constants that formats name without their value; as libtraceevent knows them. */
const KNOWN_CONSTANTS: ReadonlyMap<string, number> = new Map([
  ["HI_SOFTIRQ", 0],
  ["TIMER_SOFTIRQ", 1],
  ["NET_TX_SOFTIRQ", 2],
  ["NET_RX_SOFTIRQ", 3],
  ["BLOCK_SOFTIRQ", 4],
  ["IRQ_POLL_SOFTIRQ", 5],
  ["TASKLET_SOFTIRQ", 6],
  ["SCHED_SOFTIRQ", 7],
  ["HRTIMER_SOFTIRQ", 8],
  ["RCU_SOFTIRQ", 9],
  ["HRTIMER_NORESTART", 0],
  ["HRTIMER_RESTART", 1],
  ["true", 1],
  ["false", 0],
  ["NULL", 0],
]);

const NSEC_PER_SEC: TypedInt = { kind: "int", ir: constant(1000000000, 0), isSigned: false };

const WRITABLE_MASK: TypedInt = { kind: "int", ir: constant(2, 0), isSigned: true };

/** The value of a constant's name, or undefined when nobody knows it. */
export function constantValue(name: string, options: PrintOptions): bigint | undefined {
  const known = KNOWN_CONSTANTS.get(name);
  return known === undefined ? options.constants?.(name) : BigInt(known);
}

/** The scope of one print format; unknown constants count as 0 and are noted in `unresolved`. */
export function printScope(
  format: EventFormat,
  options: PrintOptions,
  unresolved: Set<string>,
): ExprScope {
  return {
    names: [...format.fieldByName.keys()],
    lookup(name) {
      const field = format.fieldByName.get(name);
      return field === undefined ? undefined : { kind: "field", field };
    },
    lookupFunction: () => undefined,
    lookupConstant(name) {
      const value = constantValue(name, options);
      if (value === undefined) unresolved.add(name);
      const bits = value ?? 0n;
      return { lo: Number(BigInt.asIntN(32, bits)), hi: Number(BigInt.asIntN(32, bits >> 32n)) };
    },
  };
}

/** Macros and helpers whose value is a number or a place in the record. */
export function printCallHook(checker: Checker, node: CallNode): Typed | undefined {
  switch (node.name) {
    case "__get_str":
    case "__get_rel_str":
    case "__get_dynamic_array":
    case "__get_rel_dynamic_array":
    case "__get_sockaddr":
    case "__get_rel_sockaddr":
    case "__get_sockaddr_rel":
      return checker.field(fieldArgument(checker, node), node.at);
    case "__get_dynamic_array_len":
    case "__get_rel_dynamic_array_len": {
      const field = fieldArgument(checker, node);
      if (!field.isDynamic)
        return checker.fail(`"${field.name}" has no length of its own`, node.at);
      checker.needBytes(field.offsetBytes + field.sizeBytes);
      return { kind: "int", ir: { op: "dynamic_length", field }, isSigned: true };
    }
    case "__builtin_expect":
      return checker.value(argument(checker, node, 0));
    case "__le16_to_cpup": {
      const base = checker.value(argument(checker, node, 0));
      if (base.kind !== "pointer") return checker.fail("__le16_to_cpup() wants an array", node.at);
      return checker.element({ ...base, elementBytes: 2, isSigned: false }, ZERO, node.at);
    }
    // Of a page table entry, as libtraceevent's plugin for kvm has it: PT_WRITABLE_MASK.
    case "is_writable_pte":
      return arithmetic("and", checker.int(argument(checker, node, 0)), WRITABLE_MASK);
    // Milliseconds at HZ=1000, which is all that a format allows to know.
    case "jiffies_to_msecs":
      return checker.int(argument(checker, node, 0));
    case "__print_ns_to_secs":
      return arithmetic("div_u", checker.int(argument(checker, node, 0)), NSEC_PER_SEC);
    case "__print_ns_without_secs":
      return arithmetic("rem_u", checker.int(argument(checker, node, 0)), NSEC_PER_SEC);
    // Text, which as a number is nothing.
    case "__print_flags":
    case "__print_symbolic":
    case "__print_hex":
    case "__print_array":
    case "__get_bitmask":
    case "__get_cpumask":
      return { kind: "int", ir: constant(0, 0), isSigned: true };
    default:
      // Page table entries are numbers in a struct.
      if (!PAGE_TABLE_CAST.test(node.name)) return undefined;
      return checker.int(argument(checker, node, 0));
  }
}

/** pte_val(native_make_pte(REC->pteval)) */
const PAGE_TABLE_CAST = /^((native_)?(pte|pmd|pud|p4d|pgd)_val|native_make_(pte|pmd|pud|p4d|pgd))$/;

/** The field that the only argument names. */
export function fieldArgument(checker: Checker, node: CallNode): FormatField {
  const first = argument(checker, node, 0);
  const name = first.kind === "name" ? first.name : "";
  const variable = checker.scope.lookup(name);
  if (variable?.kind === "field") return variable.field;
  return checker.fail(`${node.name}() wants the name of a field`, node.at);
}

function argument(checker: Checker, node: CallNode, index: number): ExprNode {
  return node.args[index] ?? checker.fail(`${node.name}() has too few arguments`, node.at);
}
