/** Which events sample their call chain, and what of it. */
import { describe, expect, test } from "bun:test";
import { callChainOf } from "../../../shared/event/call_chain.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";

function ofSpec(text: string, isForAll = false) {
  return callChainOf(parseEventSpecs(text)[0]!.attributes, isForAll);
}

describe("callChainOf", () => {
  test("callChainOf() of an event that asks for nothing is nothing, unless all do", () => {
    expect(ofSpec("a:b//alias=x/")).toBeUndefined();
    expect(ofSpec("a:b", true)).toEqual({ hasKernel: true, hasUser: true, entriesMax: 0 });
  });

  test("callChainOf() of stack and max-stack", () => {
    expect(ofSpec("a:b//stack/")).toEqual({ hasKernel: true, hasUser: true, entriesMax: 0 });
    expect(ofSpec("a:b//stack=user/")).toEqual({ hasKernel: false, hasUser: true, entriesMax: 0 });
    expect(ofSpec("a:b//max-stack=7/")).toEqual({ hasKernel: true, hasUser: true, entriesMax: 7 });
    const both = ofSpec("a:b//stack=kernel/max-stack=7/", true);
    expect(both).toEqual({ hasKernel: true, hasUser: false, entriesMax: 7 });
  });
});
