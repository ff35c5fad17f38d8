/** A guest's clock out of its samples, read on several CPUs. */
import { describe, expect, test } from "bun:test";
import { GuestClock } from "../../../agent-host/session/guest_clock.ts";
import { TSC_CLOCKSOURCE } from "../../../shared/tsc/clocksource.ts";
import type { ClockSample } from "../../../shared/wire/gen/vmspan/v1/channel.ts";

/** 3 GHz; the guest's clock is one for all its CPUs, their TSCs are not. */
const TSC_AT_ZERO = 1n << 54n;
const APART = 9_000_000n;

function sample(cpu: number, ns: bigint, ahead = 0n, epoch = 0): ClockSample {
  const tsc = TSC_AT_ZERO + 3n * ns + ahead;
  return {
    cpu,
    epoch,
    conversion: {
      $case: "fitted",
      value: { tscBefore: tsc - 50n, perfNs: ns, tscAfter: tsc + 50n },
    },
    realtimeNs: ns,
    realtimeTsc: tsc,
  };
}

/** Readings of CPU 0 each second up to `seconds`. */
function clockOf(seconds: number): GuestClock {
  const clock = new GuestClock(TSC_AT_ZERO, TSC_CLOCKSOURCE);
  for (let i = 0n; i <= seconds; i++) clock.add(sample(0, i * 1_000_000_000n));
  return clock;
}

const NS = 9_000_000_000n;

describe("GuestClock", () => {
  test("readings of other CPUs are held against the first's, and do not move its line", () => {
    const clock = clockOf(8);
    const before = clock.boundCycles;
    clock.add(sample(1, 8_100_000_000n, APART));
    expect(clock.epoch).toBe(0);
    expect(clock.boundCycles).toBe(before);
    expect(clock.referenceCpu).toBe(0);
    expect(clock.readingCount).toBe(9);
    expect(clock.skews.apart).toMatchObject([{ cpu: 1 }]);
  });

  test("a CPU that is apart has its own line, and one relation for all is wider by the spread", () => {
    const clock = clockOf(8);
    clock.add(sample(1, 8_100_000_000n, APART));
    clock.add(sample(2, 8_200_000_000n));
    const at = (map = clock.map) => map!.convert(NS);
    const truth = (ahead: bigint) => Number(3n * NS + ahead);
    for (const [cpu, ahead] of [
      [0, 0n],
      [1, APART],
      [2, 0n],
    ] as const) {
      const { cycles, boundCycles } = at(clock.mapFor(cpu));
      expect(Math.abs(cycles - truth(ahead))).toBeLessThanOrEqual(boundCycles);
      expect(boundCycles).toBeLessThan(1000);
    }
    const shared = at(clock.sharedMap);
    expect(shared.boundCycles).toBeGreaterThanOrEqual(Number(APART));
    for (const ahead of [0n, APART]) {
      expect(Math.abs(shared.cycles - truth(ahead))).toBeLessThanOrEqual(shared.boundCycles);
    }
  });

  test("CPUs in step share one line, without another bound", () => {
    const clock = clockOf(8);
    clock.add(sample(1, 8_100_000_000n, 3n));
    expect(clock.mapFor(1)).toBe(clock.map);
    expect(clock.sharedMap).toBe(clock.map);
  });

  test("after a step of the clock nothing is known of the other CPUs", () => {
    const clock = clockOf(8);
    clock.add(sample(1, 8_100_000_000n, APART));
    clock.add(sample(0, 9_000_000_000n, 1_000_000_000n, 1));
    expect(clock.epoch).toBe(1);
    expect(clock.skews.list()).toEqual([]);
  });

  test("an older reading of another CPU does not turn the time of day back", () => {
    const clock = clockOf(8);
    clock.add(sample(1, 2_000_000_000n));
    expect(clock.wall!.realtimeNs).toBe(8_000_000_000n);
  });
});
