/** SymbolTurns: many who ask for names take no more of the loop's time than one. */
import { expect, test } from "bun:test";
import { SymbolTurns } from "../../agent-guest/receiver.ts";
import { TalkBudget } from "../../agent-guest/sink/talk_budget.ts";
import type { SymbolSender } from "../../agent-guest/symbol_sender.ts";
import { range } from "./support/numbers.ts";

class Asker {
  turns = 0;
  isBusy = true;
  readonly #ms: number;

  constructor(ms: number) {
    this.#ms = ms;
  }

  /** A step takes as long as it takes. */
  work(): void {
    this.turns++;
    for (const fromMs = performance.now(); performance.now() < fromMs + this.#ms; );
  }
}

const asking = (askers: readonly Asker[]) =>
  askers.map((asker) => ({ symbols: asker as unknown as SymbolSender }));

test("work() gives one of those that are busy a turn, each as often as the others", () => {
  const askers = range(5).map(() => new Asker(0));
  askers[3]!.isBusy = false;
  const turns = new SymbolTurns();
  for (let i = 0; i < 8; i++) turns.work(asking(askers));
  expect(askers.map((asker) => asker.turns)).toEqual([2, 2, 2, 0, 2]);
});

test("isDue() is false when nobody asks, and when the time for it is used up", () => {
  const turns = new SymbolTurns();
  const idle = new Asker(0);
  idle.isBusy = false;
  expect(turns.isDue(asking([idle]), performance.now())).toBe(false);
  const [msMax, owedMsMax, share] = [20, 0, 0];
  const spent = new SymbolTurns(new TalkBudget(msMax, owedMsMax, share));
  const slow = new Asker(msMax);
  expect(spent.isDue(asking([slow]), performance.now())).toBe(true);
  spent.work(asking([slow]));
  expect(spent.isDue(asking([slow]), performance.now())).toBe(false);
  spent.work(asking([slow]));
  expect(slow.turns).toBe(1);
});
