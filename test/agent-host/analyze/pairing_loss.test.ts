// Pairing around lost events: what is left out, and what is not.
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { LOSSES_AHEAD_MAX, LossLog } from "../../../agent-host/analyze/loss_log.ts";
import { RINGS_MAX } from "../../../agent-host/analyze/merger.ts";
import { chunkOf, type EventRow } from "./event_rows.ts";
import { PairingFixture as Fixture } from "./pairing_fixture.ts";

describe("Pairing.run() with loss", () => {
  function runWithLoss(f: Fixture, rows: readonly EventRow[], before: number, machine = 0): void {
    const chunk = chunkOf(f.pool, { machine }, []);
    f.pool.release(chunk);
    const filled = chunkOf(f.pool, { machine }, rows);
    const count = filled.count;
    filled.count = before;
    filled.addLost(3, rows[before - 1]?.time ?? 0);
    filled.count = count;
    f.pairing.run(filled, 0, count);
    f.pool.release(filled);
  }

  test("leaves out pairs that span a loss, and counts them", () => {
    const f = new Fixture();
    runWithLoss(
      f,
      [
        { time: 10, event: 0, key: 1 },
        { time: 15, event: 1, key: 1 },
        { time: 20, event: 0, key: 2 },
        { time: 50, event: 1, key: 2 },
        { time: 60, event: 0, key: 3 },
        { time: 63, event: 1, key: 3 },
      ],
      3,
    );
    expect(f.summary()).toEqual(["0=>1 2 8"]);
    expect([f.row().leftOut, f.row().leftOutCyclesMax]).toEqual([1, 30]);
    expect(f.pairing.losses.events(0)).toBe(3);
  });

  test("regards loss of either machine of a pair only", () => {
    const f = new Fixture();
    f.run([{ time: 10, event: 0, key: 1 }], { machine: 1 });
    runWithLoss(f, [{ time: 20, event: 5 }], 0, 2);
    f.run([{ time: 30, event: 1, key: 1 }], { machine: 0 });
    expect(f.row().leftOut).toBe(0);
    f.run([{ time: 40, event: 0, key: 1 }], { machine: 1 });
    f.pairing.losses.note(0, 0, 1, 41);
    f.run([{ time: 50, event: 1, key: 1 }], { machine: 0 });
    expect(f.row().leftOut).toBe(1);
    expect([...f.row().machines].toSorted()).toEqual([0, 1]);
  });
});

/** What happened on a machine, and which of it was lost. */
interface Happening {
  readonly time: number;
  readonly cpu: number;
  readonly event: number;
  readonly key: number;
  readonly isLost: boolean;
}

const CPUS = 3;
/** No stage's event: the last on each CPU, which tells of what was lost before it. */
const LAST = 5;

const happenings = fc
  .array(
    fc.record({
      step: fc.integer({ min: 1, max: 9 }),
      cpu: fc.nat(CPUS - 1),
      event: fc.nat(1),
      key: fc.nat(2),
      isLost: fc.nat(9).map((dice) => dice === 0),
    }),
    { minLength: 2, maxLength: 60 },
  )
  .map((steps) => {
    let time = 0;
    const list: Happening[] = steps.map(({ step, ...rest }) => {
      time += step;
      return { time, ...rest };
    });
    for (let cpu = 0; cpu < CPUS; cpu++) {
      list.push({ time: ++time, cpu, event: LAST, key: 9, isLost: false });
    }
    return list;
  });

/** The pairs that there truly were, as "start-end". */
function truePairs(list: readonly Happening[]): Set<string> {
  const waiting = new Map<number, number>();
  const pairs = new Set<string>();
  for (const { time, event, key } of list) {
    if (event === 0) waiting.set(key, time);
    const start = waiting.get(key);
    if (event !== 1 || start === undefined) continue;
    waiting.delete(key);
    pairs.add(`${start}-${time}`);
  }
  return pairs;
}

/** Pairs what is left, in time order, with every loss announced first, as it is decoded first. */
function countedPairs(list: readonly Happening[]): string[] {
  const counted: string[] = [];
  const f = new Fixture({
    thanCycles: Number.NEGATIVE_INFINITY,
    onSlowPair: ({ start, end, spansLoss }) => {
      if (!spansLoss) counted.push(`${start.timeCycles}-${end.timeCycles}`);
    },
  });
  const newest = new Array<number>(CPUS).fill(Number.NEGATIVE_INFINITY);
  const lost = new Array<number>(CPUS).fill(0);
  const kept = list.flatMap(({ isLost, ...row }) => {
    if (isLost) {
      lost[row.cpu]!++;
      return [];
    }
    const since = newest[row.cpu]!;
    const before = lost[row.cpu]!;
    newest[row.cpu] = row.time;
    lost[row.cpu] = 0;
    if (before > 0) f.pairing.losses.expect(0, row.cpu, since, row.time);
    return [{ row, since, before }];
  });
  for (const { row, since, before } of kept) {
    const chunk = chunkOf(f.pool, { cpu: row.cpu, ring: row.cpu }, [row]);
    chunk.count = 0;
    if (before > 0) chunk.addLost(before, since);
    chunk.count = 1;
    f.pairing.run(chunk, 0, 1);
    f.pool.release(chunk);
  }
  return counted;
}

