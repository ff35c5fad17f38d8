// Pairing: stages, keys, cycles, and effects before their causes.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ClockBounds } from "../../../agent-host/analyze/clock_bounds.ts";
import { type PairingOptions, STAGES_MAX } from "../../../agent-host/analyze/pairing.ts";
import { timeSegment } from "../../../shared/tsc/time_segment.ts";
import { PairingFixture as Fixture } from "./pairing_fixture.ts";

describe("Pairing.run()", () => {
  test("records the time from a start to the end with the same key", () => {
    const f = new Fixture();
    f.run([
      { time: 100, event: 0, key: 7 },
      { time: 110, event: 0, key: 8 },
      { time: 130, event: 1, key: 7 },
      { time: 135, event: 1, key: 8 },
      { time: 140, event: 1, key: 9 },
    ]);
    expect(f.summary()).toEqual(["0=>1 2 55"]);
    expect(f.pairing.counters).toMatchObject({ unmatchedEnds: 1, waitingStarts: 0 });
  });

  test("compares all 64 bits of a key", () => {
    const f = new Fixture();
    f.run([
      { time: 100, event: 0, key: 7, keyHi: 1 },
      { time: 110, event: 1, key: 7 },
      { time: 120, event: 1, key: 7, keyHi: 1 },
    ]);
    expect(f.summary()).toEqual(["0=>1 1 20"]);
  });

  test("role= decides for each record whether it may start or end a pair", () => {
    const f = new Fixture({ stages: [[0]], isCycle: true, withRole: [0] });
    f.run([
      { time: 100, event: 0, key: 7, role: 2 },
      { time: 110, event: 0, key: 7, role: 1 },
      { time: 130, event: 0, key: 7, role: 0 },
      { time: 135, event: 0, key: 7, role: 2 },
      { time: 140, event: 0, key: 7, role: 3 },
      { time: 147, event: 0, key: 7, role: 0xfe },
    ]);
    expect(f.summary()).toEqual(["0=>0 2 32"]);
    expect(f.pairing.counters).toMatchObject({ unmatchedEnds: 2, waitingStarts: 0 });
  });

  test("a role column means nothing to events without role=", () => {
    const f = new Fixture({ withRole: [1] });
    f.run([
      { time: 100, event: 0, role: 0 },
      { time: 110, event: 1, role: 2 },
    ]);
    expect(f.summary()).toEqual(["0=>1 1 10"]);
  });

  test("a newer start takes the place of the older, counted", () => {
    const f = new Fixture();
    f.run([
      { time: 100, event: 0 },
      { time: 110, event: 0 },
      { time: 130, event: 1 },
      { time: 140, event: 1 },
    ]);
    expect(f.summary()).toEqual(["0=>1 1 20"]);
    expect(f.pairing.counters).toMatchObject({ replacedStarts: 1, unmatchedEnds: 1 });
  });

  test("chains stages, with a row for each pair of events", () => {
    const f = new Fixture({ stages: [[0], [1, 2], [3]] });
    f.run([
      { time: 10, event: 0, key: 1 },
      { time: 20, event: 1, key: 1 },
      { time: 50, event: 3, key: 1 },
      { time: 60, event: 0, key: 1 },
      { time: 65, event: 2, key: 1 },
      { time: 66, event: 3, key: 1 },
      { time: 90, event: 3, key: 1 },
    ]);
    expect(f.summary()).toEqual(["0=>1 1 10", "0=>2 1 5", "1=>3 1 30", "2=>3 1 1"]);
  });

  test("leads from the last stage to the first with isCycle", () => {
    const f = new Fixture({ isCycle: true });
    f.run([0, 1, 0, 1, 0].map((event, i) => ({ time: 10 * i * i, event })));
    expect(f.summary()).toEqual(["0=>1 2 60", "1=>0 2 100"]);
  });

  test("measures from event to event with one stage and isCycle", () => {
    const f = new Fixture({ stages: [[0]], isCycle: true });
    f.run([
      { time: 10, event: 0 },
      { time: 15, event: 0 },
      { time: 40, event: 0 },
    ]);
    expect(f.summary()).toEqual(["0=>0 2 30"]);
  });

  test("passes over events of no stage and skipped records", () => {
    const f = new Fixture();
    f.run([{ time: 1, event: 0 }, { time: 2, event: 5 }, { time: 3 }, { time: 4, event: 1 }]);
    expect(f.summary()).toEqual(["0=>1 1 3"]);
  });

  test("keeps a row per key with isPerInstance, in the order of unsigned keys", () => {
    const f = new Fixture({ isPerInstance: true });
    for (const key of [0xffffffff, 5, 17]) {
      f.run([
        { time: 10, event: 0, key },
        { time: 10 + (key % 10), event: 1, key },
      ]);
    }
    expect(f.summary()).toEqual(["5 0=>1 1 5", "17 0=>1 1 7", "4294967295 0=>1 1 5"]);
  });

  test("counts latencies over the threshold", () => {
    const f = new Fixture({ thanCycles: 20 });
    for (const end of [10, 20, 21, 300])
      f.run([
        { time: 0, event: 0 },
        { time: end, event: 1 },
      ]);
    expect(f.row().over).toBe(2);
  });

  test("resetInterval() empties the table, and starts go on waiting", () => {
    const f = new Fixture();
    f.run([
      { time: 0, event: 0 },
      { time: 5, event: 1 },
      { time: 10, event: 0 },
    ]);
    f.pairing.resetInterval();
    expect(f.summary()).toEqual([]);
    f.run([{ time: 40, event: 1 }]);
    expect(f.summary()).toEqual(["0=>1 1 30"]);
  });

  test("takes stamps of any distance", () => {
    const f = new Fixture();
    f.run([
      { time: -5e19, event: 0 },
      { time: 5e19, event: 1 },
    ]);
    expect(f.row().latencies.max).toBe(Number.MAX_SAFE_INTEGER);
  });

  test("the constructor throws on too few or too many stages and on an event in two", () => {
    const stages =
      (...list: number[][]) =>
      () =>
        new Fixture({ stages: list });
    expect(stages([0])).toThrow(RangeError);
    expect(stages(...Array.from({ length: STAGES_MAX + 1 }, (_, i) => [i]))).toThrow(RangeError);
    expect(stages([0], [1, 0])).toThrow(RangeError);
    expect(stages([0], [0xffff])).toThrow(RangeError);
  });
});

