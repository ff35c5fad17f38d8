/** How many CPUs a guest may have: at once, and over its life. */
import { expect, test } from "bun:test";
import { RINGS_MAX, SOURCES_MAX } from "../../../agent-host/analyze/merger.ts";
import { checkCpus, GUEST_CPUS_MAX } from "../../../agent-host/session/guest_cpus.ts";

const cpusFrom = (first: number, count: number): { cpu: number }[] =>
  Array.from({ length: count }, (_, i) => ({ cpu: first + i }));
const seen = (first: number, count: number): Map<number, null> =>
  new Map(cpusFrom(first, count).map(({ cpu }) => [cpu, null]));

test("checkCpus() wants at least one, and counts those of earlier streams once", () => {
  const check = (cpus: { cpu: number }[], before = seen(0, 0)) => checkCpus({ cpus }, "x", before);
  expect(() => check([])).toThrow("Cannot use x: it names no CPU");
  check(cpusFrom(0, GUEST_CPUS_MAX));
  check(cpusFrom(0, GUEST_CPUS_MAX), seen(0, GUEST_CPUS_MAX));
  expect(() => check(cpusFrom(0, GUEST_CPUS_MAX + 1))).toThrow(
    "Cannot use x: it has 1025 CPUs, wants at most 1024",
  );
  // What a list repeats is no CPU more, and would be a list without end.
  expect(() => check(new Array(2000).fill({ cpu: 0 }))).toThrow("it has 2000 CPUs");
  expect(() => check(cpusFrom(1, 1), seen(2, GUEST_CPUS_MAX))).toThrow(
    "Cannot use x: it has had 1025 CPUs, wants at most 1024",
  );
});

test("all sources of a session together have rings enough", () => {
  expect(RINGS_MAX).toBeGreaterThanOrEqual(SOURCES_MAX * GUEST_CPUS_MAX);
});
