/**
 * Guaranteed bounds on an unknown straight line y = a + b*x, from intervals that must contain it.
 *
 *   y |            ,'|        |: one constraint (x, yLo, yHi); the true line crosses each
 *     |       |  ,'  | _,     Two lines are extreme: the steepest and the flattest that cross
 *     |       |,' _,-'        all of them. Between the measurements the line is caught in a narrow
 *     |    |,'|,-'            tube; outside, the tube opens like a fan between those slopes.
 *     |   ,|-'
 *     | ,' |                  upper(x) and lower(x) are the greatest and least y of any line that
 *     +----------------- x    crosses all constraints; the truth is between, without statistics.
 *
 * Mathematics. A line crosses all intervals if and only if each pair allows its slope:
 * (lo_j - hi_i) / (x_j - x_i) <= b <= (hi_j - lo_i) / (x_j - x_i) for x_i < x_j (Helly's theorem
 * in one dimension, after eliminating a). Only vertices of the convex hulls of the interval ends
 * can be the tight ones. For a fixed b the highest line is min_j(hi_j + b*(x - x_j)), concave in
 * b, so upper(x) is reached at the slope of the hull's edge over x, clamped to the range of slopes.
 * As the maximum of functions linear in x, upper is convex and lower concave; therefore the width
 * of the tube, and the distance of any line from its sides, are greatest at an interval's ends.
 *
 * Doubles. x and y are distances from near anchors (see LineTracker), at most 2^46 or so; integers
 * are then exact, and what products and quotients round is below ROUNDING of the operands. Slopes
 * and sides are moved outwards by it, so that rounding cannot push the truth out of the bound or
 * fake a contradiction.
 */
import { UpperHull } from "./hull.ts";

/** Relative slack on each quotient (2^-52 needed) and each evaluated side (2^-51 needed). */
const ROUNDING = 2 ** -49;

/** A line with the bound that is guaranteed around it. */
export interface BoundedLine {
  /** The line passes through (x, y). */
  readonly x: number;
  readonly y: number;
  readonly slope: number;
  /** |truth - line| for x from boundFrom to boundTo. */
  readonly bound: number;
  readonly boundFrom: number;
  readonly boundTo: number;
  /** Added per unit of x outside that span. */
  readonly boundGrowth: number;
}

/** The set of lines that cross all constraints added so far. */
export class LineBounds {
  /** Points the line must not pass under: (x, yLo). */
  readonly #floor = new UpperHull();
  /** Points the line must not pass over, mirrored: (x, -yHi). */
  readonly #ceiling = new UpperHull();
  readonly #priorMin: number;
  readonly #priorMax: number;
  #slopeMin: number;
  #slopeMax: number;

  /** The slope is known beforehand to lie in [slopeMin, slopeMax]. Throws RangeError if empty. */
  constructor(slopeMin: number, slopeMax: number) {
    if (!(slopeMin <= slopeMax && Number.isFinite(slopeMin) && Number.isFinite(slopeMax))) {
      throw new RangeError(
        `Cannot bound a line: slope is from ${slopeMin} to ${slopeMax}, wants a finite range`,
      );
    }
    this.#priorMin = slopeMin;
    this.#priorMax = slopeMax;
    this.#slopeMin = slopeMin;
    this.#slopeMax = slopeMax;
  }

  /** The least slope of any line that crosses all constraints. */
  get slopeMin(): number {
    return this.#slopeMin;
  }

  /** The greatest slope of any line that crosses all constraints. */
  get slopeMax(): number {
    return this.#slopeMax;
  }

  /** Interval ends in memory; bounded by 2 * HULL_VERTICES_MAX. */
  get vertexCount(): number {
    return this.#floor.count + this.#ceiling.count;
  }

  /**
   * By how much the constraint misses every line that is still possible; 0 or less when it agrees.
   * yLo may be -Infinity and yHi Infinity, for knowledge of one side only.
   */
  contradiction(x: number, yLo: number, yHi: number): number {
    return Math.max(yLo - this.upperAt(x), this.lowerAt(x) - yHi);
  }

