/** The service files agree with what the agent keeps, and are what their programs read. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { tracingCapabilities } from "../../shared/cli/privileges.ts";
import { capabilityName } from "../../shared/sys/capability.ts";
import { findProgram } from "../vm/prerequisites.ts";

const PACKAGING = join(import.meta.dirname, "../../agent-guest/packaging");
const UNIT = join(PACKAGING, "systemd/agent-guest.service");
const ANALYZE = findProgram("systemd-analyze");
if (ANALYZE === undefined) console.warn("skipped: the unit's syntax: there is no systemd-analyze");

describe("agent-guest.service", () => {
  const text = readFileSync(UNIT, "utf8");
  const setting = (key: string): string | undefined =>
    new RegExp(`^${key}=(.*)$`, "m").exec(text)?.[1];

  for (const key of ["CapabilityBoundingSet", "AmbientCapabilities"]) {
    test(`${key} is what the agent keeps: it need not start itself again`, () => {
      const kept = tracingCapabilities().map(capabilityName);
      expect(setting(key)?.split(" ").sort()).toEqual(kept.sort());
    });
  }

  test("keeps privileges from growing, and lets the JIT work", () => {
    expect(setting("NoNewPrivileges")).toBe("true");
    expect(setting("MemoryDenyWriteExecute")).toBeUndefined();
  });

  test.skipIf(ANALYZE === undefined)("is a unit that systemd reads without a complaint", () => {
    const { stderr } = spawnSync(ANALYZE!, ["verify", UNIT], { encoding: "utf8" });
    const complaints = stderr.split("\n").filter((line) => line.includes("agent-guest.service:"));
    // The program and its settings are not installed here.
    expect(complaints.filter((line) => !line.includes("is not executable"))).toEqual([]);
  });
});

test("agent-guest (sysv) is a shell script without mistakes", () => {
  const { status, stderr } = spawnSync("sh", ["-n", join(PACKAGING, "sysv/agent-guest")], {
    encoding: "utf8",
  });
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
});
