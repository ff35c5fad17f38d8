/**
 * Loss that no record and no gap told of, since none followed it: the ledger alone knows of it.
 *
 *   CPU 0   ... x x x [lost: 3000]            the end of the run, or of a stream of it
 *
 * It is what all streams of a machine have lost, less what was noted when it was met. Where of a
 * gap the bytes are known and the events are not, a guess was noted, which the ledger has not.
 */
import { type CpuLedger, droppedEvents } from "./analyze/cpu_ledger.ts";
import type { LossLog } from "./analyze/loss_log.ts";
import type { EndedStreams } from "./session/ended_streams.ts";
import { NOT_RECORDED } from "./session/guest_ledger.ts";

/** What is asked of the machines of a run: see Machines. */
export interface LossySources {
  readonly local: { ledger(): readonly CpuLedger[] } | undefined;
  readonly guests: Iterable<{
    readonly machine: number;
    readonly ledger: { rows(): readonly CpuLedger[] };
    readonly ended: Pick<EndedStreams, "list">;
    readonly rings: { readonly intakes: ReadonlyMap<number, { readonly estimatedEvents: number }> };
  }>;
}

/** Notes it, before the last table. */
export function noteTrailingLoss({ local, guests }: LossySources, losses: LossLog): void {
  noteRest(losses, 0, local?.ledger() ?? [], 0);
  for (const { machine, ledger, ended, rings } of guests) {
    const before = ended.list(() => undefined).flatMap(({ rows }) => rows);
    let guessed = 0;
    for (const { estimatedEvents } of rings.intakes.values()) guessed += estimatedEvents;
    noteRest(losses, machine, [...before, ...ledger.rows()], guessed);
  }
}

function noteRest(
  losses: LossLog,
  machine: number,
  rows: readonly CpuLedger[],
  guessed: number,
): void {
  let lost = guessed;
  for (const row of rows) {
    // What the kernel did not record it did not lose under load: no sign of what lies between.
    const drops = row.drops.filter(({ place }) => place !== NOT_RECORDED);
    lost += row.lostKernel + droppedEvents({ ...row, drops });
  }
  const unknown = lost - losses.total(machine);
  if (unknown > 0) losses.noteUnplaced(machine, unknown);
}
