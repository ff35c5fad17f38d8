// JSON lines: every line parses, is pure ASCII, and carries the values of the text.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { writeDoubtJson } from "../../../agent-host/report/doubt_json.ts";
import { EventJson, type EventJsonOptions } from "../../../agent-host/report/event_json.ts";
import { jsonNumber, jsonString, writeJsonBytes } from "../../../agent-host/report/json_value.ts";
import { type LatencyTable, unitMicroseconds } from "../../../agent-host/report/latency_table.ts";
import { makeLedger } from "../../../agent-host/report/ledger.ts";
import { writeLatencyJson, writeLedgerJson } from "../../../agent-host/report/table_json.ts";
import type { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { parseFormat } from "../../../shared/tracefs/format.ts";
import { ascii, u16, u32, u64 } from "../analyze/record_bytes.ts";
import { eventOf, machineOf, optionsOf, textOf, viewOf } from "./lines.ts";

const FORMAT = parseFormat(
  `name: y
ID: 1
format:
	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;

	field:int irq;	offset:8;	size:4;	signed:1;
	field:__data_loc char[] name;	offset:12;	size:4;	signed:0;
	field:u64 big;	offset:16;	size:8;	signed:0;
	field:s64 less;	offset:24;	size:8;	signed:1;
	field:unsigned short args[2];	offset:32;	size:4;	signed:0;
	field:char comm[4];	offset:36;	size:4;	signed:0;

print fmt: "irq=%d", REC->irq
`,
  "x",
);

/** The fields behind the common ones, as text for viewOf(). */
function fieldsText(name: string, offset = 40): string {
  const bytes = [
    ...u32(-5 >>> 0),
    ...u16(offset),
    ...u16(name.length),
    ...u32(0xffffffff),
    ...u32(0xffffffff),
    ...u32(-2 >>> 0),
    ...u32(0xffffffff),
    ...u16(7),
    ...u16(65535),
    ...ascii("ab\0c"),
    ...ascii(name),
  ];
  return String.fromCharCode(...bytes);
}

function optionsFor(comm: string): EventJsonOptions {
  const machine = { ...machineOf(true, { 7: comm }), name: 'guest "1"' };
  const event = { ...eventOf("x", "y"), format: FORMAT };
  const base = optionsOf(1681278446370747123n, 186430038050123n, event, machine);
  return { ...base, events: [event], machines: [machine], isTsc: false, nsPerCycle: 1 };
}

function linesOf(write: (out: ByteWriter) => void): Record<string, unknown>[] {
  const text = textOf(write);
  expect(text).toMatch(/^([ -~]*\n)*$/);
  return text
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line));
}

describe("EventJson", () => {
  test("writes an event with its fields", () => {
    const view = viewOf({
      time: 877,
      cpu: 77,
      tid: 7,
      flags: 9,
      info: fieldsText("virtio0-input.3"),
    });
    const json = new EventJson(optionsFor("qemu"));
    const [line] = linesOf((out) => json.writeEvent(out, view));
    expect(line).toMatchObject({
      type: "event",
      machine: 'guest "1"',
      guest: true,
      wall_ns: "1681278446370748000",
      clock_ns: "186430038051000",
      cpu: 77,
      tid: 7,
      comm: "qemu",
      flags: "d.h.",
      event: "x:y",
      fields: {
        irq: -5,
        name: "virtio0-input.3",
        big: "18446744073709551615",
        less: -2,
        args: [7, 65535],
        comm: "ab",
      },
    });
  });

  test("writes null for fields outside the record", () => {
    const json = new EventJson(optionsFor("qemu"));
    const view = viewOf({ cpu: 0, tid: 7, info: fieldsText("name", 60) });
    const [line] = linesOf((out) => json.writeEvent(out, view));
    expect(line!.fields).toMatchObject({ irq: -5, name: null });
    const short = viewOf({ cpu: 0, tid: 7, info: "abcd" });
    const [cut] = linesOf((out) => json.writeEvent(out, short));
    expect(cut!.fields).toMatchObject({ name: null, big: null, comm: null });
  });

  test("escapes hostile comm and text, and cuts a text without end", () => {
    const hostile = 'a"\\\x1b[2J\x9b\x7f\n';
    const options = optionsFor(hostile);
    options.events[0]!.info.print = (out) => {
      for (let i = 0; i < 100; i++) out.fill(0x22, 4000);
    };
    const view = viewOf({ cpu: 0, tid: 7, info: "" });
    const [line] = linesOf((out) => new EventJson(options).writeEvent(out, view));
    expect(line!.comm).toBe(hostile);
    expect((line!.text as string).length).toBeLessThanOrEqual(64 * 1024);
    expect(line!.text).toMatch(/^"+$/);
  });

  test("writes a slow pair with its details", () => {
    const json = new EventJson(optionsFor("qemu"));
    const view = viewOf({ cpu: 1, tid: 7, info: "" });
    const [line] = linesOf((out) =>
      json.writeSlowPair(out, {
        start: view,
        end: view,
        latencyCycles: 1234.5,
        boundCycles: 12,
        spansLoss: false,
        visitDetails: (visit) => {
          visit(view, "before");
          visit(view, "between");
          return 4;
        },
      }),
    );
    expect(line).toMatchObject({
      type: "slow_pair",
      latency_ns: 1234.5,
      bound_ns: 12,
      spans_loss: false,
      start: { cpu: 1 },
      end: { cpu: 1 },
      details: [{ place: "before" }, { place: "between" }],
      details_gone: 4,
    });
  });

  test("writes any record as a line of JSON", () => {
    const json = new EventJson(optionsFor("q"));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.double({ noNaN: true }), (data, time) => {
        const when = Math.max(-1e18, Math.min(1e18, time));
        const view = viewOf({ time: when, cpu: 0, tid: 7, info: String.fromCharCode(...data) });
        linesOf((out) => json.writeEvent(out, view));
      }),
      { numRuns: 500 },
    );
  });
});

