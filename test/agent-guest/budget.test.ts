/** Budget on counters that the test sets: when recording pauses, for how long, and who is told. */
import { expect, test } from "bun:test";
import { Budget } from "../../agent-guest/budget.ts";
import type { Capture } from "../../agent-guest/capture.ts";
import { NO_RATE_LIMITS } from "../../agent-guest/serve/limits.ts";

/** What a budget sees of a capture: a ring's head, counters, and whether output is paused. */
class FakeCapture {
  readonly ring = { ring: { head: 0 } };
  readonly rings = [this.ring];
  events = 0n;
  pausedFor = "";
  readonly set = { count: () => ({ produced: this.events + 7n, lost: 7n }) };

  pause(place: string): void {
    this.pausedFor = place;
  }

  resume(): void {
    this.pausedFor = "";
  }

  get asCapture(): Capture {
    return this as unknown as Capture;
  }
}

function start(rates: Partial<typeof NO_RATE_LIMITS>) {
  const said: string[] = [];
  const budget = new Budget({ ...NO_RATE_LIMITS, ...rates }, (text) => said.push(text));
  const capture = new FakeCapture();
  const check = (nowMs: number): void => budget.check(nowMs, [{ capture: capture.asCapture }]);
  check(0);
  return { said, budget, capture, check };
}

const PAUSED = "Records only a part of each second: shed by --max-rate";

test("check() pauses when a second's bytes are used up, until that second is over", () => {
  const { said, budget, capture, check } = start({ bytesPerSecondMax: 1000 });
  capture.ring.ring.head = 999;
  check(100);
  expect(capture.pausedFor).toBe("");
  capture.ring.ring.head = 1000;
  check(200);
  expect(capture.pausedFor).toBe("shed by --max-rate");
  expect(said).toEqual([PAUSED]);
  expect(budget.dueInMs(400)).toBe(600);
  check(999);
  expect(capture.pausedFor).toBe("shed by --max-rate");
  check(1010);
  expect(capture.pausedFor).toBe("");
});

test("check() takes what was used beyond a second's budget from the next ones", () => {
  const { capture, check } = start({ eventsPerSecondMax: 100 });
  capture.events = 350n;
  check(10);
  for (const nowMs of [1000, 2000]) {
    check(nowMs);
    expect(capture.pausedFor).toBe("shed by --max-rate");
  }
  check(3000);
  expect(capture.pausedFor).toBe("");
});

test("check() saves nothing up: an idle second does not make the next one longer", () => {
  const { capture, check } = start({ eventsPerSecondMax: 100 });
  for (const nowMs of [1000, 2000, 3000]) check(nowMs);
  capture.events = 100n;
  check(3500);
  expect(capture.pausedFor).toBe("shed by --max-rate");
});

test("check() says that all is recorded again after three seconds within the budget", () => {
  const { said, capture, check } = start({ eventsPerSecondMax: 100 });
  capture.events = 100n;
  check(500);
  for (const nowMs of [1000, 2000, 3000]) check(nowMs);
  expect(said).toEqual([PAUSED]);
  check(4000);
  expect(said).toEqual([PAUSED, "Records all events again"]);
});

test("check() counts the CPU time of a stream from its second second on", () => {
  const { capture, check } = start({ cpuShareMax: 1e-9 });
  check(500);
  expect(capture.pausedFor).toBe("");
  check(1000);
  const { user } = process.cpuUsage();
  while (process.cpuUsage().user === user);
  check(1500);
  expect(capture.pausedFor).toBe("shed by --max-cpu");
});

test("check() begins anew with other events, and rests without any", () => {
  const { budget, capture, check } = start({ eventsPerSecondMax: 100 });
  capture.events = 100n;
  check(500);
  const other = new FakeCapture();
  other.events = 5000n;
  budget.check(600, [{ capture: other.asCapture }]);
  expect(other.pausedFor).toBe("");
  budget.check(700, [{ capture: undefined }]);
  expect(budget.dueInMs(700)).toBe(Infinity);
});

test("without limits nothing is looked at", () => {
  const { budget, capture } = start({});
  capture.set.count = () => {
    throw new Error("looked at");
  };
  budget.check(100, [{ capture: capture.asCapture }]);
  expect(budget.dueInMs(100)).toBe(Infinity);
});
