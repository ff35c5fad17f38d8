// RingDecoder on hand-written records.
import { describe, expect, test } from "bun:test";
import { CHUNK_BYTES, type Chunk, ChunkPool } from "../../../agent-host/analyze/chunk.ts";
import { RingDecoder } from "../../../agent-host/analyze/decode.ts";
import { EventLookup } from "../../../agent-host/analyze/event_lookup.ts";
import { type SampleLayout, sampleLayout } from "../../../agent-host/analyze/sample_layout.ts";
import type { TaskListener } from "../../../agent-host/analyze/side_records.ts";
import { CONTEXT_TASKS } from "../../../shared/expr/batch_context.ts";
import { TimeMap } from "../../../shared/tsc/time_map.ts";
import { lineOf, lookupOf, mapOf, SAME_TIME } from "./fixtures.ts";
import {
  ascii,
  common,
  lostRecord,
  plainSample,
  raw,
  record,
  u16,
  u32,
  u64,
} from "./record_bytes.ts";

const TIME = 1 << 2;
const RAW = 1 << 10;
const TID = 1 << 1;
const CALLCHAIN = 1 << 5;
const CPU = 1 << 7;
const IDENTIFIER = 1 << 16;
const PLAIN = sampleLayout(TIME | RAW, false);

function fill(chunk: Chunk, bytes: readonly number[]): number {
  chunk.bytes.set(bytes, chunk.usedBytes);
  chunk.usedBytes += bytes.length;
  return chunk.usedBytes;
}

function decode(
  bytes: readonly number[],
  layout: SampleLayout = PLAIN,
  lookup: EventLookup = lookupOf(281, 280),
  tasks?: TaskListener,
): { chunk: Chunk; decoder: RingDecoder; walked: number } {
  const chunk = new ChunkPool(1).acquire(0, 3, 0)!;
  const decoder = new RingDecoder(lookup, layout, tasks);
  const walked = decoder.decodeSpan(chunk, 0, fill(chunk, bytes), SAME_TIME);
  return { chunk, decoder, walked };
}

