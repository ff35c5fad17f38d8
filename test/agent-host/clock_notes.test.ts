/** Which pairs of machines a table names the clock bounds of. */
import { describe, expect, test } from "bun:test";
import { ClockBounds } from "../../agent-host/analyze/clock_bounds.ts";
import { clockNotes, type NotedGuest } from "../../agent-host/clock_notes.ts";

const GUESTS = 8;

function guestOf(machine: number, method: "kvm" | "ping" = "ping"): NotedGuest {
  const clock = { isExact: machine % 2 === 0, boundCycles: machine };
  return { machine, clock, time: { alignment: { method } } };
}

/** Event 10 * machine is the machine's first one. */
const machineOf = (event: number): number => Math.floor(event / 10);
const row = (start: number, end: number, boundCyclesMax = 0) => ({ start, end, boundCyclesMax });
const guests = Array.from({ length: GUESTS }, (_, i) => guestOf(i + 1));

const bounds = new ClockBounds();
for (let a = 0; a <= GUESTS; a++) {
  for (let b = 0; b < a; b++) bounds.set(b, a, 100 * a + b);
}

describe("clockNotes()", () => {
  test("names the pairs that lines cross, each once, with the wider bound", () => {
    const rows = [row(0, 50), row(11, 0), row(10, 1, 140), row(50, 30, 7), row(50, 51), row(0, 52)];
    expect(clockNotes(true, guests, bounds, rows, machineOf)).toEqual([
      { what: "host => guest 1", method: "ping, fitted perf clock", boundCycles: 140 },
      { what: "host => guest 5", method: "ping, fitted perf clock", boundCycles: 500 },
      { what: "guest 3 => guest 5", method: "ping, fitted perf clock", boundCycles: 503 },
    ]);
  });

  test("names each machine beside the first where no line crosses", () => {
    const names = (hasHost: boolean): string[] =>
      clockNotes(hasHost, guests, bounds, [row(10, 11)], machineOf).map(({ what }) => what);
    expect(names(true)).toEqual(guests.map(({ machine }) => `host => guest ${machine}`));
    expect(names(false)).toEqual(
      guests.slice(1).map(({ machine }) => `guest 1 => guest ${machine}`),
    );
  });

  test("says of a guest alone what its own clock is worth", () => {
    const alone = { ...guestOf(2), time: undefined };
    expect(clockNotes(false, [alone], bounds, [], machineOf)).toEqual([
      { what: "guest 2", method: "exact perf clock", boundCycles: 2 },
    ]);
  });

  test("says nothing of the host alone, and of guests whose clock was never known", () => {
    const unknown = { machine: 1, clock: undefined, time: undefined };
    expect(clockNotes(true, [], bounds, [], machineOf)).toEqual([]);
    expect(clockNotes(true, [unknown], bounds, [], machineOf)).toEqual([]);
    const notes = clockNotes(true, [unknown, guestOf(2, "kvm")], bounds, [], machineOf);
    expect(notes.map(({ what }) => what)).toEqual(["host => guest 2"]);
  });
});
