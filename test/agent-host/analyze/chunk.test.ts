// Chunk and ChunkPool: layout in the memory, limits, loss markers.
import { describe, expect, test } from "bun:test";
import {
  CHUNK_BYTES,
  CHUNK_RECORDS_MAX,
  ChunkPool,
  LOST_MARKERS_MAX,
  POOL_CHUNKS_DEFAULT,
  POOL_CHUNKS_MAX,
  poolChunksFor,
} from "../../../agent-host/analyze/chunk.ts";
import { CONTEXT_CPU, CONTEXT_VM } from "../../../shared/expr/batch_context.ts";

describe("ChunkPool", () => {
  test("acquire() returns undefined when all chunks are in use, until one is released", () => {
    const pool = new ChunkPool(2);
    const first = pool.acquire(0, 0, 0)!;
    expect(pool.acquire(0, 1, 1)).toBeDefined();
    expect(pool.available).toBe(0);
    expect(pool.acquire(0, 2, 2)).toBeUndefined();
    pool.release(first);
    expect(pool.acquire(1, 3, 2)).toBe(first);
  });

  test("acquire() hands out an empty chunk that names its ring", () => {
    const pool = new ChunkPool(1);
    const used = pool.acquire(0, 0, 0)!;
    used.count = 5;
    used.usedBytes = 100;
    used.addLost(3, 0);
    pool.release(used);
    const chunk = pool.acquire(2, 7, 4)!;
    expect([chunk.count, chunk.usedBytes, chunk.lostCount]).toEqual([0, 0, 0]);
    expect([chunk.machine, chunk.cpu, chunk.ring]).toEqual([2, 7, 4]);
    expect(chunk.context[CONTEXT_CPU]).toBe(7);
    expect(chunk.context[CONTEXT_VM]).toBe(2);
  });

  test("release() throws on a chunk that is not in use", () => {
    const pool = new ChunkPool(1);
    const chunk = pool.acquire(0, 0, 0)!;
    pool.release(chunk);
    expect(() => pool.release(chunk)).toThrow("Cannot release a chunk: it is not in use");
  });

  test("the constructor throws on a count outside the limits", () => {
    for (const count of [0, -1, 1.5, POOL_CHUNKS_MAX + 1, Number.NaN]) {
      expect(() => new ChunkPool(count)).toThrow(RangeError);
    }
  });

  test("chunks lie side by side in the one memory, 8-aligned, without overlap", () => {
    const pool = new ChunkPool(3);
    const chunks = [0, 1, 2].map((ring) => pool.acquire(0, 0, ring)!);
    let end = 1;
    for (const chunk of chunks) {
      const columns = [
        chunk.context,
        chunk.bytes,
        chunk.timeCycles,
        chunk.key,
        chunk.tasks,
        chunk.rawOffset,
        chunk.rawBytes,
        chunk.chainOffset,
        chunk.event,
      ];
      for (const column of columns) {
        expect(column.buffer).toBe(pool.memory.buffer);
        expect(column.byteOffset).toBeGreaterThanOrEqual(end);
        end = column.byteOffset + column.byteLength;
      }
      expect(chunk.bytesOffset % 8).toBe(0);
      expect(chunk.bytes.length).toBe(CHUNK_BYTES);
      expect(chunk.event.length).toBe(CHUNK_RECORDS_MAX);
    }
    expect(end).toBeLessThanOrEqual(pool.memory.buffer.byteLength);
  });
});

test("poolChunksFor() gives each ring of a large machine chunks that wait, within the limit", () => {
  expect([1, 64, 256, 8192].map(poolChunksFor)).toEqual([
    POOL_CHUNKS_DEFAULT,
    POOL_CHUNKS_DEFAULT,
    1024,
    POOL_CHUNKS_MAX,
  ]);
});

describe("Chunk", () => {
  test("addLost() adds up losses in one place and keeps places apart", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    chunk.addLost(2, 10);
    chunk.addLost(3, 11);
    chunk.count = 4;
    chunk.addLost(7, 20);
    expect(chunk.lostCount).toBe(2);
    expect([...chunk.lostIndex.subarray(0, 2)]).toEqual([0, 4]);
    expect([...chunk.lostEvents.subarray(0, 2)]).toEqual([5, 7]);
    expect([...chunk.lostSinceCycles.subarray(0, 2)]).toEqual([10, 20]);
  });

  test("addLost() merges into the last marker when there is no room, losing no count", () => {
    const chunk = new ChunkPool(1).acquire(0, 0, 0)!;
    for (let i = 0; i < LOST_MARKERS_MAX + 10; i++) {
      chunk.count = i;
      chunk.addLost(1, i);
    }
    const last = LOST_MARKERS_MAX - 1;
    expect(chunk.lostCount).toBe(LOST_MARKERS_MAX);
    expect(chunk.lostEvents[last]).toBe(11);
    expect(chunk.lostSinceCycles[last]).toBe(last);
    expect(chunk.lostIndex[last]).toBe(LOST_MARKERS_MAX + 9);
  });
});
