/**
 * Looking through /proc, where processes come and go and some are not ours to see: with hidepid=1
 * their folders are there, and all that is in them gives EPERM.
 */
import { readdirSync } from "node:fs";

/** Processes looked at, most: the kernel's own limit is 4 million. */
const PROCESSES_MAX = 1 << 22;

/** Calls `visit` with the pid of every process until it returns true. */
export function someProcess(procfs: string, visit: (pid: number) => boolean): void {
  let visited = 0;
  for (const name of readdirSync(procfs)) {
    if (!/^[0-9]+$/.test(name)) continue;
    if (++visited > PROCESSES_MAX || visit(Number(name))) return;
  }
}

/** Reads, or gives `otherwise` for what has ended or is not ours to see. */
export function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM") {
      return otherwise;
    }
    throw error;
  }
}
