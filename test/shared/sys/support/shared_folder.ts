/**
 * A folder in which everybody may create files, like /tmp, and beside it a file that nobody is to
 * be led to from there. Making files of other users wants root.
 */
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import process from "node:process";
import { Workspace } from "../../../vm/workspace.ts";

export const OTHER_UID = 65534;
export const IS_ROOT = process.geteuid?.() === 0;
if (!IS_ROOT) console.warn("skipped: files of other users: making them wants root");

export function makeSharedFolder(): { workspace: Workspace; shared: string; victim: string } {
  const workspace = new Workspace();
  const shared = workspace.file("tmp");
  mkdirSync(shared);
  chmodSync(shared, 0o1777);
  const victim = workspace.file("victim");
  writeFileSync(victim, "precious");
  return { workspace, shared, victim };
}
