/**
 * Ground truth for a guest's perf clock: sandwiches made in it (sandwich_program.ts), replayed here
 * through the same clocks that agent-host has.
 */
import { expect } from "bun:test";
import { resolve } from "node:path";
import { CLOCKSOURCE_PATH } from "../../shared/event/machine.ts";
import { clocksourceOf, hasOldStamps } from "../../shared/tsc/clocksource.ts";
import { FittedPerfClock } from "../../shared/tsc/perf_clock_fit.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { SANDWICH_CALLS, type Sandwich } from "../shared/tsc/sandwich_maker.ts";
import { proveSandwiches } from "../shared/tsc/sandwich_proof.ts";
import type { QemuGuest } from "./qemu.ts";

const PROGRAM = resolve(import.meta.dirname, "sandwich_program.ts");
const PROGRAM_IN_GUEST = "/usr/share/sandwich.js";
const RUN_DEADLINE_MS = 60_000;
/** Where CPUs share a clocksource's readings: one stamp of so many may be older than its event. */
const STAMPS_PER_OLD_MIN = 100;

type Reading = Readonly<Record<string, string | number>>;

/** The program as a file of an initramfs. */
export async function sandwichFile(): Promise<Record<string, string>> {
  const built = await Bun.build({ entrypoints: [PROGRAM], target: "bun" });
  return { [PROGRAM_IN_GUEST]: await built.outputs[0]!.text() };
}

/**
 * Makes `turns` of SANDWICH_CALLS in the guest, and holds its clock against all of them, but for
 * stamps that are older than their events where its CPUs share readings: those are counted.
 */
export async function proveInGuest(guest: QemuGuest, name: string, turns: number): Promise<string> {
  const command = `BUN_BE_BUN=1 agent-guest run ${PROGRAM_IN_GUEST} ${turns}`;
  const output = await guest.shell.output(command, RUN_DEADLINE_MS);
  const said = JSON.parse(output.trimEnd().split("\n").at(-1)!) as {
    readonly source: string;
    readonly readings: readonly Reading[];
    readonly sandwiches: readonly (readonly [string, string, string])[];
  };
  const sandwiches = said.sandwiches.map(([before, ns, after]): Sandwich => {
    return { before: BigInt(before), ns: BigInt(ns), after: BigInt(after) };
  });
  const anchor = sandwiches[0]!.before;
  const facts = await guest.shell.output(`cat ${CLOCKSOURCE_PATH}; nproc`);
  const [clocksourceName = "", cpuCount] = facts.split("\n");
  const clocksource = clocksourceOf(clocksourceName);
  const isExact = said.source === "exact";
  const clock = isExact ? new ExactPerfClock(anchor) : new FittedPerfClock(anchor, clocksource);
  for (const reading of said.readings) addReading(clock, reading);
  const what = `${name}, ${said.source}, ${clocksourceName}, ${cpuCount} CPUs`;
  const count = turns * SANDWICH_CALLS;
  const isProved = isExact || !hasOldStamps(clocksource, Number(cpuCount));
  const proved = isProved ? sandwiches : withoutOld(what, clock.map, sandwiches, anchor);
  const oldCount = sandwiches.length - proved.length;
  proveSandwiches(what, clock.map, proved, anchor, count - oldCount);
  return said.source;
}

/** Those whose stamps are not older than their events. Says how many the others are: few. */
function withoutOld(
  what: string,
  map: TimeMap,
  sandwiches: readonly Sandwich[],
  anchor: bigint,
): readonly Sandwich[] {
  const olderBy = ({ before, ns }: Sandwich): number => {
    const { cycles, boundCycles } = map.convert(ns);
    return Number(before - anchor) - cycles - boundCycles;
  };
  const kept = sandwiches.filter((each) => olderBy(each) <= 0);
  const oldest = Math.round(Math.max(...sandwiches.map(olderBy)));
  const oldCount = sandwiches.length - kept.length;
  console.log(`${what}: ${oldCount} stamps older than their events, by ${oldest} cycles at most`);
  expect(oldCount).toBeLessThanOrEqual(sandwiches.length / STAMPS_PER_OLD_MIN);
  return kept;
}

function addReading(clock: ExactPerfClock | FittedPerfClock, reading: Reading): void {
  const at = (name: string): bigint => BigInt(reading[name]!);
  if (clock instanceof FittedPerfClock) {
    clock.add({ tscBefore: at("tscBefore"), ns: at("ns"), tscAfter: at("tscAfter") });
    return;
  }
  const { mult, shift } = reading;
  const conversion = perfConversion(at("timeZero"), Number(mult), Number(shift));
  clock.update(conversion, perfNsOfTsc(conversion, at("tsc")));
}
