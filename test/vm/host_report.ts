/**
 * What agent-host printed, as numbers for tests: the rows of multi-trace and the ledger.
 *
 *             start => end                  calls      total(us)    min(us)    p50(us) ... max(us)
 *   --------------- -  ----------------- -------- -------------- ---------- ---------- ----------
 *   msi_send_message => irq_handler_entry     4000     168923.411     21.334     36.108     410.113
 */

const NUMBER = String.raw`(-?\d+(?:\.\d+)?)`;
const ROW = new RegExp(
  String.raw`(\S+)\s+=>\s+(\S+)\s+(\d+)\s+${NUMBER}\s+${NUMBER}\s+${NUMBER}\s+${NUMBER}\s+` +
    String.raw`${NUMBER}\s+${NUMBER}`,
);
const LEDGER = /produced (\d+) = delivered (\d+) \+ lost by the kernel (\d+) \+ dropped (\d+)/;

/** One line of a latency table; times in the unit of its headings. */
export interface LatencyRow {
  readonly start: string;
  readonly end: string;
  readonly calls: number;
  readonly total: number;
  readonly min: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

export interface LedgerLine {
  readonly produced: number;
  readonly delivered: number;
  readonly lostKernel: number;
  readonly dropped: number;
}

export function latencyRows(lines: readonly string[]): LatencyRow[] {
  return lines.flatMap((line) => {
    const match = ROW.exec(line);
    if (match === null) {
      return [];
    }
    const [, start, end, ...numbers] = match;
    const [calls, total, min, p50, p95, p99, max] = numbers.map(Number) as [
      number,
      number,
      number,
      number,
      number,
      number,
      number,
    ];
    return [{ start: start!, end: end!, calls, total, min, p50, p95, p99, max }];
  });
}

export function ledgerLines(lines: readonly string[]): LedgerLine[] {
  return lines.flatMap((line) => {
    const match = LEDGER.exec(line);
    if (match === null) {
      return [];
    }
    const [produced, delivered, lostKernel, dropped] = match.slice(1).map(Number) as [
      number,
      number,
      number,
      number,
    ];
    return [{ produced, delivered, lostKernel, dropped }];
  });
}
