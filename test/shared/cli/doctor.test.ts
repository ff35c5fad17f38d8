/** What doctor makes of what a machine says; real machines are asked in live tests and test/vm. */
import { expect, test } from "bun:test";
import { perfClockFinding } from "../../../shared/cli/doctor.ts";

test("perfClockFinding() warns where CPUs share readings of the clock that stamps are of", () => {
  expect(perfClockFinding("fitted", "hpet", 2)).toMatchObject({
    severity: "warn",
    detail: expect.stringContaining("CPUs share readings of hpet"),
  });
  for (const [source, clocksource, cpuCount] of [
    ["fitted", "hpet", 1],
    ["fitted", "kvm-clock", 2],
    ["exact", "hpet", 2],
  ] as const) {
    expect(perfClockFinding(source, clocksource, cpuCount).severity).toBe("ok");
  }
});
