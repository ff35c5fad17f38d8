/**
 * What agent-host printed at its end, as numbers for tests.
 *
 *             start => end                  calls      total(us)    min(us)    p50(us) ... max(us)
 *   --------------- -  ----------------- -------- -------------- ---------- ---------- ----------
 *   msi_send_message => irq_handler_entry     4000     168923.411     21.334     36.108     410.113
 *   clock bound: 12.412 us (host => guest 1: ...)
 *
 *   machine  cpu     produced    delivered  kernel lost      dropped  where
 *   ------- ---- ------------ ------------ ------------ ------------  -----
 *   guest 1    0         4000         4000            0            0
 *   ledger: balances: 8000 produced = 8000 delivered + 0 lost by the kernel + 0 dropped
 */

const NUMBER = String.raw`(-?\d+(?:\.\d+)?)`;
const ROW = new RegExp(
  String.raw`(\S+)\s+=>\s+(\S+)\s+(\d+)\s+${NUMBER}\s+${NUMBER}\s+${NUMBER}\s+${NUMBER}\s+` +
    String.raw`${NUMBER}\s+${NUMBER}`,
);
const BOUND = new RegExp(String.raw`^clock bound:.* ${NUMBER} us \(`);
const VIOLATIONS = /^WARNING: .*: (\d+) ends are stamped before their start/;
const LEDGER_ROW = /^(host|guest \d+)\s+(\d+)\s+(\d+|\?)\s+(\d+)\s+(\d+)\s+(\d+)(?:\s|$)/;

/** One line of a latency table; times in the unit of its headings. */
export interface LatencyRow {
  readonly start: string;
  readonly end: string;
  readonly calls: number;
  readonly min: number;
  readonly max: number;
}

export interface LedgerRow {
  /** "host", "guest 1" */
  readonly machine: string;
  readonly cpu: number;
  /** NaN when nobody could tell. */
  readonly produced: number;
  readonly delivered: number;
  readonly lostKernel: number;
  readonly dropped: number;
}

export interface HostReport {
  readonly latencies: readonly LatencyRow[];
  /** In microseconds, of every pair of machines. */
  readonly clockBoundsUs: readonly number[];
  /** Ends before their start by more than the clock bound. */
  readonly violations: number;
  readonly ledger: readonly LedgerRow[];
  /** What follows "ledger:": "balances: ..." */
  readonly verdict: string;
}

function latencyRow(line: string): LatencyRow[] {
  const match = ROW.exec(line);
  if (match === null) {
    return [];
  }
  const [, start, end, calls, , min, , , , max] = match;
  return [{ start: start!, end: end!, calls: Number(calls), min: Number(min), max: Number(max) }];
}

function ledgerRow(line: string): LedgerRow[] {
  const match = LEDGER_ROW.exec(line);
  if (match === null) {
    return [];
  }
  const [, machine, cpu, produced, delivered, lostKernel, dropped] = match;
  return [
    {
      machine: machine!,
      cpu: Number(cpu),
      produced: Number(produced),
      delivered: Number(delivered),
      lostKernel: Number(lostKernel),
      dropped: Number(dropped),
    },
  ];
}

/** Reads a whole output; of several tables all rows are listed. */
export function parseHostReport(lines: readonly string[]): HostReport {
  const verdicts = lines.filter((line) => line.startsWith("ledger: "));
  return {
    latencies: lines.flatMap(latencyRow),
    clockBoundsUs: lines.flatMap((line) => {
      const bound = BOUND.exec(line)?.[1];
      return bound === undefined ? [] : [Number(bound)];
    }),
    violations: lines.reduce((sum, line) => sum + Number(VIOLATIONS.exec(line)?.[1] ?? 0), 0),
    ledger: lines.flatMap(ledgerRow),
    verdict: verdicts[0]?.slice("ledger: ".length) ?? "",
  };
}

/** What a machine of the ledger, "host" or "guest 1", produced on all CPUs. */
export function eventsOf(report: HostReport, machine: string): number {
  return report.ledger
    .filter((row) => row.machine === machine)
    .reduce((sum, { produced }) => sum + produced, 0);
}
