/** The service files agree with what the agent keeps, and are what their programs read. */
import { describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { TRACING_CAPABILITIES } from "../../shared/cli/privileges.ts";
import { CAP_SETPCAP, CAP_SYS_ADMIN, capabilityName } from "../../shared/sys/capability.ts";
import { findProgram } from "../vm/prerequisites.ts";

const PACKAGING = join(import.meta.dirname, "../../agent-guest/packaging");
const UNIT = join(PACKAGING, "systemd/agent-guest.service");
const ANALYZE = findProgram("systemd-analyze");
if (ANALYZE === undefined) console.warn("skipped: the unit's syntax: there is no systemd-analyze");

describe("agent-guest.service", () => {
  const text = readFileSync(UNIT, "utf8");
  const setting = (key: string): string | undefined =>
    new RegExp(`^${key}=(.*)$`, "m").exec(text)?.[1];

  test("AmbientCapabilities is what the agent keeps", () => {
    const kept = TRACING_CAPABILITIES.map(capabilityName);
    expect(setting("AmbientCapabilities")?.split(" ").sort()).toEqual(kept.sort());
  });

  test("CapabilityBoundingSet has besides what kernels may want, and what gives that up", () => {
    const names = [...TRACING_CAPABILITIES, CAP_SETPCAP, CAP_SYS_ADMIN].map(capabilityName);
    expect(setting("CapabilityBoundingSet")?.split(" ").sort()).toEqual(names.sort());
  });

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
