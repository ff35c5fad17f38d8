/** The host's clock, at the end of what a run's times can hold. */
import { describe, expect, test } from "bun:test";
import { HostClock } from "../../../agent-host/session/host_clock.ts";
import {
  isTimeLineOver,
  TIME_LINE_CYCLES_MAX,
  TimeLineError,
} from "../../../agent-host/session/time_line.ts";
import { EXIT, failureOf } from "../../../shared/cli/failure.ts";
import { readTsc } from "../../../shared/sys/clock.ts";

const LEFT = BigInt(TIME_LINE_CYCLES_MAX);
/** A minute or so of the TSC. */
const MINUTE = 200_000_000_000n;

function clockOf(anchor: bigint): HostClock {
  const clock = new HostClock(BigInt.asUintN(64, anchor));
  for (let i = 0; i < 5; i++) clock.tick(10_000 * i);
  return clock;
}

describe("HostClock.tick()", () => {
  test("reads up to a little before 2^53 cycles, and ends there", () => {
    const before = clockOf(readTsc() - LEFT + MINUTE);
    expect([before.isAtEnd, before.isReady, before.boundCycles < 1e12]).toEqual([
      false,
      true,
      true,
    ]);
    const after = clockOf(readTsc() - LEFT);
    expect([after.isAtEnd, after.fit.readingCount]).toEqual([true, 0]);
  });

  test("a TSC that is set anywhere ends it, too, and throws nothing", () => {
    for (const far of [1n << 54n, -(1n << 54n), 1n << 63n]) {
      expect(clockOf(readTsc() + far).isAtEnd).toBe(true);
    }
  });
});

describe("TimeLineError", () => {
  test("is no bug: the run was that long", () => {
    const { exitCode, stack, hint } = failureOf(new TimeLineError());
    expect([exitCode, stack]).toEqual([EXIT.FAILED, undefined]);
    expect(hint).toContain("start it again");
  });

  test("isTimeLineOver() looks at the distance on a clock that wraps", () => {
    expect(isTimeLineOver(5n, (1n << 64n) - 5n)).toBe(false);
    expect(isTimeLineOver(LEFT - 1n, 0n)).toBe(false);
    expect(isTimeLineOver(LEFT, 0n)).toBe(true);
    expect(isTimeLineOver(0n, LEFT)).toBe(true);
  });
});
