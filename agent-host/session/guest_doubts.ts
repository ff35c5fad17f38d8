/**
 * A guest's clocks have stepped, and times that were converted before that was known are off: what
 * has not been handed on is widened, what has been is told of (analyze/doubts.ts).
 *
 *   ChainStep {from 1.2e9, apart 4.9e8 cycles} -> Doubt {guest 1, 1.2e9 to the present, +-4.9e8}
 */
import { readTsc } from "../../shared/sys/clock.ts";
import type { ChainStep } from "../align/guest_time_map.ts";
import type { GuestConversion } from "./guest_conversion.ts";
import type { MachineRings } from "./machine_rings.ts";
import type { Session } from "./session.ts";

/** What a step of a guest is told to. */
export interface SteppedGuest {
  readonly machine: number;
  readonly rings: MachineRings;
  readonly conversion: Pick<GuestConversion, "time">;
}

/** Puts in doubt what came since both parts of the conversion were known to hold. */
export function doubtSince(
  session: Session,
  { machine, rings, conversion }: SteppedGuest,
  step: ChainStep,
): void {
  const { fromCycles, apartCycles: extraCycles, isWithin } = step;
  const toCycles = Math.max(fromCycles, rings.latestAt(readTsc(), 0));
  session.doubt({ machine, fromCycles, toCycles, extraCycles, isWithin });
  for (const { decoder } of rings.intakes.values()) decoder.doubt(extraCycles);
  conversion.time?.reportStep(step, toCycles);
}
