/** How long a guest may go on with which frames. */
import { describe, expect, test } from "bun:test";
import { FrameBudget, UNITS_MAX, UNITS_PER_SECOND } from "../../../agent-host/link/frame_budget.ts";
import { FrameType } from "../../../shared/wire/frame.ts";

/** Frames until nothing is left. */
function framesUntilEmpty(type: number, bytes: number): number {
  const budget = new FrameBudget();
  let frames = 0;
  while (budget.isLeft(0)) {
    budget.takeFrame(type, bytes);
    frames++;
  }
  expect(budget.exhaustions).toBe(1);
  return frames;
}

describe("FrameBudget", () => {
  test("takeFrame() costs samples by their number, everything else by its bytes too", () => {
    expect(framesUntilEmpty(FrameType.SAMPLES, 1024 * 1024)).toBe(UNITS_MAX);
    expect(framesUntilEmpty(FrameType.PONG, 0)).toBe(UNITS_MAX / 4);
    expect(framesUntilEmpty(FrameType.TASK, 1024)).toBe(Math.ceil(UNITS_MAX / (4 + 64)));
  });

  test("isLeft() is true again as time goes by, and saves up no more than the bucket holds", () => {
    const budget = new FrameBudget();
    expect(budget.isLeft(1e9)).toBe(true);
    budget.takeFrame(FrameType.EVENTS, 16 * UNITS_MAX);
    expect(budget.isLeft(1e9)).toBe(false);
    budget.takeFrame(FrameType.EVENTS, (16 * UNITS_PER_SECOND) / 10);
    expect(budget.isLeft(1e9 + 50)).toBe(false);
    expect(budget.isLeft(1e9 + 200)).toBe(true);
  });

  test("takeTurn() bounds turns that bring nothing", () => {
    const budget = new FrameBudget();
    let turns = 0;
    for (; budget.isLeft(0); turns++) budget.takeTurn();
    expect(turns).toBeLessThan(UNITS_MAX / 10);
  });
});
