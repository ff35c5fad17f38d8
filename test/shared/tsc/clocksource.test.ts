/** What the names of clocksources mean. */
import { expect, test } from "bun:test";
import { clocksourceOf, hasOldStamps, TSC_CLOCKSOURCE } from "../../../shared/tsc/clocksource.ts";

test("clocksourceOf() knows what is the TSC itself, and what CPUs share", () => {
  expect(clocksourceOf("tsc")).toBe(TSC_CLOCKSOURCE);
  expect(clocksourceOf("kvm-clock")).toEqual({ granuleNs: 1, isTsc: false, isShared: false });
  expect(clocksourceOf("hpet")).toEqual({ granuleNs: 101, isTsc: false, isShared: true });
});

test("clocksourceOf() takes any other name for a coarse counter", () => {
  for (const name of ["", "jiffies", "toString", "__proto__", "tsc\n", "\x1b[2J"]) {
    expect(clocksourceOf(name)).toEqual({ granuleNs: 1_001, isTsc: false, isShared: false });
  }
});

test("hasOldStamps() is so where several CPUs share readings", () => {
  const [hpet, tsc] = [clocksourceOf("hpet"), clocksourceOf("tsc")];
  expect([hasOldStamps(hpet, 2), hasOldStamps(hpet, 1), hasOldStamps(tsc, 2)]).toEqual([
    true,
    false,
    false,
  ]);
});
