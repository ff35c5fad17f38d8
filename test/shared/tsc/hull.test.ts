/** The hull against maxima over all points, and its bounded size. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { HULL_VERTICES_MAX, UpperHull } from "../../../shared/tsc/hull.ts";

const point = fc.tuple(
  fc.integer({ min: -1000, max: 1000 }),
  fc.integer({ min: -1000, max: 1000 }),
);

/** Least height at x of a line of this slope that passes under no point: from all points. */
function heightOverAll(points: readonly (readonly [number, number])[], slope: number): number {
  return Math.max(...points.map(([x, y]) => y - slope * x));
}

test("UpperHull touching() equals the maximum over all points, in any order of adding", () => {
  fc.assert(
    fc.property(fc.array(point, { minLength: 1, maxLength: 60 }), fc.integer(), (points, n) => {
      const hull = new UpperHull();
      for (const [x, y] of points) hull.add(x, y);
      const slope = (n % 64) / 16;
      const at = hull.touching(slope);
      expect(hull.ys[at]! - slope * hull.xs[at]!).toBe(heightOverAll(points, slope));
      for (let i = 1; i < hull.count; i++) expect(hull.xs[i]!).toBeGreaterThan(hull.xs[i - 1]!);
    }),
    { numRuns: 1000 },
  );
});

test("UpperHull add() says whether the point matters", () => {
  const hull = new UpperHull();
  expect([hull.add(0, 0), hull.add(10, 0), hull.add(5, -1), hull.add(5, 0)]).toEqual([
    true,
    true,
    false,
    false,
  ]);
  expect(hull.add(5, 3)).toBe(true);
  expect(hull.add(5, 2)).toBe(false);
  expect([hull.xs, hull.ys]).toEqual([
    [0, 5, 10],
    [0, 3, 0],
  ]);
});

test("UpperHull slopeOver() gives the edge over x, and steep walls outside", () => {
  const hull = new UpperHull();
  hull.add(0, 0);
  hull.add(4, 8);
  hull.add(8, 8);
  expect([-1, 0, 1, 4, 5, 8, 9].map((x) => hull.slopeOver(x))).toEqual([
    Infinity,
    2,
    2,
    2,
    0,
    0,
    -Infinity,
  ]);
});

test("UpperHull keeps a bounded number of vertices, each of them an added point", () => {
  const hull = new UpperHull();
  for (let x = 0; x < 1000; x++) hull.add(x, -x * x);
  expect(hull.count).toBe(HULL_VERTICES_MAX);
  hull.xs.forEach((x, i) => {
    expect(hull.ys[i]! + x * x).toBe(0);
  });
});