describe("RingDecoder.decodeSpan() on TIME|RAW", () => {
  test("decodes a sample into the columns", () => {
    const data = [...common(281, 9694), ...u64(43), ...u64(0xe)];
    const { chunk, walked } = decode(plainSample(0x38f115e2ac0, data));
    expect(walked).toBe(48);
    expect(chunk.count).toBe(1);
    expect(chunk.timeCycles[0]).toBe(0x38f115e2ac0);
    expect(chunk.event[0]).toBe(0);
    expect(chunk.rawOffset[0]! - chunk.bytesOffset).toBe(20);
    expect(chunk.rawOffset[0]! % 8).toBe(4);
    expect(chunk.rawBytes[0]).toBe(28);
    expect(chunk.memory[chunk.rawOffset[0]! + 8]).toBe(43);
  });

  test("converts time by the affine map from a base of two words", () => {
    const base = 0x1fffffff0n;
    const map = mapOf(lineOf(2.5, 1000, base));
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const time = 2 * 2 ** 32 + 0x10;
    decoder.decodeSpan(chunk, 0, fill(chunk, plainSample(time, common(1, 5))), map);
    expect(chunk.timeCycles[0]).toBe(1000 + 2.5 * 0x20);
  });

  test("appends the records of a second span to the columns of the first", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const first = fill(chunk, plainSample(10, common(1, 5)));
    decoder.decodeSpan(chunk, 0, first, SAME_TIME);
    const second = fill(chunk, plainSample(20, common(1, 5)));
    decoder.decodeSpan(chunk, first, second, SAME_TIME);
    expect([...chunk.timeCycles.subarray(0, chunk.count)]).toEqual([10, 20]);
  });

  test("counts and skips samples of unknown events", () => {
    const { chunk, decoder } = decode([
      ...plainSample(1, common(999, 1)),
      ...plainSample(2, common(280, 1)),
    ]);
    expect(chunk.count).toBe(1);
    expect(chunk.event[0]).toBe(1);
    expect(decoder.counters).toMatchObject({ samples: 2, unknownEvents: 1 });
  });

  test("keeps the time of a record that is older than the one before, and counts it", () => {
    const { chunk, decoder } = decode([
      ...plainSample(20, common(280, 1)),
      ...plainSample(15, common(280, 1)),
      ...plainSample(30, common(280, 1)),
    ]);
    expect([...chunk.timeCycles.subarray(0, 3)]).toEqual([20, 15, 30]);
    expect(decoder.counters.backwards).toBe(1);
    expect(decoder.lastCycles).toBe(30);
  });

  test("changes segments within a span, and raises what would go back where they meet", () => {
    const map = new TimeMap();
    map.push(lineOf(2, 0), 0n);
    map.push(lineOf(2, -3), 100n);
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const times = [98, 99, 100, 102, 99, 103];
    const bytes = times.flatMap((time) => plainSample(time, common(1, 5)));
    decoder.decodeSpan(chunk, 0, fill(chunk, bytes), map);
    expect([...chunk.timeCycles.subarray(0, 6)]).toEqual([196, 198, 198, 201, 198, 203]);
    expect(decoder.counters).toMatchObject({ raised: 1, backwards: 1 });
  });

  test("raises across spans when the clock was fitted anew between them", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const first = fill(chunk, plainSample(100, common(1, 5)));
    decoder.decodeSpan(chunk, 0, first, SAME_TIME);
    const later = lineOf(1, -5);
    const second = fill(chunk, plainSample(101, common(1, 5)));
    decoder.decodeSpan(chunk, first, second, mapOf(later));
    expect([...chunk.timeCycles.subarray(0, 2)]).toEqual([100, 100]);
  });

  test("throws when the clock has no segment", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    const end = fill(chunk, plainSample(100, common(1, 5)));
    expect(() => decoder.decodeSpan(chunk, 0, end, new TimeMap())).toThrow("has no segment yet");
  });

  test("sets a stamp from the future back to the latest possible time, and counts it", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    decoder.latestCycles = 100;
    const bytes = [...plainSample(100, common(1, 5)), ...plainSample(2 ** 50, common(1, 5))];
    decoder.decodeSpan(chunk, 0, fill(chunk, bytes), SAME_TIME);
    expect([...chunk.timeCycles.subarray(0, 2)]).toEqual([100, 100]);
    expect(decoder.counters).toMatchObject({ fromFuture: 1, backwards: 0 });
  });

  test.each([
    ["raw size beyond the record", [...u64(1), ...u32(16), ...common(280, 1), ...u32(0)]],
    ["raw size 0xffffffff", [...u64(1), ...u32(0xffffffff), ...common(280, 1), ...u32(0)]],
    ["raw data without common_pid", [...u64(1), ...u32(4), ...u32(280), ...u64(0)]],
    ["no raw data", u64(1)],
    ["no body", []],
  ])("counts and skips a sample: %s", (_, body) => {
    const { chunk, decoder, walked } = decode([
      ...record(9, body),
      ...plainSample(2, common(280, 1)),
    ]);
    expect(walked).toBe(8 + body.length + 32);
    expect(chunk.count).toBe(1);
    expect(decoder.counters).toMatchObject({ samples: 2, malformedSamples: 1, malformedSpans: 0 });
  });

  test.each([
    ["0", 0],
    ["4", 4],
    ["not a multiple of 8", 41],
    ["one record more than the span holds", 48],
    ["65528", 65528],
  ])("ends the span at a record whose size is %s", (_, size) => {
    const good = plainSample(1, common(280, 1));
    const bad = [...u32(9), ...u16(0), ...u16(size), ...new Array(32).fill(0x11)];
    const { chunk, decoder, walked } = decode([...good, ...bad]);
    expect(walked).toBe(good.length);
    expect(chunk.count).toBe(1);
    expect(decoder.counters).toMatchObject({ malformedSpans: 1, malformedBytes: 40 });
  });

  test("throws on a range that is not aligned, not in the chunk or decoded twice too often", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(1), PLAIN);
    for (const [from, to] of [
      [4, 16],
      [0, 12],
      [-8, 8],
      [16, 8],
      [0, CHUNK_BYTES + 8],
    ] as const) {
      expect(() => decoder.decodeSpan(chunk, from, to, SAME_TIME)).toThrow(RangeError);
    }
    chunk.count = 8000;
    expect(() => decoder.decodeSpan(chunk, 0, CHUNK_BYTES, SAME_TIME)).toThrow(
      "wanted each byte once",
    );
  });
});

