// The latency table: perf-prof's layout to the column, and the notes below it.
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { LatencyRow } from "../../../agent-host/analyze/latency_row.ts";
import { LossLog } from "../../../agent-host/analyze/loss_log.ts";
import {
  coverage,
  type LatencyLine,
  type LatencyTable,
  makeLatencyTable,
  unitKilocycles,
  unitMicroseconds,
} from "../../../agent-host/report/latency_table.ts";
import { writeLatencyTable } from "../../../agent-host/report/latency_text.ts";
import { type TableEvent, tableEvents } from "../../../agent-host/report/table_events.ts";
import { textOf } from "./lines.ts";

/** Events of guest 1. */
const [START, END] = ["sys_enter", "sys_exit"].map((label, index) => ({
  ...{ index, label, machine: "guest 1", text: label },
})) as [TableEvent, TableEvent];

const LINE: LatencyLine = {
  start: START,
  end: END,
  key: undefined,
  keyText: undefined,
  calls: 10,
  totalCycles: 100_000,
  minCycles: 1000,
  p50Cycles: 2000,
  p95Cycles: 3000,
  p99Cycles: 4000,
  p999Cycles: 4500,
  maxCycles: 5000,
  over: 0,
  boundCycles: 0,
  withinBound: 0,
  reversed: 0,
  violations: 0,
  violationCyclesMax: 0,
  leftOut: 0,
  leftOutCyclesMax: 0,
  lostEvents: 0,
};

/** Expected output, byte for byte. */
function golden(name: string): string {
  return readFileSync(new URL(`../../golden/report/${name}`, import.meta.url), "latin1");
}

function tableOf(parts: Partial<LatencyTable>, ...lines: Partial<LatencyLine>[]): string {
  const table: LatencyTable = {
    date: "2026-11-22 09:01:00.169219",
    wallNs: 0n,
    unit: unitMicroseconds(1),
    keyName: undefined,
    lines: lines.map((line) => ({ ...LINE, ...line })),
    linesCut: 0,
    clocks: [],
    thanCycles: Number.POSITIVE_INFINITY,
    unmatched: undefined,
    ...parts,
  };
  return textOf((out) => writeLatencyTable(out, table));
}

/** What follows the table of one row. */
function notesOf(parts: Partial<LatencyTable>, ...lines: Partial<LatencyLine>[]): string[] {
  return tableOf(parts, ...lines)
    .split("\n")
    .slice(3 + lines.length, -1);
}

describe("writeLatencyTable()", () => {
  test("prints the table of the document, in kcyc", () => {
    const text = tableOf(
      { date: "2023-04-12 15:38:45.755977", unit: unitKilocycles(1, 0.4) },
      {
        start: { ...START, text: "kvm_msi_set_irq" },
        end: { ...END, text: "irq_handler_entry" },
        calls: 5641,
        totalCycles: 40951486,
        minCycles: 4971,
        p50Cycles: 5736,
        p95Cycles: 7039,
        p99Cycles: 7938,
        maxCycles: 7631115,
      },
    );
    expect(text).toBe(golden("multi_trace_kcyc.txt"));
  });

  test("prints perf-prof's table in us", () => {
    const text = tableOf(
      {},
      {
        calls: 214968,
        totalCycles: 151852726,
        minCycles: 660,
        p50Cycles: 672,
        p95Cycles: 852,
        p99Cycles: 989,
        maxCycles: 78958,
      },
    );
    expect(text).toBe(golden("multi_trace_us.txt"));
  });

  test("prints perf-prof's table with a column for keys", () => {
    const text = tableOf(
      { keyName: "common_pid" },
      {
        key: "24877",
        calls: 2000000,
        totalCycles: 1804950300,
        minCycles: 601,
        p50Cycles: 897,
        p95Cycles: 1083,
        p99Cycles: 1243,
        maxCycles: 137364,
      },
    );
    expect(text.slice(text.indexOf("\n") + 1)).toBe(golden("multi_trace_keys.txt"));
  });

  test("widens the columns of long names and keys", () => {
    const [, head, rule, row] = tableOf(
      { keyName: "k" },
      { key: "18446744073709551615", start: { ...START, text: "a".repeat(30) } },
    ).split("\n");
    expect(head!.length).toBe(rule!.length);
    expect(row!.length).toBe(rule!.length);
    expect(head).toStartWith(`k${" ".repeat(19)} ${" ".repeat(25)}start => end      `);
  });

  test("says so when there are no pairs", () => {
    expect(tableOf({})).toBe("2026-11-22 09:01:00.169219 \nno pairs\n");
  });

  test("prints dashes where a row has no latency", () => {
    const row = tableOf(
      {},
      { calls: 0, totalCycles: 0, minCycles: Number.NaN, maxCycles: Number.NaN },
    ).split("\n")[3];
    expect(row!.trim().split(/ +/).slice(3)).toEqual([
      "0",
      "0.000",
      "-",
      "2.000",
      "3.000",
      "4.000",
      "-",
    ]);
  });

  test("escapes hostile names", () => {
    const text = tableOf(
      { keyName: "\x1b[1m" },
      {
        start: { ...START, text: "\x1b[2J" },
        end: { ...END, text: "\u009bé漢" },
      },
    );
    expect(text.replaceAll("\n", "")).toMatch(/^[ -~]*$/);
    expect(text).toContain("\\x1b[2J => \\x9b\\xe9\\u6f22");
  });
});

