/**
 * perf's own test of its clock (perf-time-to-tsc), on the real kernel: rdtsc, an event, rdtsc. The
 * event's perf time as TSC has to lie between the two readings, and their perf times around the
 * event's, less and plus the bound: all of them, in both directions.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { CLOCK_MONOTONIC_RAW } from "../../../shared/sys/abi.ts";
import { clockBracket, readTsc } from "../../../shared/sys/clock.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../../shared/tsc/perf_to_tsc.ts";
import { perNight } from "../../nightly.ts";
import { NO_TRACING, OWN_GETPPID, openEvents } from "../event/kernel.ts";
import { makeSandwiches, SANDWICH_CALLS } from "./sandwich_maker.ts";
import { proveSandwiches } from "./sandwich_proof.ts";

const TURNS = perNight(100, 3000);
const ROUNDS = 32;
const READINGS_MIN = SANDWICH_CALLS * TURNS;

describe.skipIf(NO_TRACING !== "")("an event between two readings of the TSC", () => {
  let set: ReturnType<typeof openEvents>;
  beforeAll(() => {
    set = openEvents([OWN_GETPPID()], { ringBytes: 1024 * 1024 });
  });
  afterAll(() => set.close());

  test("is placed there by the clock that the agents choose here", () => {
    const anchor = readTsc();
    if (set.clock.source === "exact") {
      const clock = new ExactPerfClock(anchor);
      const read = (): void => {
        const { timeZero, timeMult, timeShift } = set.userTime()!;
        const conversion = perfConversion(timeZero, timeMult, timeShift);
        clock.update(conversion, perfNsOfTsc(conversion, readTsc()));
      };
      read();
      const made = makeSandwiches(set, TURNS, read);
      proveSandwiches("sandwich, exact", clock.map, made, anchor, READINGS_MIN);
      return;
    }
    const clock = new FittedPerfClock(anchor);
    const { clockId } = set.clock;
    expect(clockId).toBe(CLOCK_MONOTONIC_RAW);
    let widest = 0;
    const read = (): void => {
      const bracket = clockBracket(clockId, ROUNDS);
      widest = Math.max(widest, Number(bracket.tscAfter - bracket.tscBefore));
      clock.add(bracket);
    };
    read();
    const made = makeSandwiches(set, TURNS, read);
    proveSandwiches("sandwich, fitted", clock.map, made, anchor, READINGS_MIN);
    const nsPerCycle = 1 / clock.map.newest!.slope;
    const boundNs = clock.boundCycles * nsPerCycle;
    console.log(
      `  widest bracket ${(widest * nsPerCycle).toFixed(0)} ns, ` +
        `bound in force at the end ${boundNs.toFixed(0)} ns`,
    );
  });
});
