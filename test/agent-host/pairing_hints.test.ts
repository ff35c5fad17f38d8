/** Hints about what multi-trace was asked to pair. */
import { expect, test } from "bun:test";
import { pairingHints } from "../../agent-host/pairing_hints.ts";
import type { EngineOrder } from "../../agent-host/protocol.ts";
import type { SessionEvent } from "../../agent-host/session/session_event.ts";
import { parseEventSpecs } from "../../shared/event/spec.ts";

const ORDER = { command: "multi-trace", key: undefined, detail: undefined, pid: -1 };

function hintsOf(order: Partial<EngineOrder>, ...texts: [machine: number, text: string][]) {
  const events = texts.map(([machine, text]) => {
    const [spec] = parseEventSpecs(text);
    return { machine, spec: spec!, system: spec!.system, name: spec!.name };
  });
  return pairingHints({ ...ORDER, ...order } as EngineOrder, events as SessionEvent[]);
}

test("pairingHints() tells of machines whose events are paired without a key", () => {
  expect(hintsOf({}, [0, "a:b"], [1, "a:c"])).toMatchObject([
    expect.stringMatching(/^HINT: without key= events of host and guest 1 are paired by equal CPU/),
  ]);
  expect(hintsOf({ pid: 7 }, [0, "a:b"], [1, "a:c"])[0]).toContain("by equal thread ids");
  expect(hintsOf({ key: "_vcpu" }, [0, "a:b"], [1, "a:c"])).toEqual([]);
  expect(hintsOf({}, [0, "a:b//key=_cpu/"], [1, "a:c//key=_cpu/"])).toEqual([]);
  expect(hintsOf({}, [1, "a:b"], [1, "a:c"])).toEqual([]);
  expect(hintsOf({ detail: "" }, [0, "a:b"], [0, "a:c"], [1, "a:d//untraced/"])).toEqual([]);
});

test("pairingHints() tells of untraced events that nothing shows", () => {
  const UNTRACED = "HINT: untraced events are only shown by --detail: a:c is sampled in vain";
  expect(hintsOf({}, [0, "a:b"], [0, "a:c//untraced/"])).toEqual([UNTRACED]);
  expect(hintsOf({ detail: "" }, [0, "a:b"], [0, "a:c//untraced/"])).toEqual([]);
  expect(hintsOf({}, [0, "a:b"], [0, "a:c//untraced/trigger/"])).toEqual([]);
});

test("pairingHints() has nothing to say about trace", () => {
  expect(hintsOf({ command: "trace" }, [0, "a:b"], [1, "a:c//untraced/"])).toEqual([]);
});
