/**
 * Events that were delivered and did not pass a filter which runs here, because a kernel refused it
 * or because a guest's stream holds more than was asked for:
 *
 *   filtered here: 88000 of the events delivered (host sched:sched_switch 88000)
 *   {"type":"filtered","machine":"host","event":"sched:sched_switch","events":88000}
 */
import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import { jsonNumber, jsonString } from "./json_value.ts";
import { printable } from "./printable.ts";

/** Events that the text names; the rest is in the sum. */
const NAMES_SHOWN_MAX = 8;

export interface FilteredRow {
  readonly machine: string;
  /** "sched:sched_switch" */
  readonly event: string;
  readonly events: number;
}

export function writeFiltered(out: ByteWriter, rows: readonly FilteredRow[]): void {
  if (rows.length === 0) return;
  const total = rows.reduce((sum, { events }) => sum + events, 0);
  const most = rows.toSorted((a, b) => b.events - a.events).slice(0, NAMES_SHOWN_MAX);
  const names = most.map(
    ({ machine, event, events }) => `${machine} ${printable(event)} ${events}`,
  );
  const more = rows.length > most.length ? ", ..." : "";
  out.ascii(`filtered here: ${total} of the events delivered (${names.join(", ")}${more})\n`);
}

export function writeFilteredJson(out: ByteWriter, rows: readonly FilteredRow[]): void {
  for (const { machine, event, events } of rows) {
    out.ascii(`{"type":"filtered","machine":${jsonString(machine)},"event":${jsonString(event)}`);
    out.ascii(`,"events":${jsonNumber(events, 0)}}\n`);
  }
}
