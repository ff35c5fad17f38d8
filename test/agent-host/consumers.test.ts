/** What the commands do with merged events: when tables come, what they hold, and where -N ends. */
import { describe, expect, test } from "bun:test";
import { NO_EVENT } from "../../agent-host/analyze/chunk.ts";
import { ClockBounds } from "../../agent-host/analyze/clock_bounds.ts";
import { Pairing } from "../../agent-host/analyze/pairing.ts";
import { PairingConsumer } from "../../agent-host/pairing_consumer.ts";
import { TraceConsumer } from "../../agent-host/trace_consumer.ts";
import { ByteWriter } from "../../shared/text/byte_writer.ts";
import { chunkOf, type EventRow } from "./analyze/event_rows.ts";
import { fullPool } from "./analyze/pools.ts";

const pool = fullPool(1);

/** Runs events through a consumer, as the merger does. */
function feed(consumer: PairingConsumer | TraceConsumer, rows: readonly EventRow[]): void {
  const chunk = chunkOf(pool, {}, rows);
  consumer.run(chunk, 0, chunk.count);
  pool.release(chunk);
}

function pairingConsumer(options: { intervalCycles?: number; eventsMax?: number } = {}) {
  const pairing = new Pairing({
    stages: [[0], [1]],
    isCycle: false,
    isPerInstance: false,
    bounds: new ClockBounds(),
    seed: 1,
    thanCycles: Number.POSITIVE_INFINITY,
  });
  const tables: string[] = [];
  let flushed = "";
  const out = new ByteWriter(4096, (bytes) => {
    flushed += Buffer.from(bytes).toString();
  });
  const consumer = new PairingConsumer(out, pairing, {
    intervalCycles: 0,
    eventsMax: 0,
    refreshBounds: () => {},
    writeTable: (_out, cycles, isLast) => {
      const calls = pairing.rows.list().reduce((sum, row) => sum + row.latencies.count, 0);
      tables.push(`${cycles}: ${calls}${isLast ? " last" : ""}`);
    },
    ...options,
  });
  return { consumer, tables, out, flushed: () => flushed };
}

/** Pairs, one for each time: a start and its end one cycle later. */
const pairs = (...times: number[]): EventRow[] =>
  times.flatMap((time) => [
    { time, event: 0, key: time },
    { time: time + 1, event: 1, key: time },
  ]);

describe("PairingConsumer", () => {
  test("without an interval prints one table, at the end, dated by the last event", () => {
    const { consumer, tables } = pairingConsumer();
    feed(consumer, pairs(10, 20, 500));
    consumer.tick(400);
    expect(tables).toEqual([]);
    consumer.finish();
    expect(tables).toEqual(["501: 3 last"]);
  });

  test("dates its last table by how far time is, when nothing happened", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    consumer.tick(50);
    consumer.tick(70);
    consumer.finish();
    expect(tables).toEqual(["70: 0 last"]);
  });

  test("has a table before the first event too", () => {
    const { consumer, tables } = pairingConsumer();
    consumer.finish();
    expect(tables).toEqual(["0: 0 last"]);
  });

  test("splits one long run at the borders of its intervals", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    feed(consumer, pairs(10, 50, 120, 250, 260, 270));
    consumer.finish();
    expect(tables).toEqual(["110: 2", "210: 1", "271: 3 last"]);
  });

  test("counts a pair in the interval of its end", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    feed(consumer, [
      { time: 0, event: 0, key: 1 },
      { time: 150, event: 1, key: 1 },
    ]);
    consumer.finish();
    expect(tables).toEqual(["100: 0", "150: 1 last"]);
  });

  test("skips intervals in which nothing happened, and keeps the borders", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    feed(consumer, pairs(0));
    feed(consumer, pairs(1050));
    feed(consumer, pairs(1120));
    consumer.finish();
    expect(tables).toEqual(["100: 1", "1100: 1", "1121: 1 last"]);
  });

  test("ends intervals by time alone when no events come", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    feed(consumer, pairs(0));
    for (const watermark of [50, 99, 100, 150, 199, 200]) consumer.tick(watermark);
    expect(tables).toEqual(["100: 1", "200: 0"]);
  });

  test("begins its intervals with time when that comes before the first event", () => {
    const { consumer, tables } = pairingConsumer({ intervalCycles: 100 });
    consumer.tick(30);
    feed(consumer, pairs(60, 131));
    expect(tables).toEqual(["130: 1"]);
  });

  test("takes exactly as many events as -N says", () => {
    const { consumer, tables } = pairingConsumer({ eventsMax: 5 });
    feed(consumer, pairs(10));
    expect(consumer.isDone).toBe(false);
    feed(consumer, pairs(20, 30));
    expect(consumer.isDone).toBe(true);
    feed(consumer, pairs(40));
    consumer.finish();
    expect(tables).toEqual(["30: 2 last"]);
  });

  test("shows what was written at each tick, with and without intervals", () => {
    for (const intervalCycles of [0, 100]) {
      const { consumer, out, flushed } = pairingConsumer({ intervalCycles });
      out.ascii("slow pair");
      consumer.tick(1);
      expect(flushed()).toBe("slow pair");
    }
  });
});

describe("TraceConsumer", () => {
  function traceConsumer(eventsMax: number) {
    const seen: number[] = [];
    const out = new ByteWriter(4096, () => {});
    const consumer = new TraceConsumer(out, (view) => seen.push(view.timeCycles), eventsMax);
    return { consumer, seen };
  }

  test("writes each event but those that are to be skipped", () => {
    const { consumer, seen } = traceConsumer(0);
    feed(consumer, [
      { time: 1, event: 0 },
      { time: 2, event: NO_EVENT },
      { time: 3, event: 1 },
    ]);
    expect(seen).toEqual([1, 3]);
    expect(consumer.isDone).toBe(false);
  });

  test("ends after -N events, in the middle of a run", () => {
    const { consumer, seen } = traceConsumer(2);
    feed(consumer, [{ time: 1, event: NO_EVENT }, ...pairs(2, 4)]);
    expect([seen, consumer.isDone]).toEqual([[2, 3], true]);
    feed(consumer, pairs(9));
    expect(seen).toEqual([2, 3]);
  });
});
