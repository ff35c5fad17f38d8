/** Loss at the end of streams, which the ledger alone knows of. */
import { describe, expect, test } from "bun:test";
import { LossLog } from "../../agent-host/analyze/loss_log.ts";
import { EndedStreams } from "../../agent-host/session/ended_streams.ts";
import { NOT_RECORDED } from "../../agent-host/session/guest_ledger.ts";
import { noteTrailingLoss } from "../../agent-host/trailing_loss.ts";

const row = (lostKernel: number, drops: Record<string, number> = {}) => ({
  ...{ cpu: 0, produced: undefined, delivered: 10, gapBytes: 0, lostKernel },
  drops: Object.entries(drops).map(([place, events]) => ({ place, events })),
});

const guestOf = (before: ReturnType<typeof row>[], last: ReturnType<typeof row>, guess = 0) => {
  const ended = new EndedStreams();
  for (const one of before) {
    const rows = [{ ...one, position: 0 }];
    ended.add({ rows, completeCycles: 100, records: new Map() });
  }
  const rings = { intakes: new Map([[0, { estimatedEvents: guess }]]) };
  return { machine: 1, ledger: { rows: () => [last] }, ended, rings };
};

/** What is noted on top, when `noted` events were met in the stream. */
function restOf(guest: ReturnType<typeof guestOf>, noted: number): [number, boolean] {
  const losses = new LossLog();
  losses.note(1, noted, 50);
  noteTrailingLoss({ local: undefined, guests: [guest] }, losses, 900);
  return [losses.total(1) - noted, losses.spans(1, 1, 800)];
}

describe("noteTrailingLoss()", () => {
  test("notes what no record told of, up to the end", () => {
    expect(restOf(guestOf([], row(7)), 5)).toEqual([2, true]);
    expect(restOf(guestOf([], row(5)), 5)).toEqual([0, false]);
    expect(restOf(guestOf([], row(0, { shed: 9, [NOT_RECORDED]: 4 })), 5)).toEqual([4, true]);
  });

  test("what was met in an earlier stream hides nothing of the last one", () => {
    expect(restOf(guestOf([row(5)], row(7)), 5)).toEqual([7, true]);
    expect(restOf(guestOf([row(5), row(6)], row(0)), 5)).toEqual([6, true]);
  });

  test("what was guessed of a gap hides nothing either", () => {
    expect(restOf(guestOf([], row(7), 5), 5)).toEqual([7, true]);
  });

  test("the host has its own row", () => {
    const losses = new LossLog();
    noteTrailingLoss({ local: { ledger: () => [row(3)] }, guests: [] }, losses, 900);
    expect([losses.total(0), losses.total(1)]).toEqual([3, 0]);
  });
});
