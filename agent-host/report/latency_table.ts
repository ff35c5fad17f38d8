// LatencyTable: the result of multi-trace for one interval, as a value. Renderers are beside this:
// latency_text.ts prints perf-prof's table, table_json.ts JSON lines.
//
// Latencies stay in canonical cycles and are not rounded; the unit says how renderers show them.

import type { LatencyRow } from "../analyze/latency_row.ts";
import type { LossLog } from "../analyze/loss_log.ts";
import type { PairingCounters } from "../analyze/pairing.ts";
import type { TableEvent } from "./table_events.ts";

/** Rows of one table; the rest is cut off and counted. */
export const TABLE_ROWS_MAX = 16384;

/** How canonical cycles are shown. */
export interface LatencyUnit {
  readonly name: "us" | "kcyc";
  /** Units (us or kcyc) per canonical cycle. */
  readonly perCycle: number;
  readonly nsPerCycle: number;
}

/** Microseconds. */
export function unitMicroseconds(nsPerCycle: number): LatencyUnit {
  return { name: "us", perCycle: nsPerCycle / 1000, nsPerCycle };
}

/** Thousands of guest TSC cycles. */
export function unitKilocycles(guestCyclesPerCycle: number, nsPerCycle: number): LatencyUnit {
  return { name: "kcyc", perCycle: guestCyclesPerCycle / 1000, nsPerCycle };
}

/** The error of one pair of clocks, for the line under the table. */
export interface ClockNote {
  /** "host => guest 1" */
  readonly what: string;
  /** How the relation is known: "KVM debugfs, fitted perf clock". */
  readonly method: string;
  /** |error| of a difference of times; Infinity when nothing is guaranteed. */
  readonly boundCycles: number;
}

/** One line. Latencies in canonical cycles; NaN when there was none. */
export interface LatencyLine {
  readonly start: TableEvent;
  readonly end: TableEvent;
  /** The key in decimal, or "other"; undefined for a line over all keys. */
  readonly key: string | undefined;
  /** The key as printkey= shows it; undefined where there is none. */
  readonly keyText: string | undefined;
  readonly calls: number;
  readonly totalCycles: number;
  readonly minCycles: number;
  readonly p50Cycles: number;
  readonly p95Cycles: number;
  readonly p99Cycles: number;
  readonly p999Cycles: number;
  readonly maxCycles: number;
  /** Latencies above --than. */
  readonly over: number;
  readonly boundCycles: number;
  /** Latencies smaller than the bound; of these, ends stamped before their start (shown as 0). */
  readonly withinBound: number;
  readonly reversed: number;
  /** Ends stamped before their start by more than the bound, and by how much at most. */
  readonly violations: number;
  readonly violationCyclesMax: number;
  /** Pairs left out since events were lost in between, and the longest. */
  readonly leftOut: number;
  readonly leftOutCyclesMax: number;
  /** Events that the machines of this line lost in the interval. */
  readonly lostEvents: number;
}

/** One interval's table. */
export interface LatencyTable {
  /** Time of the table: local date with microseconds, and ns since 1970. */
  readonly date: string;
  readonly wallNs: bigint;
  readonly unit: LatencyUnit;
  /** Title of the key column with --perins. */
  readonly keyName: string | undefined;
  readonly lines: readonly LatencyLine[];
  readonly linesCut: number;
  readonly clocks: readonly ClockNote[];
  /** --than, Infinity when not given. */
  readonly thanCycles: number;
  /** What found no partner; undefined in the tables of a run that goes on. */
  readonly unmatched: PairingCounters | undefined;
}

/** What a table is made of. */
export interface LatencyTableParts extends Omit<LatencyTable, "lines" | "linesCut"> {
  readonly rows: readonly LatencyRow[];
  readonly losses: LossLog;
  /** By event index. */
  readonly events: readonly TableEvent[];
  /** printkey=: the text of the key of a pair of events. */
  readonly keyText?: KeyText;
}

/** A key of the pair of events `start` => `end` as text; undefined for the number itself. */
export type KeyText = (start: number, end: number, lo: number, hi: number) => string | undefined;

/** Builds the value; the rows can be reset afterwards. */
export function makeLatencyTable(parts: LatencyTableParts): LatencyTable {
  const { rows, losses, events, keyText, ...rest } = parts;
  const lines = rows.slice(0, TABLE_ROWS_MAX).map((row) => makeLine(row, losses, events, keyText));
  return { ...rest, lines, linesCut: rows.length - lines.length };
}

/** The least share (0 to 1) of all pairs that a line's percentiles rest on. */
export function coverage(line: Pick<LatencyLine, "calls" | "leftOut" | "lostEvents">): number {
  const { calls, leftOut, lostEvents } = line;
  // A lost event spoils one pair at most, and may have been of no pair at all.
  const pairs = calls + leftOut + lostEvents;
  return pairs === 0 ? 1 : calls / pairs;
}

function makeLine(
  row: LatencyRow,
  losses: LossLog,
  events: readonly TableEvent[],
  keyText: KeyText | undefined,
): LatencyLine {
  const { latencies, instance } = row;
  const isEmpty = latencies.count === 0;
  let lostEvents = 0;
  for (const machine of row.machines) lostEvents += losses.events(machine);
  const key =
    instance === undefined
      ? row.isOther
        ? "other"
        : undefined
      : String((BigInt(instance.hi) << 32n) | BigInt(instance.lo));
  return {
    start: events[row.start]!,
    end: events[row.end]!,
    key,
    keyText: instance && keyText?.(row.start, row.end, instance.lo, instance.hi),
    calls: latencies.count,
    totalCycles: latencies.sum,
    minCycles: isEmpty ? Number.NaN : latencies.min,
    p50Cycles: latencies.quantile(0.5),
    p95Cycles: latencies.quantile(0.95),
    p99Cycles: latencies.quantile(0.99),
    p999Cycles: latencies.quantile(0.999),
    maxCycles: isEmpty ? Number.NaN : latencies.max,
    over: row.over,
    boundCycles: row.boundCyclesMax,
    withinBound: row.withinBound,
    reversed: row.reversed,
    violations: row.violations,
    violationCyclesMax: row.violationCyclesMax,
    leftOut: row.leftOut,
    leftOutCyclesMax: row.leftOutCyclesMax,
    lostEvents,
  };
}
