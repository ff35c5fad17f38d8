/** Which threads -p PID and -t TID sample: perf has one descriptor for each. */
import { readdirSync } from "node:fs";
import { ESRCH, SysError } from "../sys/errno.ts";
import { isPresent } from "./machine.ts";

/** Thread ids of a process, or the one; -1 stands for all. Throws SysError when it is gone. */
export function sampledThreads(pid: number, isWholeProcess: boolean): number[] {
  if (!isWholeProcess) {
    if (pid >= 0 && !isPresent(`/proc/${pid}`)) throw new SysError(`sample thread ${pid}`, ESRCH);
    return [pid];
  }
  try {
    return readdirSync(`/proc/${pid}/task`).map(Number);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "ENOENT") throw error;
    throw new SysError(`sample process ${pid}`, ESRCH);
  }
}
