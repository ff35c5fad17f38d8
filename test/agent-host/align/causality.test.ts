/** Reversed pairs within and beyond the bound. */
import { expect, test } from "bun:test";
import { CausalityCounter } from "../../../agent-host/align/causality.ts";

test("CausalityCounter check() counts reversals, and those beyond the bound", () => {
  const counter = new CausalityCounter();
  expect(counter.check(100, 150, 10)).toBe(false);
  expect(counter.check(100, 100, 0)).toBe(false);
  expect(counter.check(100, 95, 10)).toBe(false);
  expect(counter.check(100, 85, 10)).toBe(true);
  expect(counter.check(100, 88, 10)).toBe(true);
  expect(counter).toMatchObject({
    pairCount: 5,
    reversedCount: 3,
    violationCount: 2,
    excessCyclesMax: 5,
  });
});

test("a wrong offset shows at the predicted rate, the true one never", () => {
  // Latencies 0 to 99 cycles: shifting the effect by n makes n of 100 violate a bound of 0.
  for (const shift of [0, 10, 50, 200]) {
    const counter = new CausalityCounter();
    for (let i = 0; i < 1000; i++) counter.check(i * 1000, i * 1000 + (i % 100) - shift, 0);
    expect(counter.violationCount).toBe(Math.min(shift, 100) * 10);
  }
});
