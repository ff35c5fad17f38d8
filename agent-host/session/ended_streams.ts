/**
 * The streams of a guest that ended without a goodbye, because its agent was killed or its machine
 * went down, and that another one followed: what came of each, and how far that goes.
 *
 *   stream 1   CPU 0: 1000 delivered, up to byte 96000 of its ring; complete until 21:00:00.123456
 *   stream 2   CPU 0:  200 delivered ...
 *   stream 3   is the one that runs
 *
 * What an agent held that was killed is gone with it, and nobody can say how much that was. What
 * can be said is up to where nothing is missing.
 */
import type { CpuLedger } from "../analyze/cpu_ledger.ts";

/** Streams that are kept apart: of an agent that dies again and again the oldest are added up. */
const STREAMS_MAX = 16;
/** Rows of all of them: --resume writes them often. */
export const ENDED_ROWS_MAX = 4096;
/** Events that came of a stream that ended, and were not written before agent-host was killed. */
export const NOT_WRITTEN = "agent-host was killed";

export interface EndedRow extends CpuLedger {
  /** Of the CPU's ring: where the last record that came ends. */
  readonly position: number;
}

export interface EndedStream {
  /** Which of the guest's streams these are, counted from 1: one, or several added up. */
  readonly first: number;
  readonly last: number;
  readonly rows: readonly EndedRow[];
  /** Time of day, in ns, before which nothing that was recorded is missing. */
  readonly completeNs: bigint | undefined;
}

/** What is known of a stream when it ends: canonical time becomes time of day when it is told. */
export interface StreamEnd {
  readonly rows: readonly EndedRow[];
  readonly completeCycles: number;
  /** By CPU: records of the guest up to the stream's last, and those of them that were written. */
  readonly records: ReadonlyMap<number, number>;
}

/** The time of day of a canonical time, in ns; undefined before the clocks are known. */
export type WallNsOf = (cycles: number) => bigint | undefined;
/** Records of a CPU that have been written. */
export type WrittenOf = (cpu: number) => number;

/** Time of day up to which all is there; undefined for +-Infinity, nothing and everything, too. */
export function completeNsOf(cycles: number, wallNsOf: WallNsOf): bigint | undefined {
  return Number.isFinite(cycles) ? wallNsOf(cycles) : undefined;
}

export class EndedStreams {
  /** Those that an earlier run has told of. */
  #earlier: EndedStream[] = [];
  #ended: StreamEnd[] = [];

  get count(): number {
    return (this.#earlier.at(-1)?.last ?? 0) + this.#ended.length;
  }

  /** Those of the run before, with the one that it was reading if that is over. */
  carry(earlier: readonly EndedStream[]): void {
    this.#earlier = bounded(earlier);
  }

  add(end: StreamEnd): void {
    this.#ended.push(end);
    if (this.#ended.length <= STREAMS_MAX) return;
    // What was first has long been written: it is kept as those of earlier runs are.
    const [oldest] = this.#told(
      () => undefined,
      () => Number.POSITIVE_INFINITY,
    );
    this.#earlier = bounded([...this.#earlier, oldest!]);
    this.#ended.shift();
  }

  /** All of them; `writtenOf` tells what of them has been written, where not all of it has. */
  list(wallNsOf: WallNsOf, writtenOf: WrittenOf = () => Number.POSITIVE_INFINITY): EndedStream[] {
    return bounded([...this.#earlier, ...this.#told(wallNsOf, writtenOf)]);
  }

  #told(wallNsOf: WallNsOf, writtenOf: WrittenOf): EndedStream[] {
    const before = this.#earlier.at(-1)?.last ?? 0;
    return this.#ended.map(({ rows, completeCycles, records }, i) => {
      const number = before + i + 1;
      const previous = this.#ended[i - 1]?.records;
      const told = rows.map((row) => {
        const from = Math.max(writtenOf(row.cpu), previous?.get(row.cpu) ?? 0);
        return withNotWritten(row, Math.max(0, (records.get(row.cpu) ?? 0) - from));
      });
      const completeNs = completeNsOf(completeCycles, wallNsOf);
      return { first: number, last: number, rows: told, completeNs };
    });
  }
}

function withNotWritten(row: EndedRow, events: number): EndedRow {
  if (events === 0) return row;
  const drops = [...row.drops, { place: NOT_WRITTEN, events }];
  return { ...row, delivered: row.delivered - events, drops };
}

/** The oldest ones added up, so that there are no more than so many. */
function bounded(streams: readonly EndedStream[]): EndedStream[] {
  const list = [...streams];
  let rows = list.reduce((sum, stream) => sum + stream.rows.length, 0);
  while (list.length > STREAMS_MAX || (rows > ENDED_ROWS_MAX && list.length > 1)) {
    const [a, b] = [list.shift()!, list.shift()!];
    const sums = sumRows(a, b);
    list.unshift({ first: a.first, last: b.last, rows: sums, completeNs: b.completeNs });
    rows += sums.length - a.rows.length - b.rows.length;
  }
  return list;
}

function sumRows(a: EndedStream, b: EndedStream): EndedRow[] {
  const rows = new Map(a.rows.map((row) => [row.cpu, row]));
  for (const row of b.rows) {
    const before = rows.get(row.cpu);
    if (before === undefined) rows.set(row.cpu, row);
    else rows.set(row.cpu, sumRow(before, row));
  }
  return [...rows.values()];
}

function sumRow(a: EndedRow, b: EndedRow): EndedRow {
  const drops = new Map(a.drops.map(({ place, events }) => [place, events]));
  for (const { place, events } of b.drops) drops.set(place, (drops.get(place) ?? 0) + events);
  return {
    cpu: b.cpu,
    position: b.position,
    produced: undefined,
    delivered: a.delivered + b.delivered,
    lostKernel: a.lostKernel + b.lostKernel,
    drops: [...drops].map(([place, events]) => ({ place, events })),
    gapBytes: a.gapBytes + b.gapBytes,
  };
}
