/**
 * The two kernel file systems that tracing on the host goes through. Systemd mounts them on an
 * ordinary machine; containers and small virtual machines often come without.
 */

import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";

const MOUNTS = [
  { type: "tracefs", path: "/sys/kernel/tracing", probe: "/sys/kernel/tracing/events" },
  { type: "debugfs", path: "/sys/kernel/debug", probe: "/sys/kernel/debug/tracing" },
] as const;

/**
 * Mounts tracefs and debugfs where they are missing; they stay mounted.
 * @returns the mount points that were added
 */
export function ensureTracingMounts(): string[] {
  const added: string[] = [];
  for (const { type, path, probe } of MOUNTS) {
    if (existsSync(probe)) {
      continue;
    }
    execFileSync("mount", ["--types", type, "nodev", path], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    added.push(path);
  }
  return added;
}
