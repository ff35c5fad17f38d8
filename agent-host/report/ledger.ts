// Ledger: where every event went, per machine and CPU, as a value.
//
//   produced = delivered + lost by the kernel + dropped at a named place
//
// What remains is unaccounted for, and then the ledger does not balance: an error of ours, or a
// guest that does not tell the truth.

import { type CpuLedger, droppedEvents } from "../analyze/cpu_ledger.ts";

/** What is known of one CPU of one machine. */
export interface LedgerRow extends CpuLedger {
  /** "host", "guest 1" */
  readonly machine: string;
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
