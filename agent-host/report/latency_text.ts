// The latency table as text, in perf-prof's columns, and below it what perf-prof does not say:
//
//   2023-04-12 15:38:45.755977
//             start => end                  calls      total(kcyc)    min(kcyc)    p50(kcyc) ...
//   ---------------    ----------------- -------- ---------------- ------------ ------------ ...
//   kvm_msi_set_irq => irq_handler_entry     5641        40951.486        4.971        5.736 ...
//   clock bound: 0.412 us (host => guest 1: KVM debugfs, fitted perf clock)
//
// A line whose percentiles are touched by loss ends with " *", explained below the table.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import {
  type ClockNote,
  coverage,
  type LatencyLine,
  type LatencyTable,
  type LatencyUnit,
} from "./latency_table.ts";
import { printable } from "./printable.ts";

const CALLS_WIDTH = 8;
const TOTAL_WIDTH = 16;
const VALUE_WIDTH = 12;
const VALUES = ["min", "p50", "p95", "p99", "max"] as const;

/** Writes the table and its notes. */
export function writeLatencyTable(out: ByteWriter, table: LatencyTable): void {
  out.ascii(`${table.date} \n`);
  if (table.lines.length === 0) {
    out.ascii("no pairs\n");
  } else {
    writeRows(out, table);
  }
  writeNotes(out, table);
}

function writeRows(out: ByteWriter, table: LatencyTable): void {
  const { unit } = table;
  const lines = table.lines.map((line) => ({
    line,
    start: printable(line.start.text),
    end: printable(line.end.text),
    key: printable(line.keyText ?? line.key ?? "all"),
  }));
  const keyName = table.keyName === undefined ? undefined : printable(table.keyName);
  const startWidth = Math.max(5, ...lines.map(({ start }) => start.length));
  const endWidth = Math.max(3, ...lines.map(({ end }) => end.length));
  const keyWidth = Math.max(3, keyName?.length ?? 0, ...lines.map(({ key }) => key.length));
  const lead = (key: string): string => (keyName === undefined ? "" : `${key.padEnd(keyWidth)} `);
  const titles = VALUES.map((name) => `${name}(${unit.name})`.padStart(VALUE_WIDTH));
  out.ascii(
    `${lead(keyName ?? "")}${"start".padStart(startWidth)} => ${"end".padEnd(endWidth)} ` +
      `${"calls".padStart(CALLS_WIDTH)} ${`total(${unit.name})`.padStart(TOTAL_WIDTH)} ` +
      `${titles.join(" ")}\n`,
  );
  const dashes = (width: number): string => "-".repeat(width);
  const rule = [dashes(CALLS_WIDTH), dashes(TOTAL_WIDTH), ...VALUES.map(() => dashes(VALUE_WIDTH))];
  out.ascii(
    `${lead(dashes(keyWidth))}${dashes(startWidth)}    ${dashes(endWidth)} ${rule.join(" ")}\n`,
  );
  for (const { line, start, end, key } of lines) {
    out.ascii(`${lead(key)}${start.padStart(startWidth)} => ${end.padEnd(endWidth)} `);
    out.ascii(`${valueColumns(line, unit)}${isTouchedByLoss(line) ? " *" : ""}\n`);
  }
}

function valueColumns(line: LatencyLine, unit: LatencyUnit): string {
  const { minCycles, p50Cycles, p95Cycles, p99Cycles, maxCycles } = line;
  const values = [minCycles, p50Cycles, p95Cycles, p99Cycles, maxCycles];
  const columns = values.map((cycles) => shown(cycles, unit).padStart(VALUE_WIDTH));
  const calls = String(line.calls).padStart(CALLS_WIDTH);
  return `${calls} ${shown(line.totalCycles, unit).padStart(TOTAL_WIDTH)} ${columns.join(" ")}`;
}

function shown(cycles: number, unit: LatencyUnit): string {
  return Number.isNaN(cycles) ? "-" : (cycles * unit.perCycle).toFixed(3);
}

function isTouchedByLoss(line: LatencyLine): boolean {
  return line.leftOut > 0 || line.lostEvents > 0;
}

/** A duration with its unit; in kcyc mode in us as well, since bounds are compared with times. */
export function duration(cycles: number, unit: LatencyUnit): string {
  if (!Number.isFinite(cycles)) return "unknown";
  const micros = `${((cycles * unit.nsPerCycle) / 1000).toFixed(3)} us`;
  return unit.name === "us" ? micros : `${shown(cycles, unit)} kcyc, ${micros}`;
}

