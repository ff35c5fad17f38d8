// The ledger as text.
//
//   machine  cpu     produced    delivered  kernel lost      dropped  where
//   ------- ---- ------------ ------------ ------------ ------------  -----
//   host       0         5012         5012            0            0
//   guest 1    0         6000         5641            0          359  slow client 359
//   ledger: balances: 11012 produced = 10653 delivered + 0 lost by the kernel + 359 dropped
//
// A stream that ended without a goodbye has rows of its own, and what can be said of its end:
//
//   guest 1 #1    0            ?          960            0            0  unknown from byte 76800 on
//   ledger: guest 1 #1 ended without a goodbye: all that it recorded before 2023-04-12
//   13:47:26.370747 has come; what it recorded after that, and lost after its last record, is
//   unknown

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import { droppedEvents } from "../analyze/cpu_ledger.ts";
import { type EndedNote, type Ledger, type LedgerRow, nameOf } from "./ledger.ts";
import { printable } from "./printable.ts";
import { wallText } from "./wall_clock.ts";

const COUNT_WIDTH = 12;
const CPU_WIDTH = 4;

/** Writes the table and its verdict. */
export function writeLedger(out: ByteWriter, ledger: Ledger): void {
  const names = ledger.rows.map((row) => printable(nameOf(row)));
  const width = Math.max("machine".length, ...names.map((name) => name.length));
  const count = (text: string): string => text.padStart(COUNT_WIDTH);
  const titles = ["produced", "delivered", "kernel lost", "dropped"].map(count).join(" ");
  const dashes = "-".repeat(COUNT_WIDTH);
  out.ascii(`${"machine".padEnd(width)} ${"cpu".padStart(CPU_WIDTH)} ${titles}  where\n`);
  out.ascii(`${"-".repeat(width)} ${"-".repeat(CPU_WIDTH)} ${new Array(4).fill(dashes).join(" ")}`);
  out.ascii("  -----\n");
  for (const [index, row] of ledger.rows.entries()) {
    const numbers = [row.produced ?? "?", row.delivered, row.lostKernel, droppedEvents(row)];
    out.ascii(`${names[index]!.padEnd(width)} ${String(row.cpu).padStart(CPU_WIDTH)} `);
    out.ascii(`${numbers.map((number) => count(String(number))).join(" ")}${where(row)}\n`);
  }
  writeVerdict(out, ledger);
}

function where(row: LedgerRow): string {
  const places = row.drops
    .filter(({ events }) => events > 0)
    .map(({ place, events }) => `${printable(place)} ${events}`);
  if (row.gapBytes > 0) places.push(`${row.gapBytes} bytes never came`);
  if (row.endPosition !== undefined) places.push(`unknown from byte ${row.endPosition} on`);
  return places.length === 0 ? "" : `  ${places.join(", ")}`;
}

/** Writes the one line that says whether it balances. */
export function writeVerdict(out: ByteWriter, { verdict, ended }: Ledger): void {
  const { state, produced, delivered, lostKernel, dropped, unaccounted } = verdict;
  const parts = `${delivered} delivered + ${lostKernel} lost by the kernel + ${dropped} dropped`;
  if (state === "balances") {
    out.ascii(`ledger: balances: ${produced} produced = ${parts}\n`);
  } else if (state === "unknown") {
    out.ascii(`ledger: cannot be checked, not every machine told its totals: ${parts}\n`);
  } else {
    const sum = unaccounted.reduce((total, { events }) => total + Math.abs(events || 0), 0);
    const by = sum > 0 ? ` by ${sum} events` : "";
    out.ascii(`ledger: does NOT balance${by}: ${produced} produced, ${parts}\n`);
  }
  for (const { row, events } of unaccounted) {
    const place = `${printable(nameOf(row))} CPU ${row.cpu}`;
    if (Number.isNaN(events)) {
      out.ascii(`ledger: ${place}: ${row.gapBytes} bytes of its ring never came\n`);
    } else if (events > 0) {
      out.ascii(`ledger: ${place}: ${events} events are unaccounted for\n`);
    } else {
      out.ascii(`ledger: ${place}: ${-events} events more than were produced\n`);
    }
  }
  for (const end of ended) writeEnd(out, end);
}

function writeEnd(out: ByteWriter, end: EndedNote): void {
  const { completeNs } = end;
  const known =
    completeNs === undefined
      ? "what it recorded or lost after its last record that came is unknown"
      : `all that it recorded before ${wallText(completeNs)} has come; what it recorded after ` +
        "that, and lost after its last record, is unknown";
  out.ascii(`ledger: ${printable(nameOf(end))} ended without a goodbye: ${known}\n`);
}
