// Timeline, ClockBounds, LossLog and LatencyRows: their limits.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { ClockBounds, MACHINES_MAX } from "../../../agent-host/analyze/clock_bounds.ts";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { LatencyRows } from "../../../agent-host/analyze/latency_row.ts";
import { LossLog } from "../../../agent-host/analyze/loss_log.ts";
import { Timeline } from "../../../agent-host/analyze/timeline.ts";
import { chunkOf } from "./event_rows.ts";

describe("Timeline", () => {
  test("keeps the newest events, as far as entries and bytes reach", () => {
    const pool = new ChunkPool(1);
    const size = fc.nat(120);
    const limits = fc.record({ entries: fc.integer({ min: 1, max: 20 }), bytes: fc.constant(512) });
    fc.assert(
      fc.property(fc.array(size, { maxLength: 60 }), limits, (sizes, { entries, bytes }) => {
        const timeline = new Timeline(entries, bytes);
        const rows = sizes.map((length, i) => ({
          time: i,
          event: i % 7,
          key: i,
          tid: i,
          data: new Array(length).fill(i & 0xff),
        }));
        const chunk = chunkOf(pool, { cpu: 3, machine: 1 }, rows);
        for (let i = 0; i < rows.length; i++) timeline.add(chunk, i);
        const view = new EventView();
        let isKept = false;
        for (const [i, row] of rows.entries()) {
          // Once one is kept, all that are newer are.
          if (isKept) expect(timeline.has(i)).toBe(true);
          isKept = timeline.has(i);
          if (!isKept) continue;
          expect(rows.length - i).toBeLessThanOrEqual(entries);
          timeline.view(i, view);
          expect(timeline.timeCycles(i)).toBe(i);
          expect(view).toMatchObject({ machine: 1, cpu: 3, timeCycles: i, event: i % 7, keyLo: i });
          expect(view.tid).toBe(i);
          expect(view.rawOffset % 8).toBe(4);
          const data = view.bytes.subarray(view.rawOffset + 8, view.rawOffset + view.rawBytes);
          expect([...data]).toEqual([...row.data]);
        }
        if (rows.length > 0) expect(isKept).toBe(true);
        expect(timeline.has(rows.length)).toBe(false);
        pool.release(chunk);
      }),
      { numRuns: 300 },
    );
  });
});

describe("ClockBounds", () => {
  test("between() gives the bound set last", () => {
    const bounds = new ClockBounds();
    for (const cycles of [500, 60, 70]) bounds.set(0, 1, cycles);
    expect(bounds.between(0, 1)).toBe(70);
  });

  test("is symmetric, 0 when not set, and knows which machines are inexact", () => {
    const bounds = new ClockBounds();
    bounds.set(2, 0, 50);
    bounds.set(1, 0, 0);
    expect([bounds.between(0, 2), bounds.between(2, 0), bounds.between(0, 1)]).toEqual([50, 50, 0]);
    expect([0, 1, 2].map((machine) => bounds.isExact(machine))).toEqual([false, true, false]);
  });

  test.each([
    [0, 0, 1],
    [0, MACHINES_MAX, 1],
    [-1, 0, 1],
    [0, 1, -1],
    [0, 1, Number.NaN],
  ])("set(%d, %d, %d) throws", (a, b, cycles) => {
    expect(() => new ClockBounds().set(a, b, cycles)).toThrow(RangeError);
  });
});

test("LossLog.spans() regards the latest loss of either machine; reset() keeps its time", () => {
  const log = new LossLog();
  expect(log.isEmpty).toBe(true);
  log.note(1, 0, 5, 100);
  log.note(1, 0, 2, 90);
  // The record behind a loss may start a pair.
  expect([log.spans(0, 1, 99), log.spans(1, 0, 99), log.spans(0, 1, 100)]).toEqual([
    true,
    true,
    false,
  ]);
  expect(log.spans(0, 2, 0)).toBe(false);
  expect(log.events(1)).toBe(7);
  log.reset();
  expect(log.events(1)).toBe(0);
  expect(log.spans(0, 1, 99)).toBe(true);
});

test("LatencyRows.row() shares one row between keys beyond the limit", () => {
  const rows = new LatencyRows(true, 1, 2);
  for (const key of [1, 2, 3, 4, 1]) rows.row(0, 1, key, 0).latencies.record(key);
  const summary = rows
    .list()
    .map(({ instance, isOther, latencies }) => [instance?.lo, isOther, latencies.count]);
  expect(summary).toEqual([
    [1, false, 2],
    [2, false, 1],
    [undefined, true, 2],
  ]);
  rows.reset();
  expect(rows.list()).toEqual([]);
  rows.row(0, 1, 9, 0).latencies.record(1);
  expect(rows.list()[0]!.instance).toEqual({ lo: 9, hi: 0 });
});
