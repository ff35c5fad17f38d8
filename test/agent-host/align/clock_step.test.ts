/** Steps of a clock that is a machine's whole conversion: the host's, a recording's. */
import { describe, expect, test } from "bun:test";
import { ClockSteps, joinSteps } from "../../../agent-host/align/clock_step.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion } from "../../../shared/tsc/perf_to_tsc.ts";

const SECOND = 1_000_000_000n;
/** At 2 GHz. */
const PAUSE = 1_000_000_000n;

describe("ClockSteps.note()", () => {
  test("a fitted clock's step bounds what was converted since the reading before it", () => {
    const clock = new FittedPerfClock(0n);
    const steps = new ClockSteps();
    const read = (ns: bigint, aside = 0n) => {
      const tsc = 2n * ns + aside;
      clock.add({ tscBefore: tsc - 40n, ns, tscAfter: tsc + 40n });
      return steps.note(clock);
    };
    for (let s = 1n; s <= 5n; s++) expect(read(s * SECOND)).toBeUndefined();
    // Half a second after the last reading the clock stood still, and was read half a second later.
    const step = read(6n * SECOND, PAUSE)!;
    const truth = Number(5n * SECOND * 2n);
    expect(Math.abs(step.fromCycles - truth)).toBeLessThan(200);
    expect(step.apartCycles).toBeGreaterThanOrEqual(Number(PAUSE) - 100);
    expect(step.isWithin).toBe(true);
    expect(read(7n * SECOND, PAUSE)).toBeUndefined();
  });

  test("an exact clock's step is as far as the two pages say", () => {
    const clock = new ExactPerfClock(0n);
    const steps = new ClockSteps();
    const read = (timeZero: bigint, ns: bigint) => {
      clock.update(perfConversion(timeZero, 2 ** 23, 24), ns);
      return steps.note(clock);
    };
    expect(read(0n, SECOND)).toBeUndefined();
    expect(read(0n, 2n * SECOND)).toBeUndefined();
    const step = read(-SECOND / 2n, 3n * SECOND)!;
    expect(step.fromCycles).toBeCloseTo(Number(4n * SECOND), -1);
    expect(Math.abs(step.apartCycles - Number(PAUSE))).toBeLessThan(10);
  });

  test("a step that has no line yet is told when it has, from what was confirmed before it", () => {
    const clock = new FittedPerfClock(0n);
    const steps = new ClockSteps();
    for (let s = 1n; s <= 5n; s++) {
      clock.add({ tscBefore: s * SECOND, ns: s * SECOND, tscAfter: s * SECOND + 80n });
      steps.note(clock);
    }
    clock.beginEpoch(8n * SECOND);
    expect(steps.note(clock)).toBeUndefined();
    clock.add({ tscBefore: 9n * SECOND, ns: 8n * SECOND, tscAfter: 9n * SECOND + 80n });
    expect(steps.note(clock)!.fromCycles).toBeCloseTo(Number(5n * SECOND), -3);
  });
});

test("joinSteps() takes the earlier, the further, and whether times within are off", () => {
  const a = { fromCycles: 5, apartCycles: 10, isWithin: true };
  const b = { fromCycles: 3, apartCycles: 20, isWithin: false };
  expect(joinSteps(a, b)).toEqual({ fromCycles: 3, apartCycles: 20, isWithin: true });
});
