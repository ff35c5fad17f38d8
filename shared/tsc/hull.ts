/**
 * The points under which a line must not pass, reduced to those that matter: their upper convex
 * hull. Every point below the hull is implied by it.
 *
 *        B----C            a line above A, B, C, D is above all points
 *     A.'  .   '.D
 *         .  .             slopes of the edges fall from left to right
 *
 * Dropping a point only loosens what is known, never falsifies it; that is why a bounded number
 * of vertices, and a rounding error in the test below, are harmless.
 */

/** Vertices kept. Noise leaves about log(n) of them; only a curved relation reaches this. */
export const HULL_VERTICES_MAX = 64;

/** Upper convex hull, points added in any order. */
export class UpperHull {
  /** Ascending. */
  readonly xs: number[] = [];
  readonly ys: number[] = [];

  get count(): number {
    return this.xs.length;
  }

  /** Adds a point; false when the hull already implies it. */
  add(x: number, y: number): boolean {
    const { xs, ys } = this;
    let at = xs.length;
    while (at > 0 && xs[at - 1]! >= x) at--;
    if (at < xs.length && xs[at] === x) {
      if (ys[at]! >= y) return false;
      this.#remove(at);
    }
    if (at > 0 && at < xs.length && !this.#above(at - 1, x, y, at)) return false;
    xs.splice(at, 0, x);
    ys.splice(at, 0, y);
    while (at + 2 < xs.length && !this.#above(at, xs[at + 1]!, ys[at + 1]!, at + 2)) {
      this.#remove(at + 1);
    }
    while (at >= 2 && !this.#above(at - 2, xs[at - 1]!, ys[at - 1]!, at)) {
      this.#remove(at - 1);
      at--;
    }
    if (xs.length > HULL_VERTICES_MAX) this.#dropFlattest();
    return true;
  }

  /** Lowers every point by `y`: the line may now pass that far under them. */
  lower(y: number): void {
    for (let i = 0; i < this.ys.length; i++) this.ys[i]! -= y;
  }

  /** Index of the vertex that a line of this slope, sliding down, touches first. */
  touching(slope: number): number {
    const { xs, ys } = this;
    let best = 0;
    // Relative to the chosen vertex, so that large coordinates cancel exactly.
    for (let i = 1; i < xs.length; i++) {
      if (ys[i]! - ys[best]! > slope * (xs[i]! - xs[best]!)) best = i;
    }
    return best;
  }

  /** Slope of the edge over x; +Infinity before the first vertex and -Infinity after the last. */
  slopeOver(x: number): number {
    const { xs, ys } = this;
    if (xs.length === 0 || x > xs[xs.length - 1]!) return -Infinity;
    if (x < xs[0]!) return Infinity;
    let at = xs.length - 1;
    while (at > 0 && xs[at - 1]! >= x) at--;
    if (at === 0) return xs.length > 1 ? edge(xs, ys, 0) : -Infinity;
    return edge(xs, ys, at - 1);
  }

  #remove(at: number): void {
    this.xs.splice(at, 1);
    this.ys.splice(at, 1);
  }

  /** Whether (x, y) lies above the chord of vertices `left` and `right`. */
  #above(left: number, x: number, y: number, right: number): boolean {
    const { xs, ys } = this;
    const width = xs[right]! - xs[left]!;
    return (y - ys[left]!) * width > (ys[right]! - ys[left]!) * (x - xs[left]!);
  }

  /** Drops the inner vertex that protrudes least over the chord of its neighbours. */
  #dropFlattest(): void {
    const { xs, ys } = this;
    let flattest = 1;
    let least = Infinity;
    for (let i = 1; i < xs.length - 1; i++) {
      const chord = (ys[i + 1]! - ys[i - 1]!) / (xs[i + 1]! - xs[i - 1]!);
      const over = ys[i]! - ys[i - 1]! - chord * (xs[i]! - xs[i - 1]!);
      if (over < least) {
        least = over;
        flattest = i;
      }
    }
    this.#remove(flattest);
  }
}

function edge(xs: readonly number[], ys: readonly number[], left: number): number {
  return (ys[left + 1]! - ys[left]!) / (xs[left + 1]! - xs[left]!);
}