/** A line whose slope is known to a thousandth, of a clock that wanders by one cycle. */
const segment = (originCycles: number) =>
  timeSegment({
    base: 0n,
    slope: 1,
    originCycles,
    targetAnchor: 0n,
    boundCycles: 40,
    boundGrowth: 0.001,
    wanderCycles: 2,
  });

describe("Pairing.run() across machines", () => {
  let boundCycles = 0;
  function twoMachines(bound: number, options: Partial<PairingOptions> = {}): Fixture {
    const bounds = new ClockBounds();
    if (bound > 0) bounds.set(0, 1, bound);
    boundCycles = bound;
    return new Fixture({ bounds, ...options });
  }
  const start = (f: Fixture, time: number) => f.run([{ time, event: 0 }], { machine: 0 });
  const end = (f: Fixture, time: number) =>
    f.run([{ time, event: 1 }], { machine: 1, boundCycles });

  test("counts an end stamped before its start within the bound as 0", () => {
    const f = twoMachines(50);
    end(f, 100);
    start(f, 140);
    expect(f.summary()).toEqual(["0=>1 1 0"]);
    expect(f.row()).toMatchObject({
      reversed: 1,
      withinBound: 1,
      violations: 0,
      boundCyclesMax: 50,
    });
    expect(f.pairing.counters).toMatchObject({ unmatchedEnds: 0, waitingStarts: 0 });
  });

  test("counts an end stamped before its start by more than the bound as a violation", () => {
    const f = twoMachines(50);
    end(f, 100);
    start(f, 160);
    expect(f.row()).toMatchObject({ reversed: 0, violations: 1, violationCyclesMax: 60 });
    expect(f.row().latencies.count).toBe(0);
  });

  test("takes an end long before a start for somebody else's", () => {
    const f = twoMachines(50);
    end(f, 100);
    start(f, 301);
    end(f, 310);
    expect(f.summary()).toEqual(["0=>1 1 9"]);
    expect(f.pairing.counters.unmatchedEnds).toBe(1);
  });

  test("marks latencies smaller than the bound", () => {
    const f = twoMachines(50);
    start(f, 100);
    end(f, 149);
    start(f, 200);
    end(f, 250);
    expect(f.row()).toMatchObject({ withinBound: 1, reversed: 0 });
    expect(f.row().latencies.count).toBe(2);
  });

  test("does not doubt the order of one machine's events", () => {
    const f = twoMachines(50);
    f.run(
      [
        { time: 100, event: 1 },
        { time: 110, event: 0 },
        { time: 200, event: 1 },
      ],
      { machine: 1, boundCycles: 50, segment: segment(0) },
    );
    expect(f.summary()).toEqual(["0=>1 1 90"]);
    expect(f.row()).toMatchObject({ violations: 0, reversed: 0 });
  });

  test("without a bound an early end stays without a start", () => {
    const f = twoMachines(0);
    end(f, 100);
    start(f, 101);
    end(f, 150);
    expect(f.summary()).toEqual(["0=>1 1 49"]);
  });

  test("an early end in the middle of a chain still waits for its own successor", () => {
    const f = twoMachines(50, { stages: [[0], [1], [2]] });
    end(f, 100);
    start(f, 120);
    f.run([{ time: 180, event: 2 }], { machine: 1 });
    expect(f.summary()).toEqual(["0=>1 1 0", "1=>2 1 80"]);
  });

  test("judges a pair by what its two events were converted with, not by what is known now", () => {
    const f = twoMachines(20);
    // The end came while its clock was known to 90 cycles only, and before its cause.
    f.run([{ time: 100, event: 1 }], { machine: 1, boundCycles: 90 });
    f.run([{ time: 170, event: 0 }], { machine: 0, boundCycles: 5 });
    start(f, 300);
    end(f, 310);
    expect(f.row()).toMatchObject({ violations: 0, reversed: 1, boundCyclesMax: 95 });
    expect(f.summary()).toEqual(["0=>1 2 10"]);
  });

  test("bounds a latency within one machine by slope and wander, across two fits by both", () => {
    const f = twoMachines(20);
    const before = { machine: 1, boundCycles: 40, segment: segment(0) };
    f.run([{ time: 100, event: 0 }], before);
    f.run([{ time: 1100, event: 1 }], before);
    expect(f.row().boundCyclesMax).toBeCloseTo(3, 1);
    f.run([{ time: 2000, event: 0 }], before);
    f.run([{ time: 3000, event: 1 }], { machine: 1, boundCycles: 30, segment: segment(10) });
    expect(f.row().boundCyclesMax).toBe(70);
  });

  test("bounds a latency by both of its ends where a slope may be anything", () => {
    for (const boundGrowth of [1, 1.5, 4]) {
      const f = twoMachines(20);
      const first = { machine: 1, boundCycles: 40, segment: { ...segment(0), boundGrowth } };
      f.run([{ time: 100, event: 0 }], first);
      f.run([{ time: 1100, event: 1 }], first);
      expect(f.row().boundCyclesMax).toBe(80);
    }
  });
});

