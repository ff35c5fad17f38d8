// Every tracepoint of the running kernel on records made up for it: our text is compared with that
// of the system's libtraceevent.

import { describe, expect, test } from "bun:test";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { type EventFormat, parseFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat } from "../../../shared/tracefs/print_format.ts";
import type { SymbolResolver } from "../../../shared/tracefs/symbols.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { Comparison } from "./support/explained.ts";
import { oracleProblem, runOracle } from "./support/oracle.ts";
import { Random, randomRecord } from "./support/random_records.ts";

const STYLES = ["small", "small", "flags", "any"] as const;

/** As the oracle's resolver: pages of kernel text have names. */
const SYMBOLS: SymbolResolver = {
  lookup(lo, hi) {
    const low = lo >>> 0;
    if (hi >>> 0 !== 0xffffffff || low < 0x81000000 || low >= 0x82000000) return undefined;
    return { name: `sym_${(low & 0xfff000).toString(16)}`, offset: low & 0xfff };
  },
};

function openTracefs(): Tracefs | string {
  try {
    const tracefs = Tracefs.open();
    return tracefs.systems().length > 0 ? tracefs : "tracefs lists no events here";
  } catch (error) {
    if (error instanceof TracefsError) return error.message;
    throw error;
  }
}

const tracefs = openTracefs();
const problem = typeof tracefs === "string" ? tracefs : "";
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("compilePrintFormat() on the running kernel", () => {
  const texts = new Map<string, { system: string; text: string; format: EventFormat }>();
  if (typeof tracefs !== "string") {
    for (const { system, name } of tracefs.find("*:*")) {
      if (!tracefs.has(system, name)) continue;
      const text = tracefs.formatText(system, name);
      texts.set(`${system}:${name}`, { system, text, format: parseFormat(text, system) });
    }
  }

  test("compiles every tracepoint's print format", () => {
    const unrendered: string[] = [];
    let unresolved = 0;
    for (const [event, { format }] of texts) {
      const printer = compilePrintFormat(format);
      if (printer.isFallback) unrendered.push(`${event} (${printer.reason})`);
      if (printer.unresolved.length > 0) unresolved++;
    }
    console.log(
      `print formats: ${texts.size} parsed, ${texts.size - unrendered.length} compiled, ` +
        `${unresolved} name constants without a value`,
    );
    for (const event of unrendered) console.log(`  as fields: ${event}`);
    expect(unrendered.length).toBeLessThanOrEqual(texts.size / 200);
  });

  const oracle = problem === "" ? oracleProblem() : problem;
  if (oracle !== "") console.log(`skipped: ${oracle}`);
  test.skipIf(oracle !== "")(
    "prints made-up records as libtraceevent does",
    () => {
      const random = new Random(20261122);
      const events = [...texts].map(([event, { system, text, format }]) => ({
        event,
        system,
        formatText: text,
        format,
        records: STYLES.map((style) => randomRecord(format, random, style)),
      }));
      const theirs = runOracle(events);
      if (typeof theirs === "string") throw new Error(theirs);
      const comparison = new Comparison(true);
      const out = new ByteWriter(1 << 18);
      events.forEach(({ event, format, records }, index) => {
        const printer = compilePrintFormat(format, { symbols: SYMBOLS });
        records.forEach((record, i) => {
          out.clear();
          printer.render(out, new DataView(record.buffer), record, 0, record.length);
          comparison.add(event, out.toString(), theirs[index]![i] ?? "<none>");
        });
      });
      comparison.report("libtraceevent on made-up records");
      expect(comparison.equal / comparison.compared).toBeGreaterThan(0.95);
      // Other kernels have other formats: there a few new differences are news and not a failure.
      expect(comparison.unexplained.length).toBeLessThanOrEqual(comparison.compared / 200);
    },
    60_000,
  );
});