describe("RingDecoder.decodeSpan() on other records", () => {
  test("marks loss before the record that follows it", () => {
    const { chunk, decoder } = decode([
      ...plainSample(10, common(280, 1)),
      ...lostRecord(5),
      ...plainSample(20, common(280, 1)),
    ]);
    expect(decoder.counters.lostEvents).toBe(5);
    expect(chunk.lostCount).toBe(1);
    expect([chunk.lostIndex[0], chunk.lostEvents[0], chunk.lostSinceCycles[0]]).toEqual([1, 5, 10]);
  });

  test("carries loss at the end of a span over to the next one", () => {
    const pool = new ChunkPool(2);
    const first = pool.acquire(0, 0, 0)!;
    const second = pool.acquire(0, 0, 0)!;
    const decoder = new RingDecoder(lookupOf(280), PLAIN);
    const bytes = [...plainSample(10, common(280, 1)), ...lostRecord(5), ...lostRecord(2)];
    decoder.decodeSpan(first, 0, fill(first, bytes), SAME_TIME);
    expect(first.lostCount).toBe(0);
    decoder.decodeSpan(second, 0, fill(second, plainSample(20, common(280, 1))), SAME_TIME);
    expect(second.lostCount).toBe(1);
    expect([second.lostIndex[0], second.lostEvents[0], second.lostSinceCycles[0]]).toEqual([
      0, 7, 10,
    ]);
    expect(decoder.counters.lostEvents).toBe(7);
  });

  test("reads PERF_RECORD_LOST with sample id fields behind it, and LOST_SAMPLES", () => {
    const layout = sampleLayout(TIME | RAW, true);
    const bytes = [...lostRecord(3, u64(99)), ...record(13, [...u64(4), ...u64(99)])];
    expect(decode(bytes, layout).decoder.counters.lostEvents).toBe(7);
  });

  test("tells the listener of comm, fork and exit", () => {
    const seen: string[] = [];
    const listener: TaskListener = {
      comm: (machine, pid, tid, memory, from, to) =>
        seen.push(
          `comm ${machine} ${pid} ${tid} ${new TextDecoder().decode(memory.slice(from, to))}`,
        ),
      fork: (machine, pid, tid, ppid, ptid) =>
        seen.push(`fork ${machine} ${pid} ${tid} ${ppid} ${ptid}`),
      exit: (machine, pid, tid) => seen.push(`exit ${machine} ${pid} ${tid}`),
    };
    const bytes = [
      ...record(3, [...u32(12), ...u32(13), ...ascii("kworker/0:1"), 0]),
      ...record(7, [...u32(20), ...u32(12), ...u32(21), ...u32(13), ...u64(1)]),
      ...record(4, [...u32(20), ...u32(12), ...u32(21), ...u32(13), ...u64(1)]),
      ...record(3, [...u32(1), ...u32(1), ...ascii("x".repeat(40))]),
    ];
    const { decoder } = decode(bytes, PLAIN, lookupOf(280), listener);
    expect(seen).toEqual([
      "comm 0 12 13 kworker/0:1",
      "fork 0 20 21 12 13",
      "exit 0 20 21",
      `comm 0 1 1 ${"x".repeat(16)}`,
    ]);
    expect(decoder.counters.taskRecords).toBe(4);
  });

  test("tells the listener of mappings, of names no more than a path may have", () => {
    const paths: string[] = [];
    const listener: TaskListener = {
      comm: () => {},
      fork: () => {},
      exit: () => {},
      map: (_machine, _pid, { path }) => paths.push(path),
    };
    const mmap2 = (name: string): number[] => {
      const body = [u32(1), u32(1), u64(0x1000), u64(0x1000), u64(0), u32(254), u32(1), u64(7)];
      return record(10, [...body.flat(), ...u64(0), ...u32(5), ...u32(2), ...ascii(name), 0]);
    };
    const bytes = [...mmap2("/lib/libc.so.6"), ...mmap2("x".repeat(60_000))];
    decode(bytes, PLAIN, lookupOf(280), listener);
    expect(paths).toEqual(["/lib/libc.so.6", "x".repeat(4096)]);
  });

  test("counts throttling, unknown types and records too short for their type", () => {
    const { decoder } = decode([
      ...record(5, [...u64(1), ...u64(2), ...u64(3)]),
      ...record(6, [...u64(1), ...u64(2), ...u64(3)]),
      ...record(77, u64(1)),
      ...record(2, u64(1)),
      ...record(3, u64(1)),
    ]);
    expect(decoder.counters).toMatchObject({ throttled: 1, skippedRecords: 3, lostEvents: 0 });
  });
});

describe("RingDecoder.decodeSpan() on other layouts", () => {
  test("finds identifier, task, time, call chain and raw data in the kernel's order", () => {
    const layout = sampleLayout(IDENTIFIER | TID | TIME | CPU | CALLCHAIN | RAW, false);
    const lookup = new EventLookup();
    lookup.addIdentifier(77, 0, 4);
    const body = [
      ...u64(77),
      ...u32(100),
      ...u32(101),
      ...u64(5000),
      ...u64(3),
      ...u64(2),
      ...u64(0x1000),
      ...u64(0x2000),
      ...raw([...common(280, 101), ...u64(9)]),
    ];
    const { chunk } = decode(record(9, body), layout, lookup);
    expect(chunk.count).toBe(1);
    expect(chunk.event[0]).toBe(4);
    expect(chunk.timeCycles[0]).toBe(5000);
    expect([...chunk.tasks.subarray(0, 2)]).toEqual([100, 101]);
    expect(chunk.context[CONTEXT_TASKS]).toBe(chunk.tasksColumnOffset);
    expect(chunk.hasChains).toBe(true);
    expect(chunk.chainOffset[0]! - chunk.bytesOffset).toBe(40);
    expect(chunk.rawOffset[0]! - chunk.bytesOffset).toBe(68);
    expect(chunk.memory[chunk.rawOffset[0]! + 8]).toBe(9);
  });

  test.each([
    ["a call chain longer than the record", [...u64(1), ...u64(1000), ...raw(common(280, 1))]],
    ["a call chain of 2^32 entries", [...u64(1), ...u32(0), ...u32(1), ...raw(common(280, 1))]],
    ["a call chain that leaves no raw data", [...u64(1), ...u64(1), ...u64(0)]],
    ["no call chain", u64(1)],
  ])("counts and skips a sample with %s", (_, body) => {
    const { chunk, decoder } = decode(record(9, body), sampleLayout(TIME | CALLCHAIN | RAW, false));
    expect(chunk.count).toBe(0);
    expect(decoder.counters.malformedSamples).toBe(1);
  });
});
