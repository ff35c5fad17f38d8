/** When the guest reads its clock, and what it says then. */
import { describe, expect, test } from "bun:test";
import { ClockSampler, HISTORY_MAX } from "../../agent-guest/clock_samples.ts";
import type { EventSet } from "../../shared/event/event_set.ts";
import { onlineCpus } from "../../shared/event/machine.ts";
import type { UserTime } from "../../shared/perf/user_time.ts";
import { CLOCK_MONOTONIC_RAW } from "../../shared/sys/abi.ts";
import { readTsc } from "../../shared/sys/clock.ts";

const FITTED = {
  clock: { source: "fitted", clockId: CLOCK_MONOTONIC_RAW },
} as unknown as EventSet;

function exactSet(userTime: UserTime | undefined): EventSet {
  return { clock: { source: "exact" }, userTime: () => userTime } as unknown as EventSet;
}

describe("ClockSampler", () => {
  test("poll() reads often at first, then about once a second", () => {
    const sampler = new ClockSampler(FITTED);
    const taken: number[] = [];
    for (let ms = 0; ms < 5000; ms++) if (sampler.poll(ms).length > 0) taken.push(ms);
    expect(taken[0]).toBe(0);
    expect(taken.filter((ms) => ms < 1000).length).toBeGreaterThanOrEqual(5);
    const late = taken.filter((ms) => ms >= 1500);
    late.slice(1).forEach((ms, i) => {
      expect(ms - late[i]!).toBe(1000);
    });
    expect(sampler.dueInMs(5000)).toBeGreaterThan(0);
    expect(sampler.dueInMs(1e9)).toBe(0);
  });

  test("poll() of a clock to be fitted gives a reading between two of the TSC", () => {
    const before = readTsc();
    const sample = new ClockSampler(FITTED).poll(0)[0]!;
    const after = readTsc();
    expect(sample.conversion!.$case).toBe("fitted");
    const { tscBefore, perfNs, tscAfter } = sample.conversion!.value as {
      tscBefore: bigint;
      perfNs: bigint;
      tscAfter: bigint;
    };
    expect(before <= tscBefore && tscBefore < tscAfter && tscAfter <= after).toBe(true);
    expect(perfNs > 0n).toBe(true);
    expect(before <= sample.realtimeTsc && sample.realtimeTsc <= after).toBe(true);
    const dayNs = 86_400_000_000_000n;
    const apart = sample.realtimeNs - BigInt(Date.now()) * 1_000_000n;
    expect(apart > -dayNs && apart < dayNs).toBe(true);
  });

  test("poll() of an exact clock gives the kernel's own conversion", () => {
    const userTime = { timeZero: 12345n, timeMult: 3, timeShift: 31 };
    expect(new ClockSampler(exactSet(userTime)).poll(0)[0]!.conversion).toEqual({
      $case: "exact",
      value: { timeZero: 12345n, mult: 3, shift: 31 },
    });
  });

  test("poll() says so when the kernel withdraws its conversion", () => {
    expect(() => new ClockSampler(exactSet(undefined)).poll(0)).toThrow(
      "the kernel has withdrawn the conversion of perf times",
    );
  });

  test("history keeps the newest readings, and no more", () => {
    const sampler = new ClockSampler(FITTED);
    for (let ms = 0; ms < 60_000; ms += 500) sampler.poll(ms);
    expect(sampler.history.length).toBe(HISTORY_MAX);
    const stamps = sampler.history.map(({ realtimeTsc }) => realtimeTsc);
    expect(stamps).toEqual(stamps.toSorted((a, b) => (a < b ? -1 : 1)));
  });

  test("poll() reads on every CPU once the reference is known, and again and again", () => {
    const cpus = onlineCpus();
    const sampler = new ClockSampler(FITTED, cpus);
    const readings = new Map<number, number>();
    for (let ms = 0; ms < 35_000; ms += 5) {
      for (const { cpu, conversion } of sampler.poll(ms)) {
        expect(conversion!.$case).toBe("fitted");
        readings.set(cpu, (readings.get(cpu) ?? 0) + 1);
      }
    }
    const [reference, ...others] = cpus;
    expect(readings.get(reference!)).toBeGreaterThan(35);
    // A loaded machine may keep a visit waiting: the next one is then left out.
    for (const cpu of others) expect(readings.get(cpu) ?? 0).toBeGreaterThanOrEqual(2);
    const kept = sampler.history.map(({ cpu }) => cpu);
    expect(kept.filter((cpu) => cpu === reference).length).toBe(HISTORY_MAX);
    expect(new Set(kept)).toEqual(new Set(cpus));
    expect(kept[0]).toBe(reference);
  });

  test("poll() does not go to CPUs that are to be avoided, nor beside an exact clock", () => {
    const [reference, ...others] = onlineCpus();
    const avoiding = new ClockSampler(FITTED, [reference!, ...others], others);
    const exact = new ClockSampler(
      exactSet({ timeZero: 1n, timeMult: 3, timeShift: 31 }),
      onlineCpus(),
    );
    for (let ms = 0; ms < 25_000; ms += 5) {
      const samples = [...avoiding.poll(ms), ...exact.poll(ms)];
      expect(samples.every(({ cpu }) => cpu === reference)).toBe(true);
    }
  });
});
