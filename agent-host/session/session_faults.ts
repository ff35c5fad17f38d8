/**
 * What a session's sources did that they should not do, as counts with a name: a guest is not
 * trusted, so each abuse is skipped, and told at the end.
 *
 *   WARNING: guest 1 sent what it should not: 4096 bytes of no frame, 2 samples from the future
 *   WARNING: 12 events came too late to be put in order
 *   {"type":"faults","machine":"guest 1","garbage_bytes":4096,"from_future":2}
 */
import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { Guest } from "./guest.ts";
import { machineName } from "./machine_name.ts";
import type { Session } from "./session.ts";

export interface Fault {
  /** As a member name of JSON. */
  readonly name: string;
  readonly count: number;
  /** What there are `count` of. */
  readonly text: string;
}

/** What one guest did. */
export function guestFaults(guest: Guest): Fault[] {
  const { link, clock, conversion, rings } = guest;
  const frames = link.source.decoder.counters;
  const spans = guest.spanCounters();
  const counts: [string, number, string][] = [
    ["garbage_bytes", link.garbageBytes, "bytes of no frame"],
    ["oversize_frames", frames.oversizeFrames, "frames over the limit"],
    ["bad_checksums", frames.badChecksums, "frames with a wrong checksum"],
    ["unknown_frames", frames.unknownFrames, "frames of unknown types (a newer agent-guest?)"],
    ["misdirected_frames", link.misdirectedFrames, "frames that only a host sends"],
    ["malformed_frames", link.malformedFrames, "unreadable frames"],
    ["throttled", link.budget.exhaustions, "times more frames than it may"],
    ["foreign_spans", guest.foreignSpans, "spans of CPUs that it did not name"],
    ["foreign_counts", guest.ledger.foreignCounts, "counts of CPUs that it did not name"],
    ["corrupt_bytes", spans.corruptBytes, "bytes from an impossible record on"],
    ["unsynced_bytes", spans.unsyncedBytes, "bytes in which no record is known to begin"],
    ["malformed_samples", rings.decoded("malformedSamples"), "samples that contradict themselves"],
    ["backwards", rings.decoded("farBackwards"), "samples from before those in front of them"],
    ["future_progress", guest.futureProgress, "times in the future up to which all was sent"],
    ["unasked_pongs", guest.time?.unaskedPongs ?? 0, "answers to pings that were not sent"],
    ["from_future", rings.decoded("fromFuture"), "samples from the future"],
    ["refused_clock_samples", clock?.refusedReadings ?? 0, "readings that no clock shows"],
    ["far_clock_samples", conversion.refused, "readings weeks away from what round trips say"],
    ["refused_names", rings.names.refused, "names of tasks over the limit"],
  ];
  return toFaults(counts);
}

/** What the session as a whole suffered. */
function sessionFaults({ merger, events, unheardEvents }: Session): Fault[] {
  return toFaults([
    ["late_events", merger.counters.late, "events came too late to be put in order"],
    ["short_records", events.skipped, "records were too short for a key or filter"],
    [
      "undefined_operations",
      events.undefinedOperations,
      "operations in keys, filters or roles have no value in C (division by zero, a shift by 64 and " +
        "more, data outside the record)",
    ],
    ["unheard_events", unheardEvents, "events came before all clocks were known"],
  ]);
}

function toFaults(counts: readonly [string, number, string][]): Fault[] {
  return counts
    .filter(([, count]) => count > 0)
    .map(([name, count, text]) => ({ name, count, text }));
}

/** Which faults of which guest the user has been told of while the run goes on. */
export class FaultLog {
  readonly #told = new Map<Guest, Set<string>>();

  /** The faults of a guest that are new, as a list; empty when there are none. */
  news(guest: Guest): string {
    const told = this.#told.get(guest) ?? new Set();
    this.#told.set(guest, told);
    const news = guestFaults(guest).filter(({ name }) => !told.has(name));
    for (const { name } of news) told.add(name);
    return news.map(({ text }) => text).join(", ");
  }
}

export class SessionFaults {
  readonly #guests: readonly { readonly machine: string; readonly faults: readonly Fault[] }[];
  readonly #session: readonly Fault[];

  constructor(session: Session, guests: readonly Guest[]) {
    this.#guests = guests
      .map((guest) => ({ machine: machineName(guest.machine), faults: guestFaults(guest) }))
      .filter(({ faults }) => faults.length > 0);
    this.#session = sessionFaults(session);
  }

  writeText(out: ByteWriter): void {
    for (const { machine, faults } of this.#guests) {
      const list = faults.map(({ count, text }) => `${count} ${text}`).join(", ");
      out.ascii(`WARNING: ${machine} sent what it should not: ${list}\n`);
    }
    for (const { count, text } of this.#session) out.ascii(`WARNING: ${count} ${text}\n`);
  }

  writeJson(out: ByteWriter): void {
    const write = (head: string, faults: readonly Fault[]): void => {
      const members = faults.map(({ name, count }) => `"${name}":${count}`).join(",");
      out.ascii(`{${head},${members}}\n`);
    };
    for (const { machine, faults } of this.#guests) {
      write(`"type":"faults","machine":"${machine}"`, faults);
    }
    if (this.#session.length > 0) write('"type":"faults"', this.#session);
  }
}
