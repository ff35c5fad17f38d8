/** The streams of a guest's CPUs: how far each has come, and what became of its bytes. */
import type { CpuPosition } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { SpanCounters, SpanJoiner, type SpanSink } from "../../shared/wire/span_joiner.ts";
import { CHUNK_BYTES } from "../analyze/chunk.ts";
import type { TimeSegments } from "../analyze/decode.ts";
import type { CpuResume } from "../resume_file.ts";
import type { StreamEnd } from "./ended_streams.ts";
import type { GuestLedger } from "./guest_ledger.ts";
import type { MachineRings } from "./machine_rings.ts";
import type { RingIntake } from "./ring_intake.ts";
import { RingMarks } from "./ring_marks.ts";

export interface CpuStream {
  readonly joiner: SpanJoiner;
  readonly intake: RingIntake;
  readonly sink: SpanSink;
  readonly marks: RingMarks;
  /** The source's bytesRead for which the newest possible stamp was set. */
  boundedRead: number;
}

/** What the streams need of their guest. */
export interface StreamOwner {
  mapFor(cpu: number): TimeSegments | undefined;
  /** Rings that wait to be decoded hold chunks that the merger could set free. */
  makeRoom(): void;
  readonly rings: Pick<MachineRings, "intakes" | "lastCycles">;
  /** Up to where it has said that all has been sent, in canonical cycles. */
  readonly progressCycles: number;
  /** Up to where all of the stream or dump before this one has come; undefined in the first. */
  breakCycles: number | undefined;
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
    // Records of a stream before this one may still wait to be shown.
    cpus.push({ cpu, ...place, shown: Math.max(0, intake.shownRecords - records) });
  }
  return cpus;
}

/** What came of a stream that has ended, all of it decoded or given up. */
export function endOfStreams(
  streams: ReadonlyMap<number, CpuStream>,
  ledger: GuestLedger,
): Omit<StreamEnd, "completeCycles"> {
  const rows = ledger.rows().map((row) => {
    return { ...row, position: Math.max(0, streams.get(row.cpu)?.joiner.position ?? 0) };
  });
  const records = new Map([...streams].map(([cpu, { intake }]) => [cpu, intake.pushedRecords]));
  return { rows, records };
}

/** The stream of a CPU whose records go to `intake`; `start` is where its ring begins, or -1. */
export function openCpuStream(
  cpu: number,
  start: number,
  intake: RingIntake,
  ledger: GuestLedger,
  guest: StreamOwner,
): CpuStream {
  const joiner = new SpanJoiner(CHUNK_BYTES);
  const sink = {
    span: (bytes: Uint8Array, from: number, to: number): void => {
      const time = guest.mapFor(cpu);
      guest.makeRoom();
      intake.append(bytes, from, to, time);
    },
    lost: (from: number, to: number): void => {
      const events = ledger.onGap(cpu, to - from);
      const estimated = events === undefined ? estimateEvents(to - from, joiner.counters) : 0;
      intake.estimatedEvents += estimated;
      intake.noteLost(events ?? estimated, guest.mapFor(cpu));
    },
  };
  const stream = { joiner, intake, sink, boundedRead: -1, marks: new RingMarks() };
  restartStream(stream, start);
  if (guest.breakCycles !== undefined) {
    intake.noteBreak(guest.breakCycles, Number.NEGATIVE_INFINITY);
  }
  ledger.addRing(cpu, {
    counters: intake.decoder.counters,
    position: () => joiner.position,
    dropped: () => intake.droppedEvents + intake.undecodedEvents,
  });
  return stream;
}

/**
 * Events are missing behind what came, and nobody knows how many: the stream was cut off, or
 * another one follows, or another dump. What came has been decoded, as far as it can be.
 */
export function breakStreams(guest: StreamOwner): void {
  const { progressCycles, rings } = guest;
  const newestCycles = rings.lastCycles;
  guest.breakCycles = progressCycles;
  for (const intake of rings.intakes.values()) intake.noteBreak(progressCycles, newestCycles);
}

/** Another ring follows, which begins at `start`, or -1 when the guest does not say. */
export function restartStream({ joiner, intake, marks }: CpuStream, start: number): void {
  joiner.restart(start);
  marks.begin(intake.pushedRecords, start);
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

/** How many records a gap of the ring may have held, by the size of those that came: at least 1. */
function estimateEvents(bytes: number, { deliveredBytes, deliveredRecords }: SpanCounters): number {
  const RECORD_BYTES_TYPICAL = 64;
  const each = deliveredRecords === 0 ? RECORD_BYTES_TYPICAL : deliveredBytes / deliveredRecords;
  return Math.max(1, Math.round(bytes / each));
}
