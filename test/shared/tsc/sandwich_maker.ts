/**
 * Sandwiches: rdtsc, an event of the kernel, rdtsc; and between turns of them the clock is read, as
 * the agents do. Runs in tests and, as a program, in guests (test/vm/sandwich_program.ts).
 */
import type { EventSet } from "../../../shared/event/event_set.ts";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { readTsc } from "../../../shared/sys/clock.ts";
import { callGetppid, readSysEnter, recordsOf } from "../event/kernel.ts";

/** Sandwiches of one turn. */
export const SANDWICH_CALLS = 100;

export interface Sandwich {
  readonly before: bigint;
  /** perf time of the event. */
  readonly ns: bigint;
  readonly after: bigint;
}

/** Sandwiches of all turns, of OWN_GETPPID in `set`; `read` is called between turns. */
export function makeSandwiches(set: EventSet, turns: number, read: () => void): Sandwich[] {
  const made: Sandwich[] = [];
  set.enable();
  for (let turn = 0; turn < turns; turn++) {
    const [before, after]: [bigint[], bigint[]] = [[], []];
    for (let i = 0; i < SANDWICH_CALLS; i++) {
      before.push(readTsc());
      callGetppid(1, i);
      after.push(readTsc());
    }
    for (const { ring } of set.rings) {
      for (const record of recordsOf(ring)) {
        if (record.type !== PERF_RECORD_SAMPLE) continue;
        const { arg0, timeNs } = readSysEnter(record, set.sampleType);
        made.push({ before: before[arg0]!, ns: timeNs, after: after[arg0]! });
      }
      ring.setTail(ring.head);
    }
    read();
  }
  set.disable();
  return made;
}
