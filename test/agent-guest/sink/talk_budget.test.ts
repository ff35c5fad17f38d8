/** A host may say what it wants, and not have the agent do nothing else. */
import { describe, expect, test } from "bun:test";
import {
  AwakeBudget,
  SLICE_MS,
  TALK_MS_MAX,
  TalkBudget,
} from "../../../agent-guest/sink/talk_budget.ts";

describe("TalkBudget", () => {
  test("isLeft() is false when all that was saved up is spent, until a slice is regained", () => {
    const budget = new TalkBudget();
    expect(budget.isLeft(1000)).toBe(true);
    budget.take(1000, 1000 + TALK_MS_MAX);
    expect(budget.isLeft(1000)).toBe(false);
    expect(budget.isLeft(1000 + SLICE_MS * 9)).toBe(false);
    expect(budget.isLeft(1000 + SLICE_MS * 11)).toBe(true);
  });

  test("a host that takes less than a tenth of the time is always listened to", () => {
    const budget = new TalkBudget();
    for (let ms = 0; ms < 100_000; ms += 100) {
      expect(budget.isLeft(ms)).toBe(true);
      budget.take(ms, ms + 9);
    }
  });

  test("take() of more than was left is owed, up to a limit, and given back first", () => {
    const budget = new TalkBudget(100, 50);
    budget.isLeft(0);
    budget.take(0, 130);
    expect(budget.isLeft(390)).toBe(false);
    expect(budget.isLeft(410)).toBe(true);
    budget.take(410, 10_000);
    expect(budget.isLeft(410)).toBe(false);
    expect(budget.isLeft(410 + 10 * 59)).toBe(false);
    expect(budget.isLeft(410 + 10 * 61)).toBe(true);
  });
});

describe("AwakeBudget", () => {
  test("has() what is left of half a second, of which a twentieth of the time comes in", () => {
    const budget = new AwakeBudget();
    expect(budget.has(500, 1000)).toBe(true);
    expect(budget.has(501, 1000)).toBe(false);
    budget.take(500);
    expect(budget.has(1, 1010)).toBe(false);
    expect(budget.has(1, 1021)).toBe(true);
    expect(budget.has(500, 100_000)).toBe(true);
  });
});