  /** Adds a constraint. False, and nothing changed, when no line crosses it with all others. */
  add(x: number, yLo: number, yHi: number): boolean {
    if (!(yLo <= yHi)) {
      throw new RangeError(`Cannot bound a line: interval is ${yLo} to ${yHi}, wants from <= to`);
    }
    if (this.contradiction(x, yLo, yHi) > 0) return false;
    const floorGrew = yLo > -Infinity && this.#floor.add(x, yLo);
    const ceilingGrew = yHi < Infinity && this.#ceiling.add(x, -yHi);
    if (floorGrew || ceilingGrew) this.#limitSlopes();
    return true;
  }

  /** Widens every constraint by `y` on both sides: they were less exact than they seemed. */
  widen(y: number): void {
    this.#floor.lower(y);
    this.#ceiling.lower(y);
    this.#limitSlopes();
  }

  /** The greatest y at x of any line that crosses all constraints. */
  upperAt(x: number): number {
    return -side(this.#ceiling, x, -this.#slopeMax, -this.#slopeMin);
  }

  /** The least y at x of any line that crosses all constraints. */
  lowerAt(x: number): number {
    return side(this.#floor, x, this.#slopeMin, this.#slopeMax);
  }

  /**
   * The best line for x from `from` to `to`: through the middle of the tube at both ends, which
   * makes the greatest error over the span as small as it can be guaranteed. Its bound is flat from
   * `past` to `from`, where the tube was measured, and grows towards `to`, where it opens.
   * Undefined while one side of the tube is open.
   */
  line(from: number, to: number, past = from): BoundedLine | undefined {
    const upperFrom = this.upperAt(from);
    const lowerFrom = this.lowerAt(from);
    const upperTo = this.upperAt(to);
    const lowerTo = this.lowerAt(to);
    const halfFrom = (upperFrom - lowerFrom) / 2;
    const halfTo = (upperTo - lowerTo) / 2;
    if (!Number.isFinite(halfFrom + halfTo)) return undefined;
    const y = lowerFrom + halfFrom;
    const middle = (this.#slopeMin + this.#slopeMax) / 2;
    const slope = to > from ? (lowerTo + halfTo - y) / (to - from) : middle;
    const atPast = y + slope * (past - from);
    return {
      x: from,
      y,
      slope,
      bound: Math.max(halfFrom, this.upperAt(past) - atPast, atPast - this.lowerAt(past), 0),
      boundFrom: past,
      boundTo: from,
      // The tube's sides never leave the range of slopes, so neither opens faster than this.
      boundGrowth: Math.max(this.#slopeMax - slope, slope - this.#slopeMin, 0),
    };
  }

  /** Range of slopes that every pair of a floor and a ceiling vertex allows. */
  #limitSlopes(): void {
    const { xs: floorXs, ys: floorYs } = this.#floor;
    const { xs: ceilingXs, ys: ceilingYs } = this.#ceiling;
    let min = this.#priorMin;
    let max = this.#priorMax;
    for (let i = 0; i < floorXs.length; i++) {
      for (let j = 0; j < ceilingXs.length; j++) {
        const width = ceilingXs[j]! - floorXs[i]!;
        if (width === 0) continue;
        // -ceilingYs is hi: (hi - lo) / (x of hi - x of lo), a limit from above or from below.
        const limit = (-ceilingYs[j]! - floorYs[i]!) / width;
        const slack = Math.abs(limit) * ROUNDING;
        if (width > 0) max = Math.min(max, limit + slack);
        else min = Math.max(min, limit - slack);
      }
    }
    // Crossed only by rounding, when the slope is known to the last bit.
    this.#slopeMin = Math.min(min, max);
    this.#slopeMax = Math.max(min, max);
  }
}

/** Least height at x of a line with a slope in the range that passes under no point of `hull`. */
function side(hull: UpperHull, x: number, slopeMin: number, slopeMax: number): number {
  if (hull.count === 0) return -Infinity;
  const slope = Math.min(Math.max(hull.slopeOver(x), slopeMin), slopeMax);
  const at = hull.touching(slope);
  const y = hull.ys[at]!;
  const rise = slope * (x - hull.xs[at]!);
  return y + rise - ROUNDING * (Math.abs(y) + Math.abs(rise));
}
