/**
 * Agents as a user who is not root and has exactly these capabilities, as a systemd unit with User=
 * and AmbientCapabilities= gives them:
 *
 *   startAgent(workspace, "agent-host", args, { wrapper: asNobody("perfmon", "dac_read_search") })
 */
import { chownSync, mkdirSync } from "node:fs";
import { findProgram } from "../../vm/prerequisites.ts";
import type { Workspace } from "../../vm/workspace.ts";

export const NOBODY_UID = 65534;

/** Without setpriv (util-linux) there is nothing to start them with. */
export const NO_SETPRIV = findProgram("setpriv") === undefined ? "there is no setpriv" : "";
if (NO_SETPRIV !== "") console.warn(`skipped: agents without privileges: ${NO_SETPRIV}`);

/** The command that starts another one so. Names as setpriv has them: "perfmon". */
export function asNobody(...capabilities: readonly string[]): string[] {
  const sets = ["-all", ...capabilities.map((name) => `+${name}`)].join(",");
  return [
    "setpriv",
    `--reuid=${NOBODY_UID}`,
    `--regid=${NOBODY_UID}`,
    "--clear-groups",
    `--inh-caps=${sets}`,
    `--ambient-caps=${sets}`,
    `--bounding-set=${sets}`,
    "--",
  ];
}

/** A folder where nobody may create files. */
export function nobodysFolder(workspace: Workspace): string {
  const path = workspace.file("nobody");
  mkdirSync(path, { mode: 0o755 });
  chownSync(path, NOBODY_UID, NOBODY_UID);
  return path;
}