describe("writeLatencyTable() notes", () => {
  test("state the clock's error bound", () => {
    const clocks = [
      {
        what: "host => guest 1",
        method: "KVM debugfs offset, fitted perf clock",
        boundCycles: 412,
      },
      { what: "host => guest 2", method: "not aligned", boundCycles: Number.POSITIVE_INFINITY },
    ];
    expect(notesOf({ clocks }, {})).toEqual([
      "clock bound: 0.412 us (host => guest 1: KVM debugfs offset, fitted perf clock)",
      "clock bound: unknown (host => guest 2: not aligned)",
    ]);
    const unit = unitKilocycles(1, 0.4);
    expect(notesOf({ clocks: clocks.slice(0, 1), unit }, {})).toEqual([
      "clock bound: 0.412 kcyc, 0.165 us (host => guest 1: KVM debugfs offset, fitted perf clock)",
    ]);
  });

  test("mark percentiles touched by loss, with the share of pairs that they rest on", () => {
    const line = { calls: 9000, leftOut: 12, leftOutCyclesMax: 12345, lostEvents: 73 };
    expect(tableOf({}, line).split("\n")[3]).toEndWith("        5.000 *");
    expect(notesOf({}, line)).toEqual([
      "* sys_enter => sys_exit: percentiles rest on at least 99.06 % of the pairs: " +
        "73 events lost, 12 pairs around them left out (longest 12.345 us)",
    ]);
  });

  test("count what is over the threshold, and what the clocks cannot tell from zero", () => {
    const line = { over: 1, withinBound: 3, reversed: 2 };
    expect(notesOf({ thanCycles: 1e6 }, line)).toEqual([
      "sys_enter => sys_exit: 1 of 10 took longer than 1000.000 us",
      "sys_enter => sys_exit: 3 of 10 are smaller than the clock bound; " +
        "2 stamped in reverse count as 0",
    ]);
  });

  test("warn about effects before their causes", () => {
    expect(notesOf({}, { violations: 2, violationCyclesMax: 1200 })).toEqual([
      "WARNING: sys_enter => sys_exit: 2 ends are stamped before their start by more than the " +
        "clock bound, by 1.200 us at most",
      "HINT: the clocks are not related as assumed; check --tsc-offset, --vm, or the key",
    ]);
  });

  test("are summed over the keys of a pair", () => {
    const lines = [
      { key: "1", violations: 1, violationCyclesMax: 5, leftOut: 1, lostEvents: 4 },
      { key: "2", violations: 2, violationCyclesMax: 9, leftOut: 2, lostEvents: 4 },
    ];
    const notes = notesOf({ keyName: "key" }, ...lines);
    expect(notes[0]).toContain("at least 74.07 % of the pairs: 4 events lost, 3 pairs");
    expect(notes[1]).toContain("3 ends are stamped before");
  });

  test("are not summed over guests, whose events have the same names", () => {
    const other = (event: TableEvent): TableEvent => ({
      ...event,
      ...{ index: event.index + 2, machine: "guest 2", text: `guest 2 ${event.label}` },
    });
    const lines = [
      { calls: 100, lostEvents: 100 },
      { start: other(START), end: other(END), calls: 100, lostEvents: 0 },
      { start: other(START), end: other(END), calls: 100, withinBound: 7 },
    ];
    expect(notesOf({}, ...lines)).toEqual([
      "* sys_enter => sys_exit: percentiles rest on at least 50.00 % of the pairs: " +
        "100 events lost, 0 pairs around them left out",
      "guest 2 sys_enter => guest 2 sys_exit: 7 of 200 are smaller than the clock bound",
    ]);
  });

  test("tell what found no partner, at the end of a run", () => {
    const unmatched = {
      unmatchedEnds: 4,
      replacedStarts: 3,
      evictedStarts: 2,
      waitingStarts: 1,
      refusedCopies: 5,
    };
    expect(notesOf({ unmatched }, {})).toEqual([
      "5 starts waited without their fields: too many others did",
      "without partner: 4 ends, 3 starts replaced by a newer one, 2 starts evicted, " +
        "1 starts still waiting",
    ]);
  });
});

