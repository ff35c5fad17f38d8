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
    expect(timeline.write(0n, a, at(2000))).toBe(true);
    expect(timeline.write(a, b, at(3000))).toBe(true);
    expect([500, 1999, 2000, 2999, 3000, 9999].map((t) => offsetAt(timeline, t))).toEqual([
      0n,
      0n,
      a,
      a,
      b,
      b,
    ]);
    expect(timeline.missedCount).toBe(0);
    expect(timeline.newest.relation.offset).toBe(b);
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

  test("two writes between polls, told late, are put in their order", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.poll(tscRelation(9n), at(3000));
    expect(timeline.write(0n, 5n, at(1500))).toBe(true);
    expect(timeline.write(5n, 9n, at(2500))).toBe(true);
    expect([1400, 1500, 2499, 2500].map((t) => offsetAt(timeline, t))).toEqual([0n, 5n, 5n, 9n]);
    expect(timeline.missedCount).toBe(0);
  });

  test("an event that was told before its poll is no news to the poll", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(0n, 5n, at(2000));
    expect(timeline.poll(tscRelation(0n), at(1900))).toBe(false);
    expect(timeline.poll(tscRelation(5n), at(3000))).toBe(false);
    expect(timeline.write(5n, 5n, at(3500))).toBe(false);
    expect(timeline.epochs.length).toBe(2);
  });

  test("an event that continues from an offset never seen is counted", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(1000));
    timeline.write(3n, 5n, at(2000));
    expect(timeline.missedCount).toBe(1);
  });

  test("a write keeps the scaling, and takes the offset as the unsigned trace field too", () => {
    const timeline = new TscTimeline(tscRelation(-4n, 1n << 47n, 48), at(1000));
    timeline.write((1n << 64n) - 4n, (1n << 64n) - 6n, at(2000));
    expect(timeline.newest.relation).toEqual({ offset: -6n, ratio: 1n << 47n, fracBits: 48 });
    expect(timeline.missedCount).toBe(0);
  });

  test("epochs are bounded and forgotten ones counted", () => {
    const timeline = new TscTimeline(tscRelation(0n), at(0));
    for (let i = 1; i <= 100; i++) timeline.write(BigInt(i - 1), BigInt(i), at(i * 10));
    expect(timeline.epochs.length).toBe(TSC_EPOCHS_MAX);
    expect(timeline.forgottenCount).toBe(101 - TSC_EPOCHS_MAX);
    expect(offsetAt(timeline, 1000)).toBe(100n);
  });

  test("any interleaving of polls and writes ends with the true epochs", () => {
    const script = fc.array(
      fc.record({ gap: fc.integer({ min: 2, max: 1000 }), kind: fc.constantFrom("write", "poll") }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(script, fc.boolean(), (steps, writesLate) => {
        const timeline = new TscTimeline(tscRelation(0n), at(0));
        const truth: { from: number; offset: bigint }[] = [{ from: 0, offset: 0n }];
        const late: (() => void)[] = [];
        let now = 0;
        for (const { gap, kind } of steps) {
          now += gap;
          const { offset } = truth[truth.length - 1]!;
          if (kind === "poll") {
            timeline.poll(tscRelation(offset), at(now));
            continue;
          }
          const stamp = at(now);
          const next = offset + 1n;
          truth.push({ from: now, offset: next });
          const tell = () => timeline.write(offset, next, stamp);
          if (writesLate) late.push(tell);
          else tell();
        }
        for (const tell of late) tell();
        for (const { from, offset } of truth) expect(offsetAt(timeline, from)).toBe(offset);
        expect(timeline.missedCount).toBe(0);
      }),
      { numRuns: 500 },
    );
  });
});
