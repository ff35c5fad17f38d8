/**
 * LineBounds kept running for a session: 64-bit stamps in, segments out, history bounded, steps of
 * the relation detected.
 *
 *   constraints   | | || | | |  | || |            | | |  |  | |
 *   generation 0  |<------ used ------>|          :
 *   generation 1            |<-- fills -->|<- used ---------
 *   epoch         0                               1: contradiction, everything begins anew
 *
 * Two generations overlap, so that the one in use always rests on at least `generationX` of
 * history, while constraints older than two of them are forgotten: clocks are straight lines over
 * minutes, not over weeks, and near anchors keep doubles exact.
 *
 * A constraint that no line can meet is either noise of the clocks themselves (a nanosecond lost in
 * a conversion, a clock page updated by the hypervisor) or a step. Up to `noiseMax` it is taken as
 * noise: all constraints are widened by what was seen, and so is every bound from then on. Beyond,
 * it is a step: a new epoch.
 */
import { type BoundedLine, LineBounds } from "./line_bounds.ts";
import { type TimeSegment, timeSegment } from "./time_segment.ts";
import { EXACT_DELTA_MAX, exactDelta, wrappedDelta } from "./tsc.ts";

/** What is known about a line before it is measured, and how long measurements are kept. */
export interface LineTrackerOptions {
  /** Prior knowledge of the slope, y units per x unit. */
  readonly slopeMin: number;
  readonly slopeMax: number;
  /** Span of x after which a new generation begins. */
  readonly generationX: number;
  /** Largest sum of contradictions, in y units, taken as noise and not as a step. */
  readonly noiseMax: number;
}

/** What a constraint did: agreed, showed noise (bounds were widened), or began a new epoch. */
export type ConstraintOutcome = "agreed" | "widened" | "step";

interface Generation {
  readonly anchorX: bigint;
  readonly anchorY: bigint;
  readonly bounds: LineBounds;
}

/** Follows one line through generations and epochs. */
export class LineTracker {
  readonly #options: LineTrackerOptions;
  #used: Generation | undefined;
  #filling: Generation | undefined;
  #noise = 0;
  #epoch = 0;
  /** Grows whenever segments made earlier should be made again: new generation, noise or epoch. */
  revision = 0;
  /** Constraints of the current epoch. */
  constraintCount = 0;

  constructor(options: LineTrackerOptions) {
    this.#options = options;
  }

  /** Number of steps seen so far. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Noise of the clocks found so far in this epoch, in y units; part of every bound. */
  get noise(): number {
    return this.#noise;
  }

  get slopeMin(): number {
    return this.#used?.bounds.slopeMin ?? this.#options.slopeMin;
  }

  get slopeMax(): number {
    return this.#used?.bounds.slopeMax ?? this.#options.slopeMax;
  }

  /** At x the line is between yLo and yHi; undefined leaves a side open, but not both. */
  add(x: bigint, yLo: bigint | undefined, yHi: bigint | undefined): ConstraintOutcome {
    const anchorY = yLo ?? yHi;
    if (anchorY === undefined) throw new RangeError("Cannot bound a line: both sides are open");
    this.constraintCount++;
    if (this.#used === undefined) {
      this.#used = this.#begin(x, anchorY);
      this.#addTo(this.#used, x, yLo, yHi);
      return "agreed";
    }
    if (isFar(x, this.#used.anchorX) || isFar(anchorY, this.#used.anchorY)) {
      return this.#step(x, yLo, yHi);
    }
    let outcome: ConstraintOutcome = "agreed";
    const { deltaX, lo, hi } = relative(this.#used, x, yLo, yHi, this.#noise);
    const excess = this.#used.bounds.contradiction(deltaX, lo, hi);
    if (excess > 0) {
      if (this.#noise + excess > this.#options.noiseMax) return this.#step(x, yLo, yHi);
      this.#noise += excess;
      this.#used.bounds.widen(excess);
      this.#filling?.bounds.widen(excess);
      this.revision++;
      outcome = "widened";
    }
    this.#turnGeneration(x, anchorY);
    this.#addTo(this.#used, x, yLo, yHi);
    if (this.#filling !== undefined) this.#addTo(this.#filling, x, yLo, yHi);
    return outcome;
  }

  /** The best line for x from `from` to `to`, y counting from `targetAnchor`. */
  segment(from: bigint, to: bigint, targetAnchor: bigint): TimeSegment | undefined {
    const used = this.#used;
    if (used === undefined) return undefined;
    const first = exactDelta(from, used.anchorX);
    const line = used.bounds.line(first, exactDelta(to, used.anchorX));
    if (line === undefined || !(line.slope > 0)) return undefined;
    return this.#segmentOf(line, from, exactDelta(used.anchorY, targetAnchor));
  }

  #segmentOf(line: BoundedLine, base: bigint, originOfY: number): TimeSegment {
    return timeSegment({
      base,
      slope: line.slope,
      originCycles: originOfY + line.y,
      // The tube is where the clock's line runs; the clock itself wanders off it by the noise.
      boundCycles: line.bound + this.#noise,
      boundFrom: line.boundFrom - line.x,
      boundTo: line.boundTo - line.x,
      boundGrowth: line.boundGrowth,
      epoch: this.#epoch,
    });
  }

  #begin(anchorX: bigint, anchorY: bigint): Generation {
    const { slopeMin, slopeMax } = this.#options;
    return { anchorX, anchorY, bounds: new LineBounds(slopeMin, slopeMax) };
  }

  #addTo(
    generation: Generation,
    x: bigint,
    yLo: bigint | undefined,
    yHi: bigint | undefined,
  ): void {
    const { deltaX, lo, hi } = relative(generation, x, yLo, yHi, this.#noise);
    // The generation in use has agreed; the filling one holds a subset of the same constraints.
    generation.bounds.add(deltaX, lo, hi);
  }

  #turnGeneration(x: bigint, anchorY: bigint): void {
    const { generationX } = this.#options;
    const newest = this.#filling ?? this.#used;
    if (newest === undefined || exactDelta(x, newest.anchorX) < generationX) return;
    if (this.#filling !== undefined) {
      this.#used = this.#filling;
      this.revision++;
    }
    this.#filling = this.#begin(x, anchorY);
  }

  #step(x: bigint, yLo: bigint | undefined, yHi: bigint | undefined): ConstraintOutcome {
    this.#epoch++;
    this.revision++;
    this.#noise = 0;
    this.#filling = undefined;
    this.#used = undefined;
    this.constraintCount = 0;
    this.add(x, yLo, yHi);
    return "step";
  }
}

function relative(
  generation: Generation,
  x: bigint,
  yLo: bigint | undefined,
  yHi: bigint | undefined,
  noise: number,
): { deltaX: number; lo: number; hi: number } {
  return {
    deltaX: exactDelta(x, generation.anchorX),
    lo: yLo === undefined ? -Infinity : exactDelta(yLo, generation.anchorY) - noise,
    hi: yHi === undefined ? Infinity : exactDelta(yHi, generation.anchorY) + noise,
  };
}

/** Too far from the anchor for a double: within one epoch only a step of the clock gets there. */
function isFar(value: bigint, anchor: bigint): boolean {
  return Math.abs(Number(wrappedDelta(value, anchor))) > EXACT_DELTA_MAX / 2;
}
