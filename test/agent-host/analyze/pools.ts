/**
 * Pools of chunks for property tests, which want one for every input. Each is a WebAssembly.Memory,
 * and making one collects the garbage of the whole process: 500 of them behind other tests' heaps
 * cost ten seconds.
 */
import { ChunkPool } from "../../../agent-host/analyze/chunk.ts";

const pools = new Map<number, ChunkPool>();

/** A pool with all its chunks: the last one of this size, unless a failed run has kept some. */
export function fullPool(chunks: number): ChunkPool {
  const last = pools.get(chunks);
  if (last?.available === chunks) return last;
  const pool = new ChunkPool(chunks);
  pools.set(chunks, pool);
  return pool;
}
