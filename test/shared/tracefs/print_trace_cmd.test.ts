// Real events of all kinds: trace-cmd records all that this kernel has while a workload pokes it,
// reports them, and we print the same ring pages out of its trace.dat.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeLatencyFlags } from "../../../agent-host/report/latency_flags.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { packagesProblem, TRACE_CMD } from "../../apt.ts";
import { NIGHTLY } from "../../nightly.ts";
import { Comparison } from "./support/explained.ts";
import { Printers, staticSystems } from "./support/printers.ts";
import { type ReportLine, recordAll, report } from "./support/trace_cmd.ts";
import type { TraceDat, TraceRecord } from "./support/trace_dat.ts";
import { buildWorkload, isLoud, workloadProblem } from "./workload/workload.ts";

function whyNot(): string {
  const missing = packagesProblem([TRACE_CMD]) || workloadProblem();
  if (missing !== "") return missing;
  try {
    Tracefs.open();
    return "";
  } catch (error) {
    if (error instanceof TracefsError) return error.message;
    throw error;
  }
}

const problem = whyNot();
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("compilePrintFormat() on all that this kernel fires", () => {
  test("prints every record of trace.dat as trace-cmd report does", () => {
    const tracefs = Tracefs.open();
    const shm = statSync("/dev/shm", { throwIfNoEntry: false })?.isDirectory() === true;
    const directory = mkdtempSync(join(shm ? "/dev/shm" : tmpdir(), "vmspan-trace-cmd-"));
    try {
      const printers = new Printers(tracefs, staticSystems(tracefs));
      const { command } = buildWorkload(directory);
      const { path, dat } = recordAll({
        tracefsRoot: tracefs.root,
        directory,
        systems: printers.systems,
        loud: printers.names.filter(isLoud),
        command,
      });
      const { texts, flags } = compare(printers, dat, report(path));
      texts.report("trace-cmd report");
      flags.report("trace-cmd report: flags, CPU, pid and time");
      const silent = printers.names.filter((name) => !texts.events.has(name));
      console.log(`did not fire here, of ${printers.names.length}: ${bySystem(silent)}`);
      expect(texts.compared).toBeGreaterThan(20_000);
      expect(texts.events.size).toBeGreaterThan(200);
      expect(texts.unexplained).toEqual([]);
      expect(flags.unexplained).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }, 240_000);
});

/** "844: xfs 320, kvm 60 (kvm_exit kvm_entry ...)": the names where they are few. */
function bySystem(events: readonly string[]): string {
  const systems = new Map<string, string[]>();
  for (const event of events) {
    const [system, name] = event.split(":") as [string, string];
    systems.set(system, [...(systems.get(system) ?? []), name]);
  }
  const parts = [...systems].map(([system, names]) =>
    names.length > 3 && !NIGHTLY ? `${system} (${names.length})` : `${system}:{${names.join(",")}}`,
  );
  return `${events.length}: ${parts.join(" ")}`;
}

/** trace-cmd reports each CPU's records in their order, so the n-th line is of the n-th record. */
function compare(
  printers: Printers,
  dat: TraceDat,
  lines: readonly ReportLine[],
): { readonly texts: Comparison; readonly flags: Comparison } {
  const texts = new Comparison();
  const flags = new Comparison();
  const next = dat.cpus.map(() => 0);
  for (const line of lines) {
    const record = dat.cpus[line.cpu]?.[next[line.cpu]!++];
    if (record === undefined) {
      texts.add(line.event, "<no such record>", line.text);
      continue;
    }
    const { name, text } = printers.print(dat, record);
    texts.add(name, text, line.text);
    flags.add(name, head(dat, record, line.cpu, name), headOf(line));
  }
  const left = dat.cpus.reduce((sum, records, cpu) => sum + records.length - next[cpu]!, 0);
  expect(left).toBe(0);
  return { texts, flags };
}

const OUT = new ByteWriter(4096);

function head(dat: TraceDat, record: TraceRecord, cpu: number, name: string): string {
  const { view } = dat;
  const at = record.rawOffset;
  OUT.clear();
  OUT.reserve(16);
  writeLatencyFlags(OUT, view.getUint8(at + 2), view.getUint8(at + 3));
  const event = name.slice(name.indexOf(":") + 1);
  const pid = view.getInt32(at + 4, true);
  return `${pid} ${cpu} ${olderFlags(OUT.toString())} ${record.timeNs} ${event}`;
}

function headOf({ pid, cpu, flags, timeNs, event }: ReportLine): string {
  return `${pid} ${cpu} ${flags.slice(0, 4)} ${timeNs} ${event}`;
}

/**
 * Our four characters as a libtraceevent prints them that knows neither the lazy and preempt forms
 * of "needs resched" nor "bottom halves off" nor NMI.
 */
function olderFlags(flags: string): string {
  const irqs = "dD".includes(flags[0]!) ? "d" : ".";
  const resched = "nbNB".includes(flags[1]!) ? "N" : ".";
  const context = flags[2] === "z" ? "." : flags[2] === "Z" ? "h" : flags[2]!;
  return irqs + resched + context + flags[3]!;
}
