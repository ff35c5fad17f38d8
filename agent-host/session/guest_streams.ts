/** The streams of a guest's CPUs: how far each has come, and what became of its bytes. */
import type { CpuPosition } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { SpanCounters, type SpanJoiner, type SpanSink } from "../../shared/wire/span_joiner.ts";
import type { CpuResume } from "../resume_file.ts";
import type { GuestLedger } from "./guest_ledger.ts";
import type { RingIntake } from "./ring_intake.ts";
import type { RingMarks } from "./ring_marks.ts";

export interface CpuStream {
  readonly joiner: SpanJoiner;
  readonly intake: RingIntake;
  readonly sink: SpanSink;
  readonly marks: RingMarks;
  /** The source's bytesRead for which the newest possible stamp was set. */
  boundedRead: number;
}

/** Notes where each ring stands, when all of it that came has been decoded. */
export function noteMarks(streams: ReadonlyMap<number, CpuStream>, ledger: GuestLedger): void {
  for (const [cpu, { joiner, intake, marks }] of streams) {
    if (intake.hasUndecoded || joiner.position < 0 || !joiner.synced) continue;
    const { position } = joiner;
    marks.note({ records: intake.pushedRecords, position, ...ledger.countsOf(cpu) });
  }
}

/** Up to where each ring's records have been released. */
export function usedUpTo(streams: ReadonlyMap<number, CpuStream>): CpuResume[] {
  const cpus: CpuResume[] = [];
  for (const [cpu, { intake, marks }] of streams) {
    const mark = marks.reached(intake.releasedRecords);
    if (mark === undefined) continue;
    const { records, ...place } = mark;
    cpus.push({ cpu, ...place, shown: intake.shownRecords - records });
  }
  return cpus;
}

/** Up to where each ring's records have come: what to acknowledge, and to resume from. */
export function receivedUpTo(streams: ReadonlyMap<number, CpuStream>): CpuPosition[] {
  const positions: CpuPosition[] = [];
  for (const [cpu, { joiner }] of streams) {
    if (joiner.position < 0 || !joiner.synced) continue;
    positions.push({ cpu, position: BigInt(joiner.position) });
  }
  return positions;
}

/** The counters of several rings, added up. */
export function sumOf(counters: readonly SpanCounters[]): SpanCounters {
  const total = new SpanCounters();
  for (const one of counters) {
    for (const name of Object.keys(total) as (keyof SpanCounters)[]) total[name] += one[name];
  }
  return total;
}
