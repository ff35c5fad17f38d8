// Instances of tracefs, each a ring with events of its own: instances/vmspan-test-<pid>-<what>.

import { existsSync, mkdirSync, readdirSync, rmdirSync, writeFileSync } from "node:fs";

const PREFIX = "vmspan-test-";

export interface Instance {
  readonly name: string;
  readonly path: string;
}

/**
 * Makes one for this process. Those of processes that are gone are removed first: a run that was
 * killed leaves every event enabled, and each system call of the machine costs a third more.
 */
export function makeInstance(tracefsRoot: string, what: string): Instance {
  const folder = `${tracefsRoot}/instances`;
  for (const name of readdirSync(folder)) {
    if (!name.startsWith(PREFIX)) continue;
    const pid = Number.parseInt(name.slice(PREFIX.length), 10);
    if (!existsSync(`/proc/${pid}`)) removeInstance(`${folder}/${name}`);
  }
  const name = `${PREFIX}${process.pid}-${what}`;
  const path = `${folder}/${name}`;
  mkdirSync(path);
  return { name, path };
}

/** Does nothing when it has gone: trace-cmd removes its own. */
export function removeInstance(path: string): void {
  if (!existsSync(path)) return;
  writeFileSync(`${path}/events/enable`, "0");
  rmdirSync(path);
}
