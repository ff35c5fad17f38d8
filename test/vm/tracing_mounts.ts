/**
 * The two kernel file systems that tracing on the host goes through. Systemd mounts them on an
 * ordinary machine; containers and small virtual machines often come without.
 */

import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { PrerequisiteError } from "./prerequisites.ts";

const MOUNTS = [
  { type: "tracefs", path: "/sys/kernel/tracing", probe: "/sys/kernel/tracing/events" },
  { type: "debugfs", path: "/sys/kernel/debug", probe: "/sys/kernel/debug/tracing" },
] as const;

/**
 * Mounts tracefs and debugfs where they are missing; they stay mounted.
 * @returns the mount points that were added
 * @throws PrerequisiteError in the words of mount(8), without the right to mount for example
 */
export function ensureTracingMounts(): string[] {
  const added: string[] = [];
  for (const { type, path, probe } of MOUNTS) {
    if (existsSync(probe)) {
      continue;
    }
    const mount = spawnSync("mount", ["--types", type, "nodev", path], { encoding: "utf8" });
    if (mount.status !== 0) {
      const reason = mount.error?.message ?? mount.stderr.trim();
      throw new PrerequisiteError(`Cannot mount ${type} on "${path}": ${reason}`);
    }
    added.push(path);
  }
  return added;
}
