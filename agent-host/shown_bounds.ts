/**
 * How far off the times are of the guests' events that were printed as lines, the most for each
 * guest, said at the end:
 *
 *   clock bound: 23.871 us (guest 1: ping, exact perf clock)
 *   WARNING: times of what guest 1 recorded before this run are off by up to 2.4 ms: ...
 *   HINT: ...
 *
 * Each event has a bound of its own: what a flight recorder or a full ring held before the first
 * round trip is bounded the worse, the older it is.
 */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import { formatNs } from "./align/alignment_description.ts";
import type { EventView } from "./analyze/event_view.ts";
import { methodOf, type NotedMachine } from "./clock_notes.ts";
import type { LatencyUnit } from "./report/latency_table.ts";
import { writeClockNotes } from "./report/latency_text.ts";
import { machineName } from "./session/machine_name.ts";

/** A bound over this is worth a warning where it could be better. */
const WARN_NS = 1_000_000;

/** What was printed of one machine. */
interface Shown {
  boundCycles: number;
  /** The same of events from before the session began, which canonical time counts from. */
  pastBoundCycles: number;
}

export class ShownBounds {
  readonly #machines = new Map<number, Shown>();

  /** An event is printed. */
  note({ machine, boundCycles, timeCycles }: EventView): void {
    let shown = this.#machines.get(machine);
    if (shown === undefined) {
      shown = { boundCycles: 0, pastBoundCycles: 0 };
      this.#machines.set(machine, shown);
    }
    if (boundCycles > shown.boundCycles) shown.boundCycles = boundCycles;
    if (timeCycles < 0 && boundCycles > shown.pastBoundCycles) shown.pastBoundCycles = boundCycles;
  }

  /** Says so of those guests that were put on the host's time line. */
  writeText(out: ByteWriter, guests: readonly NotedMachine[], unit: LatencyUnit): void {
    for (const guest of guests) {
      const shown = this.#machines.get(guest.machine);
      if (shown === undefined || guest.time === undefined) continue;
      const what = machineName(guest.machine);
      const { boundCycles, pastBoundCycles } = shown;
      writeClockNotes(out, [{ what, method: methodOf(guest), boundCycles }], unit);
      const pastNs = pastBoundCycles * unit.nsPerCycle;
      if (pastNs <= WARN_NS || guest.time.alignment.method !== "ping") continue;
      out.ascii(`WARNING: times of what ${what} recorded before this run are off by up to `);
      out.ascii(`${formatNs(pastNs)}: round trips bound them the worse, the older they are\n`);
      out.ascii("HINT: --tsc-offset N, or --vm where KVM runs the guest, bounds them all alike\n");
    }
  }
}
