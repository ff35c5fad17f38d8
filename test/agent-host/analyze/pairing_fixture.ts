// A Pairing of two stages (events 0 and 1) unless told, and what comes out of it.
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import type { LatencyRow } from "../../../agent-host/analyze/latency_row.ts";
import { Pairing, type PairingOptions } from "../../../agent-host/analyze/pairing.ts";
import { chunkOf, type EventRow, type RingOfRows } from "./event_rows.ts";
import { fullPool } from "./pools.ts";

const DEFAULTS: PairingOptions = {
  stages: [[0], [1]],
  isCycle: false,
  isPerInstance: false,
  bounds: new ClockBounds(),
  seed: 99,
  thanCycles: Number.POSITIVE_INFINITY,
};

export class PairingFixture {
  readonly pool = fullPool(1);
  readonly pairing: Pairing;

  constructor(options: Partial<PairingOptions> = {}) {
    this.pairing = new Pairing({ ...DEFAULTS, ...options });
  }

  run(rows: readonly EventRow[], ring: RingOfRows = {}): void {
    const chunk = chunkOf(this.pool, ring, rows);
    this.pairing.run(chunk, 0, chunk.count);
    this.pool.release(chunk);
  }

  row(start = 0, end = 1): LatencyRow {
    return this.pairing.rows.list().find((row) => row.start === start && row.end === end)!;
  }

  summary(): string[] {
    return this.pairing.rows.list().map(({ start, end, instance, latencies, isOther }) => {
      const key = isOther ? "other " : instance === undefined ? "" : `${instance.lo} `;
      return `${key}${start}=>${end} ${latencies.count} ${latencies.sum}`;
    });
  }
}
