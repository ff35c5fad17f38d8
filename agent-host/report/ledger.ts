// Ledger: where every event went, per machine and CPU, as a value.
//
//   produced = delivered + lost by the kernel + dropped at a named place
//
// What remains is unaccounted for, and then the ledger does not balance: an error of ours, or a
// guest that does not tell the truth.

/** What is known of one CPU of one machine. */
export interface LedgerRow {
  /** "host", "guest 1" */
  readonly machine: string;
  readonly cpu: number;
  /** Records that the kernel made or would have made; undefined when nobody has said. */
  readonly produced: number | undefined;
  readonly delivered: number;
  /** Sum of PERF_RECORD_LOST. */
  readonly lostKernel: number;
  readonly drops: readonly { readonly place: string; readonly events: number }[];
  /** Bytes of the ring's stream that never came and belong to no place. */
  readonly gapBytes: number;
}

/** What the rows amount to. */
export interface LedgerVerdict {
  /** Unknown when a machine's totals are: it was killed, or the stream was joined half-way. */
  readonly state: "balances" | "unbalanced" | "unknown";
  readonly produced: number;
  readonly delivered: number;
  readonly lostKernel: number;
  readonly dropped: number;
  /** Rows that do not balance, with produced minus the rest. */
  readonly unaccounted: readonly { readonly row: LedgerRow; readonly events: number }[];
}

/** Rows and what they amount to. */
export interface Ledger {
  readonly rows: readonly LedgerRow[];
  readonly verdict: LedgerVerdict;
}

/** Events dropped at named places. */
export function droppedEvents(row: LedgerRow): number {
  return row.drops.reduce((sum, { events }) => sum + events, 0);
}

/** Adds the rows up. */
export function makeLedger(rows: readonly LedgerRow[]): Ledger {
  const unaccounted: { row: LedgerRow; events: number }[] = [];
  let isKnown = true;
  let produced = 0;
  let delivered = 0;
  let lostKernel = 0;
  let dropped = 0;
  for (const row of rows) {
    const here = droppedEvents(row);
    const accounted = row.delivered + row.lostKernel + here;
    delivered += row.delivered;
    lostKernel += row.lostKernel;
    dropped += here;
    if (row.produced === undefined) {
      isKnown = false;
      produced += accounted;
      // Without totals a gap is all that shows that something is missing.
      if (row.gapBytes > 0) unaccounted.push({ row, events: Number.NaN });
      continue;
    }
    produced += row.produced;
    if (row.produced !== accounted) unaccounted.push({ row, events: row.produced - accounted });
  }
  const state = unaccounted.length > 0 ? "unbalanced" : isKnown ? "balances" : "unknown";
  return { rows, verdict: { state, produced, delivered, lostKernel, dropped, unaccounted } };
}
