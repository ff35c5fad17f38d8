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
function restOf(guest: ReturnType<typeof guestOf>, noted: number): number {
  const losses = new LossLog();
  losses.note(1, 3, noted, 50);
  losses.reset();
  noteTrailingLoss({ local: undefined, guests: [guest] }, losses);
  expect(losses.total(1)).toBe(noted + losses.events(1));
  return losses.events(1);
}

describe("noteTrailingLoss()", () => {
  test("notes what no record told of", () => {
    expect(restOf(guestOf([], row(7)), 5)).toBe(2);
    expect(restOf(guestOf([], row(5)), 5)).toBe(0);
    expect(restOf(guestOf([], row(0, { shed: 9, [NOT_RECORDED]: 4 })), 5)).toBe(4);
  });

  test("what was met in an earlier stream hides nothing of the last one", () => {
    expect(restOf(guestOf([row(5)], row(7)), 5)).toBe(7);
    expect(restOf(guestOf([row(5), row(6)], row(0)), 5)).toBe(6);
  });

  test("what was guessed of a gap hides nothing either", () => {
    expect(restOf(guestOf([], row(7), 5), 5)).toBe(7);
  });

  test("the host has its own row", () => {
    const losses = new LossLog();
    noteTrailingLoss({ local: { ledger: () => [row(3)] }, guests: [] }, losses);
    expect([losses.total(0), losses.total(1)]).toEqual([3, 0]);
  });
});
