/** Which pairs of machines a table names the clock bounds of. */
import { describe, expect, test } from "bun:test";
import { ClockBounds } from "../../agent-host/analyze/clock_bounds.ts";
import { clockNotes, type NotedMachine } from "../../agent-host/clock_notes.ts";

const GUESTS = 8;

function guestOf(machine: number, method: "kvm" | "ping" = "ping", slope = 1): NotedMachine {
  const clock = { isExact: machine % 2 === 0, boundCycles: machine };
  return { machine, clock, time: { alignment: { method }, segmentFor: () => ({ slope }) } };
}

/** Event 10 * machine is the machine's first one. */
const machineOf = (event: number): number => Math.floor(event / 10);
const row = (start: number, end: number, boundCyclesMax = 0) => ({ start, end, boundCyclesMax });
const host = { machine: 0, clock: { isExact: false, boundCycles: 90 }, time: undefined };
const guests = Array.from({ length: GUESTS }, (_, i) => guestOf(i + 1));
const all = [host, ...guests];

const bounds = new ClockBounds();
for (let a = 0; a <= GUESTS; a++) {
  for (let b = 0; b < a; b++) bounds.set(b, a, 100 * a + b);
}

describe("clockNotes()", () => {
  test("names the pairs of machines that rows go between, each once, with the wider bound", () => {
    const rows = [row(0, 50), row(11, 0), row(10, 1, 140), row(50, 30, 7), row(0, 52)];
    expect(clockNotes(all, bounds, rows, machineOf)).toEqual([
      { what: "host => guest 1", method: "ping, fitted perf clock", boundCycles: 140 },
      { what: "host => guest 5", method: "ping, fitted perf clock", boundCycles: 500 },
      { what: "guest 3 => guest 5", method: "ping, fitted perf clock", boundCycles: 503 },
    ]);
  });

  test("names, behind them, the machines that rows stay within", () => {
    const rows = [row(50, 51, 70_000), row(51, 50), row(20, 21, 1), row(0, 1, 95), row(0, 10)];
    expect(clockNotes(all, bounds, rows, machineOf)).toEqual([
      { what: "host => guest 1", method: "ping, fitted perf clock", boundCycles: 100 },
      { what: "host", method: "fitted perf clock", boundCycles: 95 },
      { what: "guest 2", method: "ping, exact perf clock", boundCycles: 2 },
      { what: "guest 5", method: "ping, fitted perf clock", boundCycles: 70_000 },
    ]);
  });

  test("names each guest beside the first machine where there are no rows", () => {
    const names = (machines: readonly NotedMachine[]): string[] =>
      clockNotes(machines, bounds, [], machineOf).map(({ what }) => what);
    expect(names(all)).toEqual(guests.map(({ machine }) => `host => guest ${machine}`));
    expect(names(guests)).toEqual(
      guests.slice(1).map(({ machine }) => `guest 1 => guest ${machine}`),
    );
    expect(names([host])).toEqual([]);
  });

  test("says of a guest alone what its own clock is worth, in canonical cycles", () => {
    const alone = { ...guestOf(2), time: undefined };
    expect(clockNotes([alone], bounds, [row(20, 21)], machineOf)).toEqual([
      { what: "guest 2", method: "exact perf clock", boundCycles: 2 },
    ]);
    const slow = guestOf(3, "kvm", 1.5);
    expect(clockNotes([slow], bounds, [row(30, 31)], machineOf)).toEqual([
      { what: "guest 3", method: "KVM debugfs, fitted perf clock", boundCycles: 4.5 },
    ]);
  });

  test("says nothing of guests whose clock was never known", () => {
    const unknown = { machine: 1, clock: undefined, time: undefined };
    expect(clockNotes([host, unknown], bounds, [], machineOf)).toEqual([]);
    const notes = clockNotes([host, unknown, guestOf(2, "kvm")], bounds, [], machineOf);
    expect(notes.map(({ what }) => what)).toEqual(["host => guest 2"]);
  });
});
