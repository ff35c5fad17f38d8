/**
 * The ledger of a run: the rows of the host and of each stream of each guest, and which of these
 * streams ended without a goodbye.
 */
import type { CpuLedger } from "./analyze/cpu_ledger.ts";
import type { Machines } from "./machines.ts";
import { type EndedNote, type Ledger, type LedgerRow, makeLedger } from "./report/ledger.ts";
import { completeNsOf, type WallNsOf } from "./session/ended_streams.ts";
import type { Guest } from "./session/guest.ts";
import { machineName } from "./session/machine_name.ts";

/** `wallNsOf`: the time of day of a canonical time. */
export function ledgerOf({ local, guests }: Machines, wallNsOf: WallNsOf): Ledger {
  const rows: LedgerRow[] = [];
  const ended: EndedNote[] = [];
  for (const row of local?.ledger() ?? []) rows.push({ machine: machineName(0), ...row });
  for (const guest of guests) {
    addEnded(guest, rows, ended, wallNsOf);
    addLast(guest, rows, ended, wallNsOf);
  }
  return makeLedger(rows, ended);
}

/** The streams that another one followed. */
function addEnded(guest: Guest, rows: LedgerRow[], ended: EndedNote[], wallNsOf: WallNsOf): void {
  const machine = machineName(guest.machine);
  for (const { first, last, rows: cpus, completeNs } of guest.ended.list(wallNsOf)) {
    const stream = first === last ? String(last) : `${first}-${last}`;
    for (const { position, ...row } of cpus) {
      rows.push({ machine, stream, ...row, endPosition: position });
    }
    ended.push({ machine, stream, completeNs });
  }
}

/** The last stream, which has no number where it is the only one. */
function addLast(guest: Guest, rows: LedgerRow[], ended: EndedNote[], wallNsOf: WallNsOf): void {
  const { ledger, link, progressCycles } = guest;
  const { count } = guest.ended;
  const name = {
    machine: machineName(guest.machine),
    ...(count === 0 ? {} : { stream: String(count + 1) }),
  };
  const isCut = !link.source.isFile && link.source.hasEnded && link.bye === undefined;
  const positions = new Map(isCut ? guest.positions().map((at) => [at.cpu, at.position]) : []);
  for (const row of ledger.rows()) {
    const position = positions.get(row.cpu);
    rows.push({
      ...name,
      ...(row satisfies CpuLedger),
      ...(position === undefined ? {} : { endPosition: Number(position) }),
    });
  }
  if (!isCut) return;
  ended.push({ ...name, completeNs: completeNsOf(progressCycles, wallNsOf) });
}
