/**
 * In a guest: sandwiches of its kernel's events, and what its agent would read of the clock in
 * between, as one JSON line. Runs on the runtime that is in agent-guest:
 *
 *   BUN_BE_BUN=1 agent-guest run sandwich.js 20
 *   {"source":"exact","readings":[{"timeZero":"-7","mult":436906,"shift":20,"tsc":"123"}, ...],
 *    "sandwiches":[["123456","789","123499"], ...]}
 */
import { clockBracket, readTsc } from "../../shared/sys/clock.ts";
import { OWN_GETPPID, openEvents } from "../shared/event/kernel.ts";
import { makeSandwiches } from "../shared/tsc/sandwich_maker.ts";

const ROUNDS = 32;
const turns = Number(process.argv.at(-1));

const set = openEvents([OWN_GETPPID()], { ringBytes: 256 * 1024 });

function read(): Record<string, string | number> {
  const { clock } = set;
  if (clock.source === "exact") {
    const { timeZero, timeMult: mult, timeShift: shift } = set.userTime()!;
    return { timeZero: `${timeZero}`, mult, shift, tsc: `${readTsc()}` };
  }
  const { tscBefore, ns, tscAfter } = clockBracket(clock.clockId, ROUNDS);
  return { tscBefore: `${tscBefore}`, ns: `${ns}`, tscAfter: `${tscAfter}` };
}

const readings = [read()];
const sandwiches = makeSandwiches(set, turns, () => readings.push(read()));
set.close();
const rows = sandwiches.map(({ before, ns, after }) => [`${before}`, `${ns}`, `${after}`]);
console.log(JSON.stringify({ source: set.clock.source, readings, sandwiches: rows }));