describe("makeLatencyTable()", () => {
  test("takes percentiles, unsigned keys and the losses of a row's machines", () => {
    const row = new LatencyRow(0, 1, { lo: 0xffffffff, hi: 0xffffffff });
    for (let i = 1; i <= 100; i++) row.latencies.record(i);
    row.noteMachines(0, 2);
    const losses = new LossLog();
    losses.note(0, 0, 5, 1);
    losses.note(1, 0, 100, 1);
    losses.note(2, 0, 20, 1);
    const [line] = makeLatencyTable({
      date: "",
      wallNs: 0n,
      unit: unitMicroseconds(1),
      keyName: "key",
      clocks: [],
      thanCycles: Number.POSITIVE_INFINITY,
      unmatched: undefined,
      rows: [row],
      losses,
      events: [START, END],
    }).lines;
    expect(line).toMatchObject({
      start: START,
      end: END,
      key: "18446744073709551615",
      calls: 100,
      totalCycles: 5050,
      minCycles: 1,
      p50Cycles: 50,
      p95Cycles: 95,
      p99Cycles: 99,
      p999Cycles: 100,
      maxCycles: 100,
      lostEvents: 25,
    });
    expect(coverage(line!)).toBe(0.8);
  });

  test("coverage() is 1 when nothing was lost", () => {
    expect(coverage({ calls: 0, leftOut: 0, lostEvents: 0 })).toBe(1);
    expect(coverage({ calls: 7, leftOut: 0, lostEvents: 0 })).toBe(1);
  });
});

describe("tableEvents()", () => {
  const textsOf = (hasManyGuests: boolean, ...events: [string, number][]): string[] =>
    tableEvents(
      events.map(([label, machine], index) => ({ index, label, machine })),
      hasManyGuests,
    ).map(({ text }) => text);

  test("names the machine where a label could mean another one's event", () => {
    expect(textsOf(false, ["a", 0], ["b", 1], ["b", 1])).toEqual(["a", "b", "b"]);
    expect(textsOf(false, ["a", 0], ["b", 1], ["a", 1])).toEqual(["host a", "b", "guest 1 a"]);
    expect(textsOf(true, ["a", 0], ["b", 1])).toEqual(["a", "guest 1 b"]);
    expect(textsOf(true, ["a", 0], ["b", 1], ["b", 2])).toEqual(["a", "guest 1 b", "guest 2 b"]);
  });
});
