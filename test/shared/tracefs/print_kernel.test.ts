// The kernel as the judge: what its own tracer prints of a record, and what we print of the same
// record. Where libtraceevent differs from us (constants in formats, signed numbers, arrays, flags
// of timers), this says who is right.

import { describe, expect, test } from "bun:test";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { Comparison, comparable, KERNEL_EXPLANATIONS } from "./support/explained.ts";
import { type CpuText, recordKernelText } from "./support/kernel_text.ts";
import { Printers, staticSystems } from "./support/printers.ts";
import { buildWorkload, isLoud, workloadProblem } from "./workload/workload.ts";

function whyNot(): string {
  const missing = workloadProblem();
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

/** The kernel prints these by functions of its own, which their formats do not describe. */
const OWN_FUNCTIONS = new Set(["syscalls"]);

describe.skipIf(problem !== "")("compilePrintFormat() beside the kernel's own tracer", () => {
  test("prints every record as the kernel does", () => {
    const tracefs = Tracefs.open();
    const directory = mkdtempSync(join(tmpdir(), "vmspan-kernel-"));
    try {
      const systems = staticSystems(tracefs).filter((system) => !OWN_FUNCTIONS.has(system));
      const printers = new Printers(tracefs, systems, true);
      const comparison = compare(
        printers,
        recordKernelText({
          tracefsRoot: tracefs.root,
          events: printers.names,
          loud: printers.names.filter(isLoud),
          command: buildWorkload(directory).command,
        }),
      );
      comparison.report("the kernel's own text");
      expect(comparison.compared).toBeGreaterThan(10_000);
      expect(comparison.unexplained).toEqual([]);
    } finally {
      rmSync(directory, { recursive: true, force: true });
    }
  }, 240_000);
});

/** "   kworker/u8:4-30031   [000] d..1.  6102.888021: cgroup_rstat_locked: root=4 id=1 ..." */
const LINE = /-\d+ +\[\d+\] \S+ +\d+\.\d{6}: (\w+): ?(.*)$/s;

/** What the ring was too small for. */
const LOST = /^CPU:\d+ \[LOST /;

function compare(printers: Printers, cpus: readonly CpuText[]): Comparison {
  const comparison = new Comparison(false, KERNEL_EXPLANATIONS);
  for (const cpu of cpus) {
    const texts = joinLines(cpu.lines);
    expect(texts.length).toBe(cpu.records.length);
    cpu.records.forEach((record, index) => {
      const { name, text } = printers.print(cpu, record);
      const [event, theirs] = texts[index]!;
      if (!name.endsWith(`:${event}`)) throw new Error(`record ${index}: ${name}, not ${event}`);
      const isSame = text === theirs.trimEnd();
      comparison.add(name, isSame ? text : plain(text), isSame ? text : plain(theirs));
    });
  }
  return comparison;
}

/** Event and text of each record; a text may have several lines. */
function joinLines(lines: readonly string[]): [string, string][] {
  const texts: [string, string][] = [];
  for (const line of lines) {
    const match = LINE.exec(line);
    if (match !== null) texts.push([match[1]!, match[2]!]);
    else if (texts.length > 0 && !LOST.test(line)) texts.at(-1)![1] += `\n${line}`;
  }
  return texts;
}

/**
 * What differs by intention: the kernel prints %p with sixteen digits and no 0x, and %pS with the
 * size of the function.
 */
function plain(text: string): string {
  return comparable(text)
    .replace(/(\+0x[0-9a-f]+)\/0x[0-9a-f]+/g, "$1")
    .replace(/\(nil\)/g, "0")
    .replace(/\b(?:0x)?0*([0-9a-f]{1,16})\b/g, "$1");
}