test("run() pairs like a model with one map per stage", () => {
  const row = fc.record({ event: fc.nat(4), key: fc.nat(3), step: fc.nat(20) });
  fc.assert(
    fc.property(
      fc.array(row, { maxLength: 80 }),
      fc.boolean(),
      fc.nat(80),
      (rows, isCycle, cut) => {
        const stages = [[0], [1, 2], [3]];
        const f = new Fixture({ stages, isCycle });
        let time = 0;
        const events = rows.map(({ event, key, step }) => {
          time += step;
          return { time, event, key };
        });
        f.run(events.slice(0, cut));
        f.run(events.slice(cut));

        const waiting = stages.map(() => new Map<number, { time: number; event: number }>());
        const sums = new Map<string, { count: number; sum: number }>();
        for (const { time: now, event, key } of events) {
          const stage = stages.findIndex((members) => members.includes(event));
          if (stage < 0) continue;
          const before = stage > 0 ? stage - 1 : isCycle ? 2 : -1;
          const start = waiting[before]?.get(key);
          if (start !== undefined) {
            waiting[before]!.delete(key);
            const name = `${start.event}=>${event}`;
            const sum = sums.get(name) ?? { count: 0, sum: 0 };
            sums.set(name, { count: sum.count + 1, sum: sum.sum + now - start.time });
          }
          if (stage < 2 || isCycle) waiting[stage]!.set(key, { time: now, event });
        }
        const expected = [...sums].map(([name, { count, sum }]) => `${name} ${count} ${sum}`);
        expect(f.summary().toSorted()).toEqual(expected.toSorted());
        const left = waiting.reduce((total, stage) => total + stage.size, 0);
        expect(f.pairing.counters.waitingStarts).toBe(left);
      },
    ),
    { numRuns: 500 },
  );
});
