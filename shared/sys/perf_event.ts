/**
 * perf_event_open(2) and its ioctls; request numbers must match PERF_EVENT_IOC_* in
 * <linux/perf_event.h>.
 */
import { SYS } from "./abi.ts";
import { SysError } from "./errno.ts";
import { Fd } from "./fd.ts";
import { addressOf, cString, syscall } from "./syscall.ts";

const PERF_FLAG_FD_CLOEXEC = 8;
const IOC_ENABLE = 0x2400;
const IOC_DISABLE = 0x2401;
const IOC_SET_OUTPUT = 0x2405;
const IOC_PAUSE_OUTPUT = 0x40042409;
const IOC_SET_FILTER = 0x40082406;
const IOC_ID = 0x80082407;

function hintFor(errno: number): string | undefined {
  const [EPERM, EACCES, EMFILE, EOVERFLOW] = [1, 13, 24, 75];
  if (errno === EMFILE) return "raise the limit on open files (ulimit -n)";
  if (errno === EOVERFLOW) return "max-stack is over /proc/sys/kernel/perf_event_max_stack";
  if (errno !== EPERM && errno !== EACCES) return undefined;
  return (
    "run as root or with CAP_PERFMON, or lower /proc/sys/kernel/perf_event_paranoid to -1 (Debian " +
    "and Ubuntu want CAP_SYS_ADMIN while it is above 2)"
  );
}

/** Opens an event on `pid` (-1: all) and `cpu` (-1: any). Throws SysError. */
export function openPerfEvent(attr: Uint8Array, pid: number, cpu: number, what: string): Fd {
  const at = addressOf(attr);
  const result = syscall(SYS.perf_event_open, at, pid, cpu, -1, PERF_FLAG_FD_CLOEXEC, 0);
  if (result >= 0) return new Fd(result, `${what} on CPU ${cpu}`);
  throw new SysError(`open event ${what} on CPU ${cpu}`, -result, hintFor(-result));
}

function control(fd: Fd, request: number, argument: number, action: string): void {
  const result = syscall(SYS.ioctl, fd.number, request, argument, 0, 0, 0);
  if (result < 0) throw new SysError(`${action} ${fd.what}`, -result);
}

export function enablePerfEvent(fd: Fd): void {
  control(fd, IOC_ENABLE, 0, "enable");
}

export function disablePerfEvent(fd: Fd): void {
  control(fd, IOC_DISABLE, 0, "disable");
}

/**
 * Stops (or lets again) everything from being written to the ring that `fd` maps. Its events are
 * counted on: what would have been written counts as lost, by each event (Linux 4.7, 6.0).
 */
export function pausePerfOutput(fd: Fd, isPaused: boolean): void {
  control(fd, IOC_PAUSE_OUTPUT, isPaused ? 1 : 0, "pause the output of");
}

/** Sends `fd`'s records to the ring of `target`, which must be on the same CPU and clock. */
export function setPerfOutput(fd: Fd, target: Fd): void {
  control(fd, IOC_SET_OUTPUT, target.number, "redirect the output of");
}

/**
 * Sets a tracepoint filter; false when the kernel does not take it: EINVAL, or ENOENT for a field,
 * or EPERM, which is what its parser says where an operator is wrong or missing.
 */
export function setPerfFilter(fd: Fd, filter: string): boolean {
  const text = cString(filter);
  const result = syscall(SYS.ioctl, fd.number, IOC_SET_FILTER, addressOf(text), 0, 0, 0);
  const [EPERM, ENOENT, EINVAL] = [1, 2, 22];
  if (result === -EPERM || result === -ENOENT || result === -EINVAL) return false;
  if (result < 0) throw new SysError(`set the filter of ${fd.what}`, -result);
  return true;
}

/** The id that PERF_SAMPLE_IDENTIFIER puts into this event's records. */
export function perfEventId(fd: Fd): bigint {
  const id = new BigUint64Array(1);
  control(fd, IOC_ID, addressOf(id), "read the id of");
  return id[0]!;
}

/** How often the event fired, and how often its record found no room (0 where not known). */
export interface PerfCount {
  readonly produced: bigint;
  readonly lost: bigint;
}

/** read(2) of the counter; `hasLost` when opened with PERF_FORMAT_LOST. */
export function readPerfCount(fd: Fd, hasLost: boolean): PerfCount {
  const values = new BigUint64Array(2);
  const bytes = hasLost ? 16 : 8;
  const result = syscall(SYS.read, fd.number, addressOf(values), bytes, 0, 0, 0);
  if (result < 0) throw new SysError(`read the count of ${fd.what}`, -result);
  return { produced: values[0]!, lost: values[1]! };
}