function writeNotes(out: ByteWriter, table: LatencyTable): void {
  const { unit, clocks, linesCut, unmatched } = table;
  writeClockNotes(out, clocks, unit);
  for (const line of sumByPair(table.lines)) writePairNotes(out, table, line);
  if (linesCut > 0) out.ascii(`${linesCut} more lines are not shown\n`);
  if (unmatched === undefined) return;
  const { unmatchedEnds, replacedStarts, evictedStarts, waitingStarts, refusedCopies } = unmatched;
  if (refusedCopies > 0) {
    out.ascii(`${refusedCopies} starts waited without their fields: too many others did\n`);
  }
  if (unmatchedEnds + replacedStarts + evictedStarts + waitingStarts === 0) return;
  out.ascii(
    `without partner: ${unmatchedEnds} ends, ${replacedStarts} starts replaced by a newer one, ` +
      `${evictedStarts} starts evicted, ${waitingStarts} starts still waiting\n`,
  );
}

/** How far off times may be: "clock bound: 28.412 us (host => guest 1: ping, exact perf clock)". */
export function writeClockNotes(
  out: ByteWriter,
  clocks: readonly ClockNote[],
  unit: LatencyUnit,
): void {
  for (const { what, method, boundCycles } of clocks) {
    const how = `${printable(what)}: ${printable(method)}`;
    out.ascii(`clock bound: ${duration(boundCycles, unit)} (${how})\n`);
  }
}

function writePairNotes(out: ByteWriter, table: LatencyTable, line: LatencyLine): void {
  const { unit, thanCycles } = table;
  const pair = `${printable(line.start.text)} => ${printable(line.end.text)}`;
  if (line.over > 0) {
    out.ascii(`${pair}: ${line.over} of ${line.calls} took longer than `);
    out.ascii(`${duration(thanCycles, unit)}\n`);
  }
  if (line.withinBound > 0) {
    const reversed = line.reversed > 0 ? `; ${line.reversed} stamped in reverse count as 0` : "";
    out.ascii(`${pair}: ${line.withinBound} of ${line.calls} are smaller than the clock bound`);
    out.ascii(`${reversed}\n`);
  }
  if (isTouchedByLoss(line)) {
    const share = (Math.floor(coverage(line) * 10000) / 100).toFixed(2);
    const longest = line.leftOut > 0 ? ` (longest ${duration(line.leftOutCyclesMax, unit)})` : "";
    out.ascii(`* ${pair}: percentiles rest on at least ${share} % of the pairs: `);
    out.ascii(`${line.lostEvents} events lost, ${line.leftOut} pairs around them left out`);
    out.ascii(`${longest}\n`);
  }
  if (line.violations > 0) {
    const most = duration(line.violationCyclesMax, unit);
    out.ascii(`WARNING: ${pair}: ${line.violations} ends are stamped before their start by more `);
    out.ascii(`than the clock bound, by ${most} at most\n`);
    out.ascii(
      "HINT: the clocks are not related as assumed; check --tsc-offset, --vm, or the key\n",
    );
  }
}

/** Notes are about pairs of events: with a line per key they would drown the table. */
function sumByPair(lines: readonly LatencyLine[]): LatencyLine[] {
  const sums = new Map<string, LatencyLine>();
  for (const line of lines) {
    const pair = `${line.start.index} ${line.end.index}`;
    const sum = sums.get(pair);
    sums.set(pair, sum === undefined ? line : addLines(sum, line));
  }
  return [...sums.values()];
}

function addLines(a: LatencyLine, b: LatencyLine): LatencyLine {
  return {
    ...a,
    calls: a.calls + b.calls,
    over: a.over + b.over,
    withinBound: a.withinBound + b.withinBound,
    reversed: a.reversed + b.reversed,
    violations: a.violations + b.violations,
    violationCyclesMax: Math.max(a.violationCyclesMax, b.violationCyclesMax),
    leftOut: a.leftOut + b.leftOut,
    leftOutCyclesMax: Math.max(a.leftOutCyclesMax, b.leftOutCyclesMax),
    // Lost events have no key: each line of the pair names the same two machines' ones.
    lostEvents: Math.max(a.lostEvents, b.lostEvents),
  };
}
