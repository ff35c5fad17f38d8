// Slow pairs: what --than hands on, the bytes it keeps for that, and the events of --detail.
import { describe, expect, test } from "bun:test";
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import { DETAIL_ALL, type DetailOptions } from "../../../agent-host/analyze/detail.ts";
import { Pairing, type PairingOptions } from "../../../agent-host/analyze/pairing.ts";
import { PendingEvents } from "../../../agent-host/analyze/pending.ts";
import { chunkOf, type EventRow } from "./event_rows.ts";

/** Runs the rows and notes each slow pair: latency, start, details by place, end. */
function slowPairsOf(
  rings: readonly { readonly cpu?: number; readonly rows: readonly EventRow[] }[],
  options: Partial<PairingOptions>,
): string[] {
  const pool = new ChunkPool(1);
  const seen: string[] = [];
  const pairing = new Pairing({
    stages: [[0], [1]],
    isCycle: false,
    isPerInstance: false,
    bounds: new ClockBounds(),
    seed: 1,
    thanCycles: 20,
    onSlowPair: ({ start, end, latencyCycles, visitDetails }) => {
      const places: string[] = [];
      const missed = visitDetails?.((view, place) => places.push(`${place} ${view.timeCycles}`));
      const detail = places.length > 0 ? ` [${places.join(", ")}]` : "";
      const gone = missed !== undefined && missed > 0 ? ` ${missed} gone` : "";
      const data = [start, end].map(
        ({ bytes, rawOffset, tid }) => `${tid}/${bytes[rawOffset + 8]}`,
      );
      seen.push(`${latencyCycles}: ${data.join(" => ")}${detail}${gone}`);
    },
    ...options,
  });
  for (const { cpu = 0, rows } of rings) {
    const chunk = chunkOf(pool, { cpu }, rows);
    pairing.run(chunk, 0, chunk.count);
    chunk.bytes.fill(0xee);
    pool.release(chunk);
  }
  pairing.finish();
  return seen;
}

const detail = (options: Partial<DetailOptions>): DetailOptions => ({ ...DETAIL_ALL, ...options });
const row = (time: number, event: number, more: Partial<EventRow> = {}): EventRow => ({
  time,
  event,
  tid: 50,
  data: [time & 0xff],
  ...more,
});

describe("SlowPairs", () => {
  test("hands on both events with their bytes when the latency is above the threshold", () => {
    const rings = [
      { rows: [row(10, 0)] },
      { rows: [row(30, 1), row(40, 0)] },
      { rows: [row(61, 1)] },
    ];
    expect(slowPairsOf(rings, {})).toEqual(["21: 50/40 => 50/61"]);
  });

  test("hands on latencies below lowerCycles too", () => {
    const rings = [{ rows: [row(10, 0), row(12, 1), row(13, 0), row(23, 1)] }];
    expect(slowPairsOf(rings, { lowerCycles: 5 })).toEqual(["2: 50/10 => 50/12"]);
  });

  test("gives all events in between with detail", () => {
    const rings = [
      { rows: [row(5, 7), row(10, 0)] },
      { rows: [row(15, 8), row(16, 0, { key: 3 })], cpu: 1 },
      { rows: [row(40, 1), row(45, 8)] },
    ];
    expect(slowPairsOf(rings, { detail: DETAIL_ALL })).toEqual([
      "30: 50/10 => 50/40 [between 15, between 16]",
    ]);
  });

  test("gives events before and after within the times asked for, later ones included", () => {
    const rings = [
      { rows: [row(1, 7), row(5, 7), row(10, 0), row(20, 7), row(40, 1)] },
      { rows: [row(44, 8), row(46, 8), row(60, 8)] },
    ];
    const options = { detail: detail({ beforeCycles: 5, afterCycles: 5 }) };
    expect(slowPairsOf(rings, options)).toEqual([
      "30: 50/10 => 50/40 [before 5, between 20, after 44]",
    ]);
  });

  test("selects by CPU, thread and key of the start or the end event", () => {
    const rings = [
      { rows: [row(10, 0, { key: 9 })], cpu: 1 },
      { rows: [row(12, 7)], cpu: 1 },
      { rows: [row(13, 7, { tid: 60 })], cpu: 2 },
      { rows: [row(14, 7, { tid: 61 })], cpu: 3 },
      { rows: [row(15, 7, { tid: 62, key: 9 })], cpu: 4 },
      { rows: [row(40, 1, { key: 9, tid: 61 })], cpu: 2 },
    ];
    const between = (options: Partial<DetailOptions>): string =>
      slowPairsOf(rings, { detail: detail(options) })[0]!.replace(/.*\[|between |\]/g, "");
    expect(between({ sameCpu: true })).toBe("12, 13");
    expect(between({ sameCpu: true, withEnd: false })).toBe("12");
    expect(between({ sameCpu: true, withStart: false })).toBe("13");
    expect(between({ sameTid: true })).toBe("12, 14");
    expect(between({ samePid: true })).toBe("12, 14");
    expect(between({ sameKey: true })).toBe("15");
    expect(between({ sameKey: true, sameCpu: true })).toBe("12, 13, 15");
  });

  test("hides events that closely follow the last one shown", () => {
    const rings = [{ rows: [10, 12, 13, 16, 17, 18].map((time, i) => row(time, i === 0 ? 0 : 7)) }];
    rings.push({ rows: [row(50, 1)] });
    expect(slowPairsOf(rings, { detail: detail({ hideCycles: 4 }) })).toEqual([
      "40: 50/10 => 50/50 [between 12, between 16]",
    ]);
  });

  test("keeps the start's bytes however many events come in between", () => {
    const fill = Array.from({ length: 3000 }, (_, i) => row(20 + i / 1000, 7));
    const rings = [{ rows: [row(10, 0)] }, ...new Array(100).fill({ rows: fill })];
    rings.push({ rows: [row(99, 1)] });
    const [seen] = slowPairsOf(rings, { detail: detail({ sameTid: true, withStart: false }) });
    expect(seen).toStartWith("89: 50/10 => 50/99 [between");
    expect(seen).toMatch(/ \d+ gone$/);
  });
});

describe("PendingEvents", () => {
  test("evicts an old event when the limit is reached", () => {
    const pool = new ChunkPool(1);
    const rows = Array.from({ length: 40 }, (_, i) => ({ time: i, event: 0, key: i }));
    const chunk = chunkOf(pool, {}, rows);
    const pending = new PendingEvents(1, undefined, 8);
    for (let i = 0; i < 40; i++) pending.put(chunk, i, 0);
    expect(pending.size).toBe(8);
    expect(pending.evicted).toBe(32);
    expect(rows.filter(({ key }) => pending.find(key, 0) >= 0).map(({ key }) => key)).toEqual([
      32, 33, 34, 35, 36, 37, 38, 39,
    ]);
  });
});
