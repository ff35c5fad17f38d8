/**
 * What the bench needs from the kernel beyond shared/sys: the CPU time of another process.
 *
 * Two readings, each precise at its moment:
 *
 *   while it runs   clock_gettime on the CPU clock of its process id: nanoseconds, all threads
 *   once it ended   the rusage that waitid(2) fills: microseconds, with all children it waited for
 *
 * Both come from the scheduler's exact run times. /proc/PID/stat shows the same sums, but in ticks
 * of 10 ms: 5 ns per event on two million events.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { SYS } from "../../shared/sys/abi.ts";
import { checked, SysError } from "../../shared/sys/errno.ts";
import { addressOf, syscall } from "../../shared/sys/syscall.ts";

const SYS_WAITID = 247;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
/** Leaves the process to be waited for by the runtime that spawned it. */
const WNOWAIT = 0x01000000;
const ESRCH = 3;
const EINVAL = 22;

/** The clock of a process: the complement of its id, and CPUCLOCK_SCHED (2) in the low bits. */
function cpuClockOf(pid: number): number {
  return (~pid << 3) | 2;
}

/** CPU time of process `pid`, all threads, in ns; 0 when it is gone. Throws SysError. */
export function processCpuNs(pid: number): number {
  const timespec = new Uint32Array(4);
  const result = syscall(SYS.clock_gettime, cpuClockOf(pid), addressOf(timespec), 0, 0, 0, 0);
  if (result === -ESRCH || result === -EINVAL) return 0;
  checked(result, `read the CPU clock of process ${pid}`);
  return timespec[0]! * 1e9 + timespec[2]!;
}

/** Reads a file of a process that may end at any moment: empty when it did. */
export function readProcFile(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    const { code } = error as { code?: string };
    if (code === "ENOENT" || code === "ESRCH") return "";
    throw error;
  }
}

/** `pid` and all its descendants. */
export function processTree(pid: number): number[] {
  const children = readProcFile(`/proc/${pid}/task/${pid}/children`).split(" ").filter(Boolean);
  return [pid, ...children.flatMap((child) => processTree(Number(child)))];
}

/** CPU time of `pid` and its running descendants, in ns. */
export function treeCpuNs(pid: number): number {
  return processTree(pid).reduce((sum, each) => sum + processCpuNs(each), 0);
}

/** How many perf events the tree of `pid` holds open. */
export function openPerfEvents(pid: number): number {
  return processTree(pid)
    .flatMap((each) => {
      try {
        return readdirSync(`/proc/${each}/fd`).map((fd) => `/proc/${each}/fd/${fd}`);
      } catch (error) {
        if ((error as { code?: string }).code === "ENOENT") return [];
        throw error;
      }
    })
    .filter((path) => linkTarget(path) === "anon_inode:[perf_event]").length;
}

function linkTarget(path: string): string {
  try {
    return readlinkSync(path);
  } catch (error) {
    if ((error as { code?: string }).code === "ENOENT") return "";
    throw error;
  }
}

/** Bytes and calls that `pid` has written, from /proc/PID/io: {wchar, syscw}. */
export function writtenBy(pid: number): { readonly bytes: number; readonly calls: number } {
  const text = readProcFile(`/proc/${pid}/io`);
  const field = (name: string): number =>
    Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1] ?? 0);
  return { bytes: field("wchar"), calls: field("syscw") };
}

/** Resident memory of `pid` in bytes. */
export function residentBytes(pid: number): number {
  const kib = /^VmRSS:\s+(\d+) kB$/m.exec(readProcFile(`/proc/${pid}/status`))?.[1];
  return Number(kib ?? 0) * 1024;
}

/** Blocks this thread. The event loop must not run while a child is watched by waitForExit(). */
export function blockMs(milliseconds: number): void {
  syscall(SYS.poll, 0, 0, milliseconds, 0, 0, 0);
}

export interface ExitUsage {
  /** User and system time of the process and of the children it waited for. */
  readonly cpuNs: number;
  readonly exitCode: number;
}

/**
 * Waits until child `pid` has ended, without taking it from the runtime. Undefined when it has not
 * after `deadlineMs`. Throws SysError when it is no child of ours.
 */
export function waitForExit(pid: number, deadlineMs: number): ExitUsage | undefined {
  // struct siginfo: si_pid at 16, si_status at 24; struct rusage: two struct timeval {s64, s64}.
  // Must match <asm-generic/siginfo.h> and <linux/resource.h>.
  const siginfo = new Uint32Array(32);
  const rusage = new Uint32Array(36);
  const endMs = performance.now() + deadlineMs;
  const options = WEXITED | WNOWAIT | WNOHANG;
  while (performance.now() < endMs) {
    const [infoAt, usageAt] = [addressOf(siginfo), addressOf(rusage)];
    const result = syscall(SYS_WAITID, P_PID, pid, infoAt, options, usageAt, 0);
    if (result < 0) throw new SysError(`wait for process ${pid}`, -result);
    if (siginfo[4] === pid) {
      const seconds = rusage[0]! + rusage[4]!;
      const microseconds = rusage[2]! + rusage[6]!;
      return { cpuNs: seconds * 1e9 + microseconds * 1e3, exitCode: siginfo[6]! };
    }
    blockMs(2);
  }
  return undefined;
}

/** Ties this process, all threads that it starts from now on, and its children to one CPU. */
export function pinSelf(cpu: number): void {
  const mask = new Uint32Array(32);
  mask[cpu >> 5] = 1 << (cpu & 31);
  const result = syscall(SYS.sched_setaffinity, 0, mask.byteLength, addressOf(mask), 0, 0, 0);
  checked(result, `run on CPU ${cpu} only`);
}
