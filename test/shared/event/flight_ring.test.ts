/**
 * Overwritable rings of the real kernel: what a cut keeps, and that its counters add up exactly.
 */
import { describe, expect, test } from "bun:test";
import type { CpuRing, EventSet } from "../../../shared/event/event_set.ts";
import { onlineCpus } from "../../../shared/event/machine.ts";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { CpuVisitor } from "../../../shared/sys/affinity.ts";
import {
  callGetppid,
  NO_TRACING,
  OWN_GETPPID,
  openEvents,
  readSysEnter,
  recordsOf,
} from "./kernel.ts";

const RING_BYTES = 64 * 1024;
/** A sample of sys_enter: header, time, size, 64 bytes of raw data and 4 of padding. */
const SAMPLE_BYTES = 88;
/** Records at the old end that are not believed (shared/perf/backward_ring.ts). */
const RESERVED = 4;
/** Samples that are kept of a full ring. */
const CAPACITY = Math.floor(RING_BYTES / SAMPLE_BYTES - RESERVED);
const [CPU] = onlineCpus() as [number];
const scratch = new Uint8Array(RING_BYTES);

interface Flight extends Disposable {
  readonly set: EventSet;
  readonly ring: CpuRing;
}

function openFlight(text = OWN_GETPPID()): Flight {
  const set = openEvents([text], { cpus: [CPU], ringBytes: RING_BYTES, isOverwrite: true });
  set.enable();
  return { set, ring: set.rings[0]!, [Symbol.dispose]: () => set.close() };
}

function fire(count: number, from: number): void {
  new CpuVisitor().visit(CPU, () => callGetppid(count, from));
}

/** Numbers of the calls whose samples a dump holds. */
function numbersOf({ set, ring }: Flight): number[] {
  return recordsOf(ring.ring)
    .filter(({ type }) => type === PERF_RECORD_SAMPLE)
    .map((record) => readSysEnter(record, set.sampleType).arg0);
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, i) => from + i);

describe.skipIf(NO_TRACING !== "")("cut()", () => {
  test("keeps all of a ring that has room, oldest first, with the count of what was produced", () => {
    using flight = openFlight();
    fire(100, 0);
    const { count, samples } = flight.set.cut(flight.ring, scratch, true);
    expect({ ...count, samples }).toEqual({ produced: 100n, lost: 0n, samples: 100 });
    expect(numbersOf(flight)).toEqual(range(0, 100));
  });

  test("keeps the newest of what was too much, and says how many that are", () => {
    using flight = openFlight();
    fire(50_000, 0);
    const { count, samples } = flight.set.cut(flight.ring, scratch, true);
    expect(count).toEqual({ produced: 50_000n, lost: 0n });
    expect(samples).toBe(CAPACITY);
    expect(numbersOf(flight)).toEqual(range(50_000 - samples, 50_000));
  });

  test("the next one goes on where the last one ended", () => {
    using flight = openFlight();
    const { set, ring } = flight;
    fire(1000, 0);
    set.cut(ring, scratch, true);
    ring.ring.setTail(ring.ring.head);
    fire(30, 1000);
    const { count, samples } = set.cut(ring, scratch, true);
    expect({ ...count, samples }).toEqual({ produced: 1030n, lost: 0n, samples: 30 });
    expect(numbersOf(flight)).toEqual(range(1000, 1030));
  });

  test("one that keeps nothing tells what there would have been", () => {
    using flight = openFlight();
    fire(10, 0);
    expect(flight.set.cut(flight.ring, scratch, false).samples).toBe(10);
    expect(flight.ring.ring.head).toBe(0);
    expect(flight.set.cut(flight.ring, scratch, false).samples).toBe(0);
  });

  test("a dump that nobody has taken is not written over", () => {
    using flight = openFlight();
    fire(10, 0);
    flight.set.cut(flight.ring, scratch, true);
    expect(() => flight.set.cut(flight.ring, scratch, true)).toThrow(
      "Cannot dump into a ring that is not empty",
    );
  });

  test("produced = kept + lost + overwritten holds to the event in the middle of a storm", () => {
    // Every system call of this machine, its own among them, while rings are read.
    using flight = openFlight("raw_syscalls:sys_enter");
    const { set, ring } = flight;
    let kept = 0;
    let before = 0n;
    for (let i = 0; i < 50; i++) {
      fire(i % 2 === 0 ? 50 : 2000, 0);
      const { count, samples } = set.cut(ring, scratch, true);
      kept += samples;
      ring.ring.setTail(ring.ring.head);
      const recorded = count.produced - count.lost;
      const wanted = Number(recorded - before);
      // With room for all, exactly what was recorded since the last time is kept.
      if (wanted <= CAPACITY) expect(samples).toBe(wanted);
      else expect(samples).toBeGreaterThanOrEqual(CAPACITY);
      before = recorded;
    }
    expect(BigInt(kept)).toBeLessThan(before);
  });
});
