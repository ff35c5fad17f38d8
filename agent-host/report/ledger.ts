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
  /** Which of its streams, "2" or "1-3", of a machine that had several. */
  readonly stream?: string;
  /** Of a stream that ended without a goodbye: where in the CPU's ring its last record ends. */
  readonly endPosition?: number;
}

/** A stream that ended without a goodbye: an agent, or its machine, was killed. */
export interface EndedNote {
  readonly machine: string;
  readonly stream?: string;
  /** Time of day in ns before which nothing that was recorded is missing. */
  readonly completeNs: bigint | undefined;
}

/** How a row's machine is called in text: "guest 1 #2". */
export function nameOf({ machine, stream }: { machine: string; stream?: string }): string {
  return stream === undefined ? machine : `${machine} #${stream}`;
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
  readonly ended: readonly EndedNote[];
  readonly verdict: LedgerVerdict;
}

/** Adds the rows up; `ended` are the streams among them that nobody could close. */
export function makeLedger(rows: readonly LedgerRow[], ended: readonly EndedNote[] = []): Ledger {
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
  return { rows, ended, verdict: { state, produced, delivered, lostKernel, dropped, unaccounted } };
}
