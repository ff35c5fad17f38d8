// What the names in an expression mean.

import type { EventFormat, FormatField } from "../tracefs/format.ts";
import type { ContextSlot } from "./ir.ts";

/** What a name stands for. */
export type ExprVariable =
  | { readonly kind: "field"; readonly field: FormatField }
  | { readonly kind: "context"; readonly slot: ContextSlot }
  /** A number that the caller sets before each evaluation (EvalContext.values). */
  | { readonly kind: "value"; readonly index: number; readonly isSigned: boolean };

/** Whether a parameter or result is a number or text. */
export type ValueKind = "int" | "text";

/** A function that expressions may call; its body is in EvalFunctions. */
export interface FunctionSignature {
  readonly parameters: readonly ValueKind[];
  /** More arguments of any kind may follow (printf). */
  readonly isVariadic?: boolean;
  readonly result: ValueKind;
}

/** The names that one expression may use. */
export interface ExprScope {
  lookup(name: string): ExprVariable | undefined;
  lookupFunction(name: string): FunctionSignature | undefined;
  /**
   * A name that stands alone (not REC->name) and is nothing else: print formats have enum names.
   */
  lookupConstant?(name: string): { readonly lo: number; readonly hi: number } | undefined;
  /** What an error says the names are: fields first. */
  readonly names: readonly string[];
}

const CONTEXT_NAMES: ReadonlyMap<string, ContextSlot> = new Map<string, ContextSlot>([
  ["_cpu", "cpu"],
  ["_pid", "pid"],
  ["_tid", "tid"],
  ["_vcpu", "vcpu"],
  ["_vm", "vm"],
]);

/** The functions that users' expressions know; ntohl, ntohs and strncmp are built in. */
export const FUNCTION_SIGNATURES: ReadonlyMap<string, FunctionSignature> = new Map<
  string,
  FunctionSignature
>([
  ["ksymbol", { parameters: ["int"], result: "text" }],
  ["comm_get", { parameters: ["int"], result: "text" }],
  ["syscall_name", { parameters: ["int"], result: "text" }],
  ["exit_reason_str", { parameters: ["int", "int"], result: "text" }],
  ["printf", { parameters: ["text"], isVariadic: true, result: "int" }],
]);

/**
 * The scope of users' expressions on one event: its fields, `_cpu _pid _tid _vcpu _vm`, and the
 * values that the caller names (in the order of their index; signed).
 */
export function formatScope(
  format: EventFormat | undefined,
  valueNames: readonly string[] = [],
): ExprScope {
  const fields = format?.fieldByName ?? new Map<string, FormatField>();
  return {
    names: [...fields.keys(), ...valueNames, ...CONTEXT_NAMES.keys()],
    lookup(name) {
      const value = valueNames.indexOf(name);
      if (value >= 0) return { kind: "value", index: value, isSigned: true };
      const field = fields.get(name);
      if (field !== undefined) return { kind: "field", field };
      const slot = CONTEXT_NAMES.get(name);
      return slot === undefined ? undefined : { kind: "context", slot };
    },
    lookupFunction: (name) => FUNCTION_SIGNATURES.get(name),
  };
}
