/**
 * Which events sample their call chain: those with the attribute `stack`, or all with -g.
 *
 *   sched:sched_switch//stack/              kernel and user, as deep as the kernel allows
 *   sched:sched_switch//stack=kernel/       one of the two
 *   sched:sched_switch//max-stack=16/       the innermost 16 entries
 */
import type { CallChain } from "../perf/attr.ts";
import type { EventAttributes } from "./spec.ts";

/** What of its call chain an event samples; undefined for nothing. `isForAll`: -g was given. */
export function callChainOf(attributes: EventAttributes, isForAll: boolean): CallChain | undefined {
  const { stack, maxStack } = attributes;
  if (stack === undefined && maxStack === undefined && !isForAll) return undefined;
  return {
    hasKernel: stack !== "user",
    hasUser: stack !== "kernel",
    entriesMax: maxStack ?? 0,
  };
}
