/**
 * A machine's clocks have stepped, and times that were converted before that was known are off:
 * what has not been handed on is widened, what has been is told of (analyze/doubts.ts).
 *
 *   ClockStep {from 1.2e9, apart 4.9e8 cycles} -> Doubt {guest 1, 1.2e9 to the present, +-4.9e8}
 */
import { readTsc } from "../../shared/sys/clock.ts";
import type { ClockStep } from "../align/clock_step.ts";
import { machineName } from "./machine_name.ts";
import type { MachineRings } from "./machine_rings.ts";
import type { Session } from "./session.ts";

/** What the machine's times are converted to. */
export interface TimeLine {
  /** Undefined until measured. */
  readonly hz: number | undefined;
  /** A guest's clocks against the host's; the host's own; those of a recording by itself. */
  readonly kind: "guest" | "host" | "recorded";
}

/** Steps of one machine that are told as text: a hostile guest's clocks may step all the time. */
export const STEPS_TOLD_MAX = 32;

/** The doubts of one machine. */
export class ClockDoubts {
  readonly #session: Session;
  readonly #machine: number;
  readonly #rings: MachineRings;
  readonly #onStatus: (text: string) => void;
  #steps = 0;

  constructor(
    session: Session,
    machine: number,
    rings: MachineRings,
    onStatus: (text: string) => void,
  ) {
    this.#session = session;
    this.#machine = machine;
    this.#rings = rings;
    this.#onStatus = onStatus;
  }

  /** Puts in doubt what was converted since all parts of the conversion were known to hold. */
  since(step: ClockStep, timeLine: TimeLine): void {
    const { fromCycles, apartCycles: extraCycles, isWithin } = step;
    const rings = this.#rings;
    const isRecorded = timeLine.kind === "recorded";
    const toCycles = isRecorded ? rings.lastCycles : rings.latestAt(readTsc(), 0);
    // Nothing of that time has been converted.
    if (toCycles < fromCycles) return;
    this.#session.doubt({ machine: this.#machine, fromCycles, toCycles, extraCycles, isWithin });
    for (const { decoder } of rings.intakes.values()) decoder.doubt(extraCycles);
    this.#tell(step, toCycles, timeLine);
  }

  /**
   * A step is found some time after it was made. Lines of events of that time that were printed
   * before are off by as much: the user must know which they are.
   */
  #tell({ fromCycles, apartCycles }: ClockStep, toCycles: number, { hz, kind }: TimeLine): void {
    if (hz === undefined || ++this.#steps > STEPS_TOLD_MAX) return;
    const ms = (cycles: number): string => ((cycles / hz) * 1000).toFixed(1);
    const stepped =
      kind === "guest"
        ? "its clocks stepped against the host's"
        : "its clock stepped against its TSC";
    const what =
      fromCycles === -Infinity
        ? "what related its clocks to the host's was false: what was printed of it"
        : `${stepped} within the last ${ms(toCycles - fromCycles)} ms ` +
          "(stopped, restored, or written): what was printed of that time";
    const name = machineName(this.#machine);
    this.#onStatus(
      `WARNING: ${name}: ${what} before this line may be off by up to ${ms(apartCycles)} ms`,
    );
  }
}
