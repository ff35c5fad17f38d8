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
 * noise: all constraints of the generation are widened by what was seen, and so is every bound,
 * until that generation is forgotten. Beyond, it is a step: a new epoch.
 *
 * What no constraint can show is a jump that is narrower than they are. Where a clock may jump, who
 * adds the constraints says how wide they are (`unseen`), and every bound has that, too:
 *
 *   y |           _|-'  |      all lines that cross every constraint lie close together,
 *     |    |  __|' |-''        but the clock may have been anywhere within each of them
 *     |   _|-'  |
 *     +------------------ x
 */
import { LineBounds } from "./line_bounds.ts";
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
  /** Sum of the contradictions found, by which all constraints were widened. */
  noise: number;
}

/** Follows one line through generations and epochs. */
export class LineTracker {
  readonly #options: LineTrackerOptions;
  #used: Generation | undefined;
  #filling: Generation | undefined;
  #epoch = 0;
  /** Grows whenever segments made earlier should be made again: new generation, noise or epoch. */
  revision = 0;
  /** Constraints of the current epoch. */
  constraintCount = 0;
  #unseen = 0;

  constructor(options: LineTrackerOptions) {
    this.#options = options;
  }

  /** Number of steps so far, found or announced. */
  get epoch(): number {
    return this.#epoch;
  }

  /** Noise of the clocks found in the history in use, in y units; part of every bound. */
  get noise(): number {
    return this.#used?.noise ?? 0;
  }

  /** How far the clock may be off its line with no constraint telling, in y units. */
  get unseen(): number {
    return this.#unseen;
  }

  set unseen(value: number) {
    if (value > this.#unseen) this.revision++;
    this.#unseen = value;
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
    const used = this.#used;
    if (used !== undefined && this.#isStep(used, x, anchorY, yLo, yHi)) {
      this.beginEpoch();
      this.add(x, yLo, yHi);
      return "step";
    }
    this.constraintCount++;
    this.#turnGeneration(x, anchorY);
    if (this.#filling !== undefined) addTo(this.#filling, x, yLo, yHi);
    if (!addTo(this.#used!, x, yLo, yHi)) return "agreed";
    this.revision++;
    return "widened";
  }

  /** Whether a constraint agrees with all that is known, so that add() would not widen or step. */
  agrees(x: bigint, yLo: bigint | undefined, yHi: bigint | undefined): boolean {
    const anchorY = yLo ?? yHi;
    const used = this.#used;
    if (used === undefined || anchorY === undefined) return false;
    if (isFar(x, used.anchorX) || isFar(anchorY, used.anchorY)) return false;
    const filling = this.#filling;
    return (
      contradiction(used, x, yLo, yHi) === 0 &&
      (filling === undefined || contradiction(filling, x, yLo, yHi) === 0)
    );
  }

  /** The relation is known to have stepped: constraints from now on describe another line. */
  beginEpoch(): void {
    this.#epoch++;
    this.revision++;
    this.#filling = undefined;
    this.#used = undefined;
    this.constraintCount = 0;
  }

  /** An anchor near everything that is known: y of the first constraint of the history in use. */
  get anchorY(): bigint | undefined {
    return this.#used?.anchorY;
  }

  /**
   * The best line for x from `from` to `to`, y counting from `targetAnchor`; its bound is flat back
   * to `past`, an earlier constraint.
   */
  segment(
    from: bigint,
    to: bigint,
    targetAnchor: bigint,
    past: bigint = from,
  ): TimeSegment | undefined {
    const used = this.#used;
    if (used === undefined) return undefined;
    const [deltaFrom, deltaTo, deltaPast] = [from, to, past].map((x) =>
      exactDelta(x, used.anchorX),
    ) as [number, number, number];
    const line = used.bounds.line(deltaFrom, deltaTo, Math.min(deltaPast, deltaFrom));
    if (line === undefined || !(line.slope > 0)) return undefined;
    const wander = used.noise + this.#unseen;
    return timeSegment({
      base: from,
      slope: line.slope,
      originCycles: exactDelta(used.anchorY, targetAnchor) + line.y,
      targetAnchor,
      // The tube is where the clock's line runs; the clock itself wanders off it.
      boundCycles: line.bound + wander,
      boundFrom: line.boundFrom - line.x,
      boundTo: line.boundTo - line.x,
      boundGrowth: line.boundGrowth,
      wanderCycles: 2 * wander,
      epoch: this.#epoch,
    });
  }

  #isStep(
    used: Generation,
    x: bigint,
    anchorY: bigint,
    yLo: bigint | undefined,
    yHi: bigint | undefined,
  ): boolean {
    if (isFar(x, used.anchorX) || isFar(anchorY, used.anchorY)) return true;
    return used.noise + contradiction(used, x, yLo, yHi) > this.#options.noiseMax;
  }

  /** Before a constraint at x is added: opens and turns generations. */
  #turnGeneration(x: bigint, anchorY: bigint): void {
    const newest = this.#filling ?? this.#used;
    if (newest !== undefined) {
      if (exactDelta(x, newest.anchorX) < this.#options.generationX) return;
      if (this.#filling !== undefined) {
        this.#used = this.#filling;
        this.revision++;
      }
    }
    const { slopeMin, slopeMax } = this.#options;
    const bounds = new LineBounds(slopeMin, slopeMax);
    const begun = { anchorX: x, anchorY, bounds, noise: 0 };
    if (newest === undefined) this.#used = begun;
    else this.#filling = begun;
  }
}

/** Adds a constraint, widening all of the generation if need be; returns whether it had to. */
function addTo(
  generation: Generation,
  x: bigint,
  yLo: bigint | undefined,
  yHi: bigint | undefined,
): boolean {
  const excess = contradiction(generation, x, yLo, yHi);
  if (excess > 0) {
    generation.noise += excess;
    generation.bounds.widen(excess);
  }
  const { deltaX, lo, hi } = relative(generation, x, yLo, yHi);
  generation.bounds.add(deltaX, lo, hi);
  return excess > 0;
}

/** The constraint as distances from the generation's anchors, widened by the noise found so far. */
function relative(
  generation: Generation,
  x: bigint,
  yLo: bigint | undefined,
  yHi: bigint | undefined,
): { deltaX: number; lo: number; hi: number } {
  const { anchorX, anchorY, noise } = generation;
  return {
    deltaX: exactDelta(x, anchorX),
    lo: yLo === undefined ? -Infinity : exactDelta(yLo, anchorY) - noise,
    hi: yHi === undefined ? Infinity : exactDelta(yHi, anchorY) + noise,
  };
}

function contradiction(
  generation: Generation,
  x: bigint,
  yLo: bigint | undefined,
  yHi: bigint | undefined,
): number {
  const { deltaX, lo, hi } = relative(generation, x, yLo, yHi);
  return Math.max(generation.bounds.contradiction(deltaX, lo, hi), 0);
}

/** Too far from the anchor for a double: within one epoch only a step of the clock gets there. */
function isFar(value: bigint, anchor: bigint): boolean {
  return Math.abs(Number(wrappedDelta(value, anchor))) > EXACT_DELTA_MAX / 2;
}
