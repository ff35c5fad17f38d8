/**
 * Events that were delivered and are not shown: what did not pass a filter which runs here, because
 * a kernel refused it, and what else a guest's stream holds than the events that were asked for.
 *
 *   filtered here: 88900 of the events delivered (host sched:sched_stat 88000, guest 1 others 900)
 *   {"type":"filtered","machine":"host","event":"sched:sched_stat","events":88000}
 *   {"type":"filtered","machine":"guest 1","event":null,"events":900}
 */
import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import { jsonNumber, jsonString } from "./json_value.ts";
import { printable } from "./printable.ts";

/** Events that the text names; the rest is in the sum. */
const NAMES_SHOWN_MAX = 8;

export interface FilteredRow {
  readonly machine: string;
  /** "sched:sched_switch"; undefined for all that was not asked for. */
  readonly event: string | undefined;
  readonly events: number;
}

export function writeFiltered(out: ByteWriter, rows: readonly FilteredRow[]): void {
  if (rows.length === 0) return;
  const total = rows.reduce((sum, { events }) => sum + events, 0);
  const most = rows.toSorted((a, b) => b.events - a.events).slice(0, NAMES_SHOWN_MAX);
  const names = most.map(
    ({ machine, event, events }) => `${machine} ${printable(event ?? "others")} ${events}`,
  );
  const more = rows.length > most.length ? ", ..." : "";
  out.ascii(`filtered here: ${total} of the events delivered (${names.join(", ")}${more})\n`);
}

export function writeFilteredJson(out: ByteWriter, rows: readonly FilteredRow[]): void {
  for (const { machine, event, events } of rows) {
    const name = event === undefined ? "null" : jsonString(event);
    out.ascii(`{"type":"filtered","machine":${jsonString(machine)},"event":${name}`);
    out.ascii(`,"events":${jsonNumber(events, 0)}}\n`);
  }
}
