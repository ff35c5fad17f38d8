// Chunks with decoded columns, without records behind them unless asked: for the analyses.
import { type Chunk, type ChunkPool, NO_EVENT } from "../../../agent-host/analyze/chunk.ts";
import type { TimeSegment } from "../../../shared/tsc/time_segment.ts";
import { common } from "./record_bytes.ts";

/** One event as a test names it. */
export interface EventRow {
  readonly time: number;
  /** Index in the event table; NO_EVENT when left out. */
  readonly event?: number;
  readonly key?: number;
  readonly keyHi?: number;
  readonly tid?: number;
  readonly role?: number;
  /** Put after the common fields. */
  readonly data?: readonly number[];
}

/** Whose events they are, and how far off their times may be. */
export interface RingOfRows {
  readonly machine?: number;
  readonly cpu?: number;
  readonly ring?: number;
  readonly boundCycles?: number;
  /** What converted them. */
  readonly segment?: TimeSegment;
}

/** A chunk of these events, all of one ring. */
export function chunkOf(pool: ChunkPool, ring: RingOfRows, rows: readonly EventRow[]): Chunk {
  const chunk = pool.acquire(ring.machine ?? 0, ring.cpu ?? 0, ring.ring ?? 0)!;
  let at = 4;
  for (const [index, row] of rows.entries()) {
    const bytes = [...common(100 + (row.event ?? 0), row.tid ?? 0), ...(row.data ?? [])];
    chunk.bytes.set(bytes, at);
    chunk.timeCycles[index] = row.time;
    chunk.event[index] = row.event ?? NO_EVENT;
    chunk.key[index * 2] = row.key ?? 0;
    chunk.key[index * 2 + 1] = row.keyHi ?? 0;
    chunk.role[index] = row.role ?? 0xff;
    chunk.rawOffset[index] = chunk.bytesOffset + at;
    chunk.rawBytes[index] = bytes.length;
    at += Math.ceil(bytes.length / 8) * 8;
  }
  chunk.count = rows.length;
  if (ring.boundCycles !== undefined) chunk.bounds.add(0, ring.boundCycles, ring.segment);
  return chunk;
}