describe("writeLatencyJson()", () => {
  test("writes the interval and its lines in ns, with the bound", () => {
    const table: LatencyTable = {
      date: "",
      wallNs: 1681285125755977000n,
      unit: unitMicroseconds(0.5),
      keyName: "common_pid",
      lines: [
        {
          start: { index: 0, label: "a\x1b", machine: "host", text: "host a" },
          end: { index: 1, label: "b", machine: "guest 1", text: "b" },
          key: "24877",
          keyText: "gen",
          calls: 2,
          totalCycles: 300,
          minCycles: 100,
          p50Cycles: 100,
          p95Cycles: 200,
          p99Cycles: 200,
          p999Cycles: 200,
          maxCycles: Number.NaN,
          over: 1,
          boundCycles: 8,
          withinBound: 1,
          reversed: 0,
          violations: 0,
          violationCyclesMax: 0,
          leftOut: 1,
          leftOutCyclesMax: 40,
          lostEvents: 1,
        },
      ],
      linesCut: 3,
      clocks: [{ what: "host => guest 1", method: "ping", boundCycles: 60000 }],
      thanCycles: Number.POSITIVE_INFINITY,
      unmatched: undefined,
    };
    const [interval, line] = linesOf((out) => writeLatencyJson(out, table));
    expect(interval).toEqual({
      type: "interval",
      wall_ns: "1681285125755977000",
      lines: 1,
      lines_cut: 3,
      than_ns: null,
      clocks: [{ what: "host => guest 1", method: "ping", bound_ns: 30000 }],
    });
    expect(line).toMatchObject({
      type: "latency",
      start: "a\x1b",
      start_machine: "host",
      end: "b",
      end_machine: "guest 1",
      key: "24877",
      key_name: "common_pid",
      total_ns: 150,
      p50_ns: 50,
      max_ns: null,
      bound_ns: 4,
      left_out_max_ns: 20,
      coverage: 0.5,
    });
  });
});

describe("writeLedgerJson()", () => {
  test("writes rows and verdict", () => {
    const row = {
      machine: "guest 1",
      cpu: 3,
      produced: 10,
      delivered: 6,
      lostKernel: 2,
      drops: [{ place: "slow\x1bclient", events: 1 }],
      gapBytes: 0,
    };
    const [first, verdict] = linesOf((out) => writeLedgerJson(out, makeLedger([row])));
    expect(first).toMatchObject({ type: "ledger", produced: 10, dropped: 1, drops: row.drops });
    expect(verdict).toMatchObject({
      type: "ledger_verdict",
      state: "unbalanced",
      unaccounted: [{ machine: "guest 1", cpu: 3, events: 1 }],
    });
  });

  test("writes which streams ended without a goodbye, and where", () => {
    const counts = { delivered: 6, lostKernel: 0, drops: [], gapBytes: 0 };
    const name = { machine: "guest 1", stream: "1" };
    const row = { ...name, cpu: 3, produced: undefined, ...counts, endPosition: 480 };
    const ledger = makeLedger([row], [{ ...name, completeNs: 1_681_278_446_370_747_999n }]);
    const [first, end, verdict] = linesOf((out) => writeLedgerJson(out, ledger));
    expect(first).toMatchObject({ type: "ledger", stream: "1", produced: null, end_position: 480 });
    expect(end).toEqual({
      ...{ type: "stream_end", ...name, goodbye: false },
      complete_ns: "1681278446370747999",
    });
    expect(verdict).toMatchObject({ type: "ledger_verdict", state: "unknown" });
  });
});

describe("JSON values", () => {
  test("jsonString() is ASCII and parses back", () => {
    fc.assert(
      fc.property(fc.string({ unit: "binary" }), (text) => {
        expect(jsonString(text)).toMatch(/^[ -~]*$/);
        expect(JSON.parse(jsonString(text))).toBe(text);
      }),
    );
  });

  test("writeJsonBytes() is ASCII and parses back", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 2000 }), (bytes) => {
        const text = textOf((out) => writeJsonBytes(out, bytes, 0, bytes.length));
        expect(text).toMatch(/^[ -~]*$/);
        expect(JSON.parse(text)).toBe(Buffer.from(bytes).toString("latin1"));
      }),
      { numRuns: 300 },
    );
  });

  test("jsonNumber() rounds, and knows no NaN", () => {
    expect([0.1234, 2e15, -0.0004].map((value) => jsonNumber(value, 3))).toEqual([
      "0.123",
      "2000000000000000",
      "0",
    ]);
    expect(jsonNumber(Number.NaN, 3)).toBe("null");
    expect(jsonNumber(1e306, 3)).toBe("1e+306");
  });

  test("u64 helpers of this test write what they say", () => {
    expect(u64(2 ** 32 + 1)).toEqual([1, 0, 0, 0, 1, 0, 0, 0]);
  });
});

describe("writeDoubtJson()", () => {
  const doubt = { machine: 1, fromCycles: 10, toCycles: 20, extraCycles: 5, isWithin: true };

  test.each([
    [10, "186430038050133"],
    [-Infinity, null],
  ])("says since when: %p", (fromCycles, fromNs) => {
    const options = { clock: optionsFor("").clock, isTsc: false, nsPerCycle: 1 };
    const [line] = linesOf((out) => {
      writeDoubtJson(out, options, "guest 1", { ...doubt, fromCycles });
    });
    expect(line).toEqual({
      type: "clock_doubt",
      machine: "guest 1",
      from_ns: fromNs,
      to_ns: "186430038050143",
      extra_bound_ns: 5,
      within: true,
    });
  });
});
