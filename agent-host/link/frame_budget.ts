/**
 * How much of our time one guest may take with frames: a bucket that fills steadily, and that each
 * frame takes something out of. Samples are what the link is for, and cost little here: their bytes
 * are bounded by the memory that they go to. What comes beside them is decoded into objects, and a
 * guest that sends nothing else would keep a CPU and the garbage collector busy; so would one whose
 * bytes come one by one, as a turn of the engine for each of them.
 *
 *   a turn's reading      25, whatever it brings: 4,000 a second
 *   Samples                1
 *   anything else          4, and 1 for each 16 bytes
 *
 * A guest with 256 busy CPUs takes a third of it; the formats of 2,000 events half of the bucket,
 * once. Beyond it the guest is not read for a moment: more comes at once then.
 */
import { Bucket } from "../../shared/limit/bucket.ts";
import { FrameType } from "../../shared/wire/frame.ts";

/** Units that come in per second, and that may have been saved up. */
export const UNITS_PER_SECOND = 100_000;
export const UNITS_MAX = 400_000;
const CONTROL_UNITS = 4;
const CONTROL_UNIT_BYTES = 16;
const TURN_UNITS = 25;

export class FrameBudget {
  /** Times that it was used up. */
  exhaustions = 0;
  readonly #units = new Bucket(UNITS_MAX, UNITS_PER_SECOND / 1000);

  /** Takes what a turn costs. */
  takeTurn(): void {
    this.#take(TURN_UNITS);
  }

  /** Takes what a frame costs. */
  takeFrame(type: number, payloadBytes: number): void {
    const isSamples = type === FrameType.SAMPLES;
    this.#take(isSamples ? 1 : CONTROL_UNITS + payloadBytes / CONTROL_UNIT_BYTES);
  }

  #take(units: number): void {
    const left = this.#units.take(units);
    if (left <= 0 && left + units > 0) this.exhaustions++;
  }

  /** Whether there is something left, as of `nowMs`, a clock that only grows. */
  isLeft(nowMs: number): boolean {
    return this.#units.left(nowMs) > 0;
  }
}
