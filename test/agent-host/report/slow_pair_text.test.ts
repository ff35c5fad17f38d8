// Slow pairs as text: perf-prof's lines with and without --detail.
import { describe, expect, test } from "bun:test";
import type { EventView } from "../../../agent-host/analyze/event_view.ts";
import type { SlowPair } from "../../../agent-host/analyze/slow_pairs.ts";
import { unitMicroseconds } from "../../../agent-host/report/latency_table.ts";
import { SlowPairText } from "../../../agent-host/report/slow_pair_text.ts";
import { TraceLines } from "../../../agent-host/report/trace_line.ts";
import { eventOf, localNs, machineOf, optionsOf, textOf, viewOf } from "./lines.ts";

const WALL = localNs(new Date(2026, 10, 22, 9, 11, 34), 947858);
const START = viewOf({ cpu: 0, tid: 25232, preempt: 1, info: "NR 110 (0, 0, 0, 0, 0, 0)" });
const END = viewOf({ time: 29083, cpu: 0, tid: 25232, preempt: 1, info: "NR 110 = 25228" });

const between = (time: number): EventView => viewOf({ time, cpu: 0, tid: 25232, info: "x" });

function render(details: Partial<SlowPair>): string[] {
  const options = optionsOf(
    WALL,
    4478451783000n,
    eventOf("raw_syscalls", "sys_enter"),
    machineOf(false, { 25232: "gen" }),
  );
  const text = new SlowPairText(new TraceLines(options), unitMicroseconds(1));
  const pair: SlowPair = {
    start: START,
    end: END,
    latencyCycles: 29083,
    boundCycles: 0,
    spansLoss: false,
    visitDetails: undefined,
    ...details,
  };
  return textOf((out) => text.write(out, pair))
    .split("\n")
    .slice(0, -1);
}

const FIRST =
  "2026-11-22 09:11:34.947858                gen  25232 ...1 [000] 4478.451783: " +
  "raw_syscalls:sys_enter: NR 110 (0, 0, 0, 0, 0, 0)";
const LAST =
  "2026-11-22 09:11:34.947887                gen  25232 ...1 [000] 4478.451812: " +
  "raw_syscalls:sys_enter: NR 110 = 25228";

describe("SlowPairText.write()", () => {
  test("prints the two events alone without detail", () => {
    expect(render({})).toEqual([FIRST, LAST]);
  });

  test("prints the latency between the two with detail", () => {
    expect(render({ visitDetails: () => 0 })).toEqual([FIRST, "|+ 29.083 us", LAST]);
  });

  test("prints the latency's bound where its digits show it", () => {
    const visitDetails = () => 0;
    const second = (boundCycles: number) => render({ visitDetails, boundCycles })[1];
    expect(second(0.4)).toBe("|+ 29.083 us");
    expect(second(412)).toBe("|+ 29.083 +-0.412 us");
    expect(second(Number.POSITIVE_INFINITY)).toBe("|+ 29.083 +-? us");
    const wide = { latencyCycles: 1_234_567_890, boundCycles: 500_000_123 };
    const visitOne: SlowPair["visitDetails"] = (visit) => {
      visit(between(1000), "between");
      return 0;
    };
    expect(render({ ...wide, visitDetails: visitOne })[1]).toStartWith(
      "|+ 1234567.890 +-500000.123 us  ",
    );
  });

  test("prints what lies between, the latency in the first line's place of the date", () => {
    const lines = render({
      visitDetails: (visit) => {
        visit(between(1000), "between");
        visit(between(2000), "between");
        return 3;
      },
    });
    const rest = "               gen  25232 .... [000] 4478.45178";
    expect(lines).toEqual([
      FIRST,
      `${"|+ 29.083 us".padEnd(27)}${rest}4: raw_syscalls:sys_enter: x`,
      `${"|".padEnd(27)}${rest}5: raw_syscalls:sys_enter: x`,
      LAST,
      "| the first 3 events in between are no longer kept",
    ]);
  });

  test("prints what came before and after", () => {
    const lines = render({
      visitDetails: (visit) => {
        visit(between(-1500), "before");
        visit(between(-500), "before");
        visit(between(30083), "after");
        return 0;
      },
    });
    expect(lines.map((line) => line.slice(0, 26).trimEnd())).toEqual([
      "-Previous -1.500 us",
      "|",
      "|",
      "2026-11-22 09:11:34.947858",
      "|+ 29.083 us",
      "2026-11-22 09:11:34.947887",
      "|",
      "`After 1.000 us",
    ]);
  });

  test("repeats the time since the start every 50 lines", () => {
    const lines = render({
      visitDetails: (visit) => {
        for (let i = 1; i <= 60; i++) visit(between(i * 100), "between");
        return 0;
      },
    });
    expect(lines[51]).toStartWith("|- 5.100 us ");
  });

  test("warns when events were lost in between", () => {
    expect(render({ spansLoss: true }).at(-1)).toBe(
      "| events were lost in between: these two may be no pair",
    );
  });
});
