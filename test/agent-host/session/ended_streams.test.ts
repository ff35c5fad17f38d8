/** Streams that ended without a goodbye: what is told of them, in this run and in the next. */
import { describe, expect, test } from "bun:test";
import {
  ENDED_ROWS_MAX,
  type EndedStream,
  EndedStreams,
} from "../../../agent-host/session/ended_streams.ts";

const row = (delivered: number, position: number, cpu = 0) => ({
  ...{ cpu, position, delivered, produced: undefined },
  ...{ lostKernel: 3, drops: [{ place: "slow client", events: 2 }], gapBytes: 8 },
});

const end = (delivered: number, records: number, cycles = 1000) => ({
  rows: [row(delivered, delivered * 8)],
  completeCycles: cycles,
  records: new Map([[0, records]]),
});

const NS = (cycles: number): bigint => BigInt(cycles) * 10n;

describe("EndedStreams", () => {
  test("list() numbers the streams, and tells times of day", () => {
    const streams = new EndedStreams();
    streams.add(end(100, 100));
    streams.add(end(50, 150, Number.NEGATIVE_INFINITY));
    expect(streams.count).toBe(2);
    expect(streams.list(NS)).toEqual([
      { first: 1, last: 1, rows: [row(100, 800)], completeNs: 10_000n },
      { first: 2, last: 2, rows: [row(50, 400)], completeNs: undefined },
    ]);
  });

  test("list() tells what of them has not been written, of each stream its own part", () => {
    const streams = new EndedStreams();
    streams.add(end(100, 100));
    streams.add(end(50, 150));
    const deliveredWith = (written: number): unknown =>
      streams.list(NS, () => written).map(({ rows }) => [rows[0]!.delivered, rows[0]!.drops[1]]);
    const place = "agent-host was killed";
    expect(deliveredWith(150)).toEqual([
      [100, undefined],
      [50, undefined],
    ]);
    expect(deliveredWith(120)).toEqual([
      [100, undefined],
      [20, { place, events: 30 }],
    ]);
    expect(deliveredWith(90)).toEqual([
      [90, { place, events: 10 }],
      [0, { place, events: 50 }],
    ]);
  });

  test("carry() goes on with the numbers of an earlier run", () => {
    const earlier: EndedStream = { first: 1, last: 3, rows: [row(7, 56)], completeNs: 5n };
    const streams = new EndedStreams();
    streams.carry([earlier]);
    streams.add(end(100, 100));
    expect(streams.list(NS).map(({ first, last }) => [first, last])).toEqual([
      [1, 3],
      [4, 4],
    ]);
    expect(streams.count).toBe(4);
  });

  test("of very many streams the oldest are added up, and nothing of them is forgotten", () => {
    const streams = new EndedStreams();
    for (let i = 1; i <= 100; i++) streams.add(end(i, 1000));
    const list = streams.list(NS);
    expect(list.length).toBe(16);
    expect([list[0]!.first, list[0]!.last, list.at(-1)!.last]).toEqual([1, 85, 100]);
    const sum = list.reduce((total, { rows }) => total + rows[0]!.delivered, 0);
    expect(sum).toBe(5050);
    expect(list[0]!.rows).toMatchObject([
      { lostKernel: 3 * 85, gapBytes: 8 * 85, drops: [{ place: "slow client", events: 170 }] },
    ]);
    expect(streams.count).toBe(100);
  });

  test("streams of very many CPUs are added up sooner", () => {
    const streams = new EndedStreams();
    for (let i = 1; i <= 10; i++) {
      const rows = Array.from({ length: 1024 }, (_, cpu) => row(i, 8, cpu));
      streams.add({ rows, completeCycles: 1000, records: new Map() });
    }
    const list = streams.list(NS);
    expect(list.map(({ first, last }) => [first, last])).toEqual([
      [1, 7],
      [8, 8],
      [9, 9],
      [10, 10],
    ]);
    expect(list.flatMap(({ rows }) => rows)).toHaveLength(ENDED_ROWS_MAX);
    expect(list[0]!.rows[1023]).toMatchObject({ cpu: 1023, delivered: 28 });
  });
});
