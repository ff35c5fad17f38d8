// Formats of a whole kernel: how many are rendered, and what they make of records made up for them,
// beside the system's libtraceevent.

import { ByteWriter } from "../../../../shared/text/byte_writer.ts";
import { parseFormat } from "../../../../shared/tracefs/format.ts";
import { compilePrintFormat } from "../../../../shared/tracefs/print_format.ts";
import type { SymbolResolver } from "../../../../shared/tracefs/symbols.ts";
import { Comparison } from "./explained.ts";
import { runOracle } from "./oracle.ts";
import { Random, randomRecord } from "./random_records.ts";

/** One event's format file. */
export interface FormatText {
  readonly system: string;
  readonly name: string;
  readonly text: string;
}

const SEED = 20261122;
const STYLES = ["small", "small", "flags", "any"] as const;

/** As the oracle's resolver: pages of kernel text have names. */
const SYMBOLS: SymbolResolver = {
  lookup(lo, hi) {
    const low = lo >>> 0;
    if (hi >>> 0 !== 0xffffffff || low < 0x81000000 || low >= 0x82000000) return undefined;
    return { name: `sym_${(low & 0xfff000).toString(16)}`, offset: low & 0xfff };
  },
};

/** Compiles all formats and prints the counts. Throws FormatError for one that does not parse. */
export function countRendered(
  kernel: string,
  events: readonly FormatText[],
): { readonly unrendered: readonly string[] } {
  const unrendered: string[] = [];
  let unresolved = 0;
  for (const { system, name, text } of events) {
    const printer = compilePrintFormat(parseFormat(text, system));
    if (printer.isFallback) unrendered.push(`${system}:${name} (${printer.reason})`);
    if (printer.unresolved.length > 0) unresolved++;
  }
  console.log(
    `print formats of ${kernel}: ${events.length} parsed, ` +
      `${events.length - unrendered.length} rendered, ` +
      `${unresolved} name constants without a value`,
  );
  for (const event of unrendered) console.log(`  as fields: ${event}`);
  return { unrendered };
}

/** Compares our texts with libtraceevent's, four records of each event. */
export function compareMadeUp(texts: readonly FormatText[]): Comparison {
  const random = new Random(SEED);
  const events = texts.map(({ system, name, text }) => {
    const format = parseFormat(text, system);
    const records = STYLES.map((style) => randomRecord(format, random, style));
    return { event: `${system}:${name}`, system, formatText: text, format, records };
  });
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
  return comparison;
}
