// What a run that was killed leaves on for the whole machine goes with the next one.

import { expect, test } from "bun:test";
import { existsSync, mkdirSync, writeFileSync } from "node:fs";
import { NO_TRACING } from "../../event/kernel.ts";
import { makeInstance, removeInstance } from "./instance.ts";

const ROOT = "/sys/kernel/tracing";
/** No process has it: the kernel's numbers end at 4194304. */
const GONE_PID = 99_999_999;

test.skipIf(NO_TRACING !== "")("makeInstance() removes those of processes that are gone", () => {
  const left = `${ROOT}/instances/vmspan-test-${GONE_PID}-left`;
  mkdirSync(left);
  writeFileSync(`${left}/events/sched/sched_switch/enable`, "1");
  const { path } = makeInstance(ROOT, "test");
  try {
    expect(existsSync(left)).toBe(false);
    expect(existsSync(path)).toBe(true);
  } finally {
    removeInstance(path);
  }
  expect(existsSync(path)).toBe(false);
  removeInstance(path);
});
