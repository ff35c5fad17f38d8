// Latency tables and the ledger as JSON lines (--json): one object per line of the text.
//
//   {"type":"interval","wall_ns":"1681285125755977000","lines":1,"lines_cut":0,"clocks":[...]}
//   {"type":"latency","start":"kvm_msi_set_irq","start_machine":"host",
//    "end":"irq_handler_entry","end_machine":"guest 1","calls":5641, ...}
//   {"type":"ledger","machine":"guest 1","cpu":0,"produced":6000,"delivered":5641, ...}
//   {"type":"ledger_verdict","state":"balances", ...}
//   {"type":"stream_end","machine":"guest 1","stream":"1","goodbye":false,"complete_ns":"1681..."}
//
// All times are in ns; bound_ns is the error bound of that line's latencies.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import { droppedEvents } from "../analyze/cpu_ledger.ts";
import { jsonNumber, jsonObject, jsonString } from "./json_value.ts";
import { coverage, type LatencyLine, type LatencyTable } from "./latency_table.ts";
import type { Ledger } from "./ledger.ts";

/** Writes one interval's table. */
export function writeLatencyJson(out: ByteWriter, table: LatencyTable): void {
  const { nsPerCycle } = table.unit;
  const ns = (cycles: number): string => jsonNumber(cycles * nsPerCycle, 3);
  const clocks = table.clocks.map(
    ({ what, method, boundCycles }) =>
      `{"what":${jsonString(what)},"method":${jsonString(method)},"bound_ns":${ns(boundCycles)}}`,
  );
  out.ascii(`{"type":"interval","wall_ns":"${table.wallNs}","lines":${table.lines.length}`);
  out.ascii(`,"lines_cut":${table.linesCut},"than_ns":${ns(table.thanCycles)}`);
  out.ascii(`,"clocks":[${clocks.join(",")}]`);
  const { unmatched } = table;
  if (unmatched !== undefined) {
    out.ascii(`,"unmatched_ends":${unmatched.unmatchedEnds}`);
    out.ascii(`,"replaced_starts":${unmatched.replacedStarts}`);
    out.ascii(`,"evicted_starts":${unmatched.evictedStarts}`);
    out.ascii(`,"waiting_starts":${unmatched.waitingStarts}`);
    out.ascii(`,"starts_without_fields":${unmatched.refusedCopies}`);
  }
  out.ascii("}\n");
  for (const line of table.lines) writeLine(out, line, table.keyName, ns);
}

function writeLine(
  out: ByteWriter,
  line: LatencyLine,
  keyName: string | undefined,
  ns: (cycles: number) => string,
): void {
  const members: Record<string, string> = {
    type: '"latency"',
    start: jsonString(line.start.label),
    start_machine: jsonString(line.start.machine),
    end: jsonString(line.end.label),
    end_machine: jsonString(line.end.machine),
    ...(line.key === undefined ? {} : { key: jsonString(line.key) }),
    ...(line.keyText === undefined ? {} : { key_text: jsonString(line.keyText) }),
    ...(keyName === undefined ? {} : { key_name: jsonString(keyName) }),
    calls: String(line.calls),
    total_ns: ns(line.totalCycles),
    min_ns: ns(line.minCycles),
    p50_ns: ns(line.p50Cycles),
    p95_ns: ns(line.p95Cycles),
    p99_ns: ns(line.p99Cycles),
    p999_ns: ns(line.p999Cycles),
    max_ns: ns(line.maxCycles),
    bound_ns: ns(line.boundCycles),
    over: String(line.over),
    within_bound: String(line.withinBound),
    reversed: String(line.reversed),
    violations: String(line.violations),
    violation_max_ns: ns(line.violationCyclesMax),
    left_out: String(line.leftOut),
    left_out_max_ns: ns(line.leftOutCyclesMax),
    lost_events: jsonNumber(line.lostEvents, 0),
    coverage: jsonNumber(coverage(line), 6),
  };
  out.ascii(`${jsonObject(members)}\n`);
}

/** Writes the ledger and its verdict. */
export function writeLedgerJson(out: ByteWriter, ledger: Ledger): void {
  for (const row of ledger.rows) {
    const drops = row.drops.map(
      ({ place, events }) => `{"place":${jsonString(place)},"events":${jsonNumber(events, 0)}}`,
    );
    const members = {
      type: '"ledger"',
      machine: jsonString(row.machine),
      ...(row.stream === undefined ? {} : { stream: jsonString(row.stream) }),
      cpu: String(row.cpu),
      produced: row.produced === undefined ? "null" : jsonNumber(row.produced, 0),
      delivered: jsonNumber(row.delivered, 0),
      lost_kernel: jsonNumber(row.lostKernel, 0),
      dropped: jsonNumber(droppedEvents(row), 0),
      drops: `[${drops.join(",")}]`,
      gap_bytes: jsonNumber(row.gapBytes, 0),
      ...(row.endPosition === undefined ? {} : { end_position: jsonNumber(row.endPosition, 0) }),
    };
    out.ascii(`${jsonObject(members)}\n`);
  }
  for (const { machine, stream, completeNs } of ledger.ended) {
    const members = {
      type: '"stream_end"',
      machine: jsonString(machine),
      ...(stream === undefined ? {} : { stream: jsonString(stream) }),
      goodbye: "false",
      complete_ns: completeNs === undefined ? "null" : `"${completeNs}"`,
    };
    out.ascii(`${jsonObject(members)}\n`);
  }
  const { state, produced, delivered, lostKernel, dropped, unaccounted } = ledger.verdict;
  const members = {
    type: '"ledger_verdict"',
    state: jsonString(state),
    produced: jsonNumber(produced, 0),
    delivered: jsonNumber(delivered, 0),
    lost_kernel: jsonNumber(lostKernel, 0),
    dropped: jsonNumber(dropped, 0),
    unaccounted: `[${unaccounted
      .map(
        ({ row, events }) =>
          `{"machine":${jsonString(row.machine)},"cpu":${row.cpu},` +
          `"events":${jsonNumber(events, 0)}}`,
      )
      .join(",")}]`,
  };
  out.ascii(`${jsonObject(members)}\n`);
}
