/** TSC epochs of a vCPU from polls and events in any order. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";
import { TSC_EPOCHS_MAX, TscTimeline } from "../../../agent-host/align/kvm_timeline.ts";
import { hostTsc } from "../../../shared/tsc/tsc.ts";

const at = (cycles: number) => hostTsc(BigInt(cycles));
const offsetAt = (timeline: TscTimeline, cycles: number) => timeline.at(at(cycles)).relation.offset;

describe("TscTimeline", () => {
  test("0 -> A -> B as restore writes it: each event gets the offset of its time", () => {
    const a = -(1n << 60n);
    const b = 123_456n;
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(0n, a, at(2000));
    expect(timeline.poll(tscRelation(a), at(2100))).toBe(true);
    timeline.write(a, b, at(3000));
    expect(timeline.poll(tscRelation(b), at(3100))).toBe(true);
    expect([500, 1999, 2000, 2999, 3000, 9999].map((t) => offsetAt(timeline, t))).toEqual([
      0n,
      0n,
      a,
      a,
      b,
      b,
    ]);
    expect(timeline.newest).toMatchObject({ from: at(3000), doubtFrom: at(3000) });
    expect(timeline.unexplainedWrites).toBe(0);
  });

  test("a poll alone leaves doubt since the last poll, a late event removes it", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    expect(timeline.poll(tscRelation(0n), at(2000))).toBe(false);
    expect(timeline.poll(tscRelation(7n), at(3000))).toBe(true);
    expect(timeline.newest).toMatchObject({ from: at(3000), doubtFrom: at(2000) });
    expect(timeline.write(0n, 7n, at(2400))).toBe(true);
    expect(timeline.newest).toMatchObject({ from: at(2400), doubtFrom: at(2400) });
    expect(timeline.epochs.length).toBe(2);
  });

  test("a write while debugfs is being read may be before or after what was read", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000), at(900));
    expect(timeline.poll(tscRelation(0n), at(2000), at(1900))).toBe(false);
    expect(timeline.poll(tscRelation(7n), at(3000), at(2900))).toBe(true);
    expect(timeline.newest).toMatchObject({ from: at(3000), doubtFrom: at(1900) });
    expect(timeline.write(0n, 7n, at(1950))).toBe(true);
    expect(timeline.newest).toMatchObject({ from: at(1950), doubtFrom: at(1950) });
    expect(timeline.poll(tscRelation(9n), at(4000), at(3900))).toBe(true);
    expect(timeline.write(7n, 9n, at(3950))).toBe(true);
    expect(timeline.newest).toMatchObject({ from: at(3950), doubtFrom: at(3950) });
    expect(timeline.unexplainedWrites).toBe(0);
  });

  test("two writes between polls, told late, are put in their order", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.poll(tscRelation(9n), at(3000));
    expect(timeline.write(0n, 5n, at(1500))).toBe(false);
    expect(timeline.write(5n, 9n, at(2500))).toBe(true);
    expect([1400, 1500, 2499, 2500].map((t) => offsetAt(timeline, t))).toEqual([0n, 5n, 5n, 9n]);
    expect(timeline.unexplainedWrites).toBe(0);
  });

  test("there and back between two polls leaves no trace but the events'", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(0n, 5n, at(1500));
    timeline.write(5n, 0n, at(1700));
    expect(timeline.poll(tscRelation(0n), at(2000))).toBe(true);
    expect([1400, 1500, 1699, 1700].map((t) => offsetAt(timeline, t))).toEqual([0n, 5n, 5n, 0n]);
  });

  test("an announced write that debugfs does not show is none", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(0n, -5n, at(2000));
    expect(timeline.poll(tscRelation(0n), at(2100))).toBe(false);
    expect([timeline.epochs.length, timeline.unexplainedWrites]).toEqual([1, 0]);
    expect(timeline.poll(tscRelation(0n), at(3000))).toBe(false);
    expect([timeline.epochs.length, timeline.unexplainedWrites]).toEqual([1, 1]);
  });

  test("a write that changes nothing, or came before the first reading, needs no explanation", () => {
    const timeline = new TscTimeline(tscRelation(5n), at(1000));
    timeline.write(0n, 5n, at(900));
    timeline.write(5n, 5n, at(1500));
    for (const cycles of [2000, 3000, 4000]) timeline.poll(tscRelation(5n), at(cycles));
    expect([timeline.epochs.length, timeline.unexplainedWrites]).toEqual([1, 0]);
  });

  test("a chain with a lost event leaves the doubt of the poll", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(5n, 9n, at(1500));
    expect(timeline.poll(tscRelation(9n), at(2000))).toBe(true);
    timeline.poll(tscRelation(9n), at(3000));
    expect(timeline.newest).toMatchObject({ from: at(2000), doubtFrom: at(1000) });
    expect(timeline.unexplainedWrites).toBe(1);
  });

  test("a write keeps the scaling, and takes the offset as the unsigned trace field too", () => {
    const timeline = new TscTimeline(tscRelation(-4n, 1n << 47n, 48), at(1000));
    timeline.write((1n << 64n) - 4n, (1n << 64n) - 6n, at(2000));
    timeline.poll(tscRelation(-6n, 1n << 47n, 48), at(2100));
    expect(timeline.newest.relation).toEqual({ offset: -6n, ratio: 1n << 47n, fracBits: 48 });
    expect(timeline.newest.from).toBe(at(2000));
  });

  test("a change of the ratio is an epoch of its own", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    expect(timeline.poll(tscRelation(0n, 1n << 47n, 48), at(2000))).toBe(true);
    expect(timeline.newest.relation.ratio).toBe(1n << 47n);
  });

  test("epochs and waiting writes are bounded", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(0));
    for (let i = 1; i <= 100; i++) timeline.poll(tscRelation(BigInt(i)), at(i * 10));
    expect(timeline.epochs.length).toBe(TSC_EPOCHS_MAX);
    expect(offsetAt(timeline, 1000)).toBe(100n);
    for (let i = 1; i <= 100; i++) timeline.write(7n, 8n, at(2000 + i));
    expect(timeline.unexplainedWrites).toBe(36);
  });

  test("any interleaving of polls and writes ends with the true epochs", () => {
    const script = fc.array(
      fc.record({
        gap: fc.integer({ min: 2, max: 1000 }),
        kind: fc.constantFrom("write", "write", "poll", "late events arrive"),
      }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(script, fc.boolean(), (steps, writesLate) => {
        const timeline = new TscTimeline(tscRelation(0n), at(0));
        const truth: { from: number; offset: bigint }[] = [{ from: 0, offset: 0n }];
        const late: (() => void)[] = [];
        // Events come late, but not later than the poll after next.
        let veryLate: (() => void)[] = [];
        let now = 0;
        const offsetNow = () => truth[truth.length - 1]!.offset;
        for (const { gap, kind } of steps) {
          now += gap;
          if (kind === "poll" || kind === "late events arrive") for (const tell of veryLate) tell();
          if (kind === "late events arrive") for (const tell of late) tell();
          if (kind !== "write") veryLate = kind === "poll" ? late.splice(0) : [];
          if (kind === "late events arrive") late.length = 0;
          if (kind === "poll") timeline.poll(tscRelation(offsetNow()), at(now));
          if (kind !== "write") continue;
          const stamp = at(now);
          const offset = offsetNow();
          truth.push({ from: now, offset: offset + 1n });
          const tell = () => timeline.write(offset, offset + 1n, stamp);
          if (writesLate) late.push(tell);
          else tell();
        }
        for (const tell of [...veryLate, ...late]) tell();
        timeline.poll(tscRelation(offsetNow()), at(now + 1));
        for (const { from, offset } of truth) expect(offsetAt(timeline, from)).toBe(offset);
        expect(timeline.unexplainedWrites).toBe(0);
      }),
      { numRuns: 1000 },
    );
  });
});