describe("Pairing.run() with losses on several CPUs", () => {
  test("counts no pair that was none, whatever was lost where", () => {
    let counted = 0;
    fc.assert(
      fc.property(happenings, (list) => {
        const truth = truePairs(list);
        const pairs = countedPairs(list);
        counted += pairs.length;
        expect(pairs.filter((pair) => !truth.has(pair))).toEqual([]);
      }),
      { numRuns: 2000 },
    );
    expect(counted).toBeGreaterThan(100);
  });

  test("counts every pair when nothing was lost", () => {
    fc.assert(
      fc.property(happenings, (list) => {
        const whole = list.map((happening) => ({ ...happening, isLost: false }));
        expect(countedPairs(whole)).toEqual([...truePairs(whole)]);
      }),
      { numRuns: 300 },
    );
  });

  test("leaves out what overlaps a loss of another CPU, and neither before nor behind it", () => {
    const f = new Fixture();
    f.pairing.losses.expect(0, 1, 5, 20);
    const pair = (start: number, end: number): EventRow[] => [
      { time: start, event: 0, key: start },
      { time: end, event: 1, key: start },
    ];
    f.run([...pair(1, 4), ...pair(2, 6), ...pair(10, 15), ...pair(20, 29)], { cpu: 0 });
    f.run([{ time: 40, event: LAST }], { cpu: 1 });
    expect(f.summary()).toEqual(["0=>1 2 12"]);
    expect([f.row().leftOut, f.row().leftOutCyclesMax]).toEqual([2, 5]);
  });
});

describe("Pairing.run() with the CPU as key", () => {
  test("leaves out what a loss of the same CPU may have spoiled, and of no other one", () => {
    const f = new Fixture({ stages: [[], []] });
    f.pairing.addEvent(0, 0, false, true);
    f.pairing.addEvent(1, 1, false, true);
    f.pairing.losses.expect(0, 1, 5, 20);
    const pair = (cpu: number, start: number, end: number): void => {
      const rows = [
        { time: start, event: 0, key: cpu },
        { time: end, event: 1, key: cpu },
      ];
      f.run(rows, { cpu, ring: cpu });
    };
    pair(0, 6, 8);
    pair(0, 10, 21);
    pair(1, 4, 22);
    pair(1, 23, 24);
    expect(f.summary()).toEqual(["0=>1 3 14"]);
    expect([f.row().leftOut, f.row().leftOutCyclesMax]).toEqual([1, 18]);
  });

  test("another machine's CPU of the same number is another CPU", () => {
    const f = new Fixture({ stages: [[], []] });
    f.pairing.addEvent(0, 0, false, true);
    f.pairing.addEvent(1, 1, false, true);
    f.pairing.losses.expect(1, 7, 5, 20);
    f.run([{ time: 10, event: 0, key: 0 }], { machine: 0, ring: 0 });
    f.run([{ time: 12, event: 1, key: 0 }], { machine: 1, ring: 6 });
    expect([f.row().latencies.count, f.row().leftOut]).toEqual([0, 1]);
  });
});

describe("LossLog", () => {
  test("begins losses in the order of their time, whatever the order they are announced in", () => {
    fc.assert(
      fc.property(fc.array(fc.nat(1000), { minLength: 1, maxLength: 200 }), (times) => {
        const log = new LossLog();
        for (const since of times) log.expect(since % 3, since % 5, since, since + 10);
        const begun: number[] = [];
        while (log.nextCycles !== Number.POSITIVE_INFINITY) {
          begun.push(log.nextCycles);
          log.beginNext();
          const since = begun.at(-1)!;
          expect(log.spans(since % 3, since % 3, since + 9)).toBe(true);
          expect(log.ringSpans(since % 5, since + 9)).toBe(true);
        }
        expect(begun).toEqual(times.toSorted((a, b) => a - b));
      }),
      { numRuns: 200 },
    );
  });

  test("tells rings apart, as many as a session may have", () => {
    const log = new LossLog();
    log.expect(0, RINGS_MAX - 1, 10, 20);
    log.beginNext();
    const truncated = (RINGS_MAX - 1) % 65_536;
    expect([log.ringSpans(RINGS_MAX - 1, 15), log.ringSpans(truncated, 15)]).toEqual([true, false]);
  });

  test("a loss of an unknown number counts none, and separates as any other", () => {
    const log = new LossLog();
    log.note(1, 0, 0, 50);
    expect([log.isEmpty, log.events(1), log.spans(1, 1, 49), log.spans(1, 1, 50)]).toEqual([
      false,
      0,
      true,
      false,
    ]);
  });

  test("takes in more than it can tell apart as begun, and forgets none", () => {
    const log = new LossLog();
    for (let i = 0; i < LOSSES_AHEAD_MAX; i++) log.expect(1, 1, 100 + i, 200 + i);
    expect(log.spans(2, 2, 0)).toBe(false);
    log.expect(2, 2, 500, 600);
    expect(log.spans(2, 2, 599)).toBe(true);
  });

  test("of a stream whose clock lies behind, all that waits is separated from it", () => {
    const log = new LossLog();
    log.expect(1, 1, 900, 100);
    expect(log.spans(1, 1, 899)).toBe(true);
  });
});
