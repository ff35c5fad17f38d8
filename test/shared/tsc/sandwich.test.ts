/**
 * perf's own test of its clock (perf-time-to-tsc), on the real kernel: rdtsc, an event, rdtsc. The
 * event's perf time as TSC has to lie between the two readings, and their perf times around the
 * event's, less and plus the bound: all of them, in both directions.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { CLOCK_MONOTONIC_RAW } from "../../../shared/sys/abi.ts";
import { clockBracket, readTsc } from "../../../shared/sys/clock.ts";
import { FittedPerfClock } from "../../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../../shared/tsc/time_map.ts";
import { ClockProof } from "../../clock_proof.ts";
import { perNight } from "../../nightly.ts";
import {
  callGetppid,
  NO_TRACING,
  OWN_GETPPID,
  openEvents,
  readSysEnter,
  recordsOf,
} from "../event/kernel.ts";

/** Sandwiches of one turn; the fitted clock is read in between, as in the agents. */
const CALLS = 100;
const TURNS = perNight(100, 3000);
const ROUNDS = 32;

interface Sandwich {
  readonly before: bigint;
  readonly ns: bigint;
  readonly after: bigint;
}

/** Sandwiches of all turns; `read` is called between turns. */
function makeSandwiches(set: ReturnType<typeof openEvents>, read: () => void): Sandwich[] {
  const made: Sandwich[] = [];
  set.enable();
  for (let turn = 0; turn < TURNS; turn++) {
    const [before, after]: [bigint[], bigint[]] = [[], []];
    for (let i = 0; i < CALLS; i++) {
      before.push(readTsc());
      callGetppid(1, i);
      after.push(readTsc());
    }
    for (const { ring } of set.rings) {
      for (const record of recordsOf(ring)) {
        if (record.type !== PERF_RECORD_SAMPLE) continue;
        const { arg0, timeNs } = readSysEnter(record, set.sampleType);
        made.push({ before: before[arg0]!, ns: timeNs, after: after[arg0]! });
      }
      ring.setTail(ring.head);
    }
    read();
  }
  set.disable();
  return made;
}

function prove(name: string, map: TimeMap, sandwiches: readonly Sandwich[], anchor: bigint): void {
  const { slope } = map.newest!;
  const nsPerCycle = 1 / slope;
  const forward = new ClockProof(`${name}, perf time to TSC`);
  const origin = sandwiches[0]!.ns;
  const back = new ClockProof(`${name}, TSC to perf time`);
  const inverse = map.invert(origin);
  for (const { before, ns, after } of sandwiches) {
    const { cycles, boundCycles } = map.convert(ns);
    forward.count(cycles, boundCycles, Number(before - anchor), Number(after - anchor), nsPerCycle);
    const [early, late] = [inverse.convert(before), inverse.convert(after)];
    const at = Number(ns - origin);
    const bound = Math.max(early.boundCycles, late.boundCycles);
    back.count(at, bound, early.cycles, late.cycles, 1);
  }
  forward.report(CALLS * TURNS);
  back.report(CALLS * TURNS);
}

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
      prove("sandwich, exact", clock.map, makeSandwiches(set, read), anchor);
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
    prove("sandwich, fitted", clock.map, makeSandwiches(set, read), anchor);
    const nsPerCycle = 1 / clock.map.newest!.slope;
    const boundNs = clock.boundCycles * nsPerCycle;
    console.log(
      `  widest bracket ${(widest * nsPerCycle).toFixed(0)} ns, ` +
        `bound in force at the end ${boundNs.toFixed(0)} ns`,
    );
  });
});
