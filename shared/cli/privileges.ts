/**
 * Least privilege: before an agent opens anything it gives up all capabilities but the few that its
 * command needs, sets no_new_privs, and goes on as the same process:
 *
 *   agent-guest trace ...            root, 40 capabilities; the command line is checked
 *     execve(itself)                 same pid and arguments, clean environment
 *   agent-guest trace ...            CAP_PERFMON CAP_DAC_READ_SEARCH CAP_IPC_LOCK CAP_SYSLOG
 *
 * Executing itself is how all threads lose them at once (see shared/sys/capability.ts). A process
 * that has no more than it needs, as under a systemd unit that says so, is not started again.
 */
import process from "node:process";
import { callChainOf } from "../event/call_chain.ts";
import { probePerfClock } from "../event/event_set.ts";
import { onlineCpus, readLineOf } from "../event/machine.ts";
import type { EventSpec } from "../event/spec.ts";
import {
  CAP_CHECKPOINT_RESTORE,
  CAP_DAC_READ_SEARCH,
  CAP_IPC_LOCK,
  CAP_PERFMON,
  CAP_SETPCAP,
  CAP_SYS_ADMIN,
  CAP_SYS_PTRACE,
  CAP_SYSLOG,
  capabilityMask,
  dropCapabilities,
  readPrivileges,
  type ThreadPrivileges,
  withEffective,
} from "../sys/capability.ts";
import { SysError } from "../sys/errno.ts";
import { executeSelf, isSecureExecution, keepOpen } from "../sys/execute.ts";
import type { Fd } from "../sys/fd.ts";
import { UsageError } from "./failure.ts";
import { IS_COMPILED } from "./version.ts";

/** Tells the program that was started again that it was, and what it was handed. */
const RESTARTED = "VMSPAN_RESTARTED";
/**
 * What a compiled agent that starts itself again keeps of its environment. Bun obeys a number of
 * variables, BUN_OPTIONS among them, with which one can have it run other code.
 */
const ENVIRONMENT_KEPT =
  /^(?:PATH|HOME|USER|LOGNAME|LANG|LANGUAGE|LC_[A-Z]+|TERM|TZ|COLUMNS|LINES|NO_COLOR|TMPDIR|INVOCATION_ID|JOURNAL_STREAM|NOTIFY_SOCKET)$/;

/** What every tracing command needs, where CAP_PERFMON does. */
export const TRACING_CAPABILITIES: readonly number[] = [
  CAP_PERFMON,
  CAP_DAC_READ_SEARCH,
  CAP_IPC_LOCK,
  CAP_SYSLOG,
];

/**
 * What every tracing command needs on this machine. CAP_PERFMON came with Linux 5.8, and kernels of
 * Debian and Ubuntu do not take it for CAP_SYS_ADMIN while perf_event_paranoid is above 2, which is
 * their default: so it is tried.
 */
export function tracingCapabilities(): number[] {
  const privileges = readPrivileges();
  const isAdmin = (privileges.effective & capabilityMask(CAP_SYS_ADMIN)) !== 0n;
  const mask = capabilityMask(...TRACING_CAPABILITIES);
  const isEnough = !isAdmin || withEffective(privileges, mask, mayOpenEvents);
  return isEnough ? [...TRACING_CAPABILITIES] : [...TRACING_CAPABILITIES, CAP_SYS_ADMIN];
}

function mayOpenEvents(): boolean {
  try {
    probePerfClock(onlineCpus()[0]!);
    return true;
  } catch (error) {
    if (error instanceof SysError && (error.code === "EACCES" || error.code === "EPERM")) {
      return false;
    }
    throw error;
  }
}

/**
 * What names for user space's part of call chains need: the mappings of other users' processes, and
 * the files behind them where no path leads there. Empty for events without such chains.
 */
export function userChainCapabilities(
  specs: readonly EventSpec[],
  isForAll: boolean,
): readonly number[] {
  const isWanted = specs.some(
    ({ attributes }) => callChainOf(attributes, isForAll)?.hasUser === true,
  );
  if (!isWanted) return [];
  // CAP_CHECKPOINT_RESTORE came with Linux 5.9.
  const isKnown = Number(readLineOf("/proc/sys/kernel/cap_last_cap")) >= CAP_CHECKPOINT_RESTORE;
  return isKnown ? [CAP_SYS_PTRACE, CAP_CHECKPOINT_RESTORE] : [CAP_SYS_PTRACE];
}

export interface Confinement {
  /** --keep-privileges. */
  readonly keepAll: boolean;
  readonly capabilities: readonly number[];
  /** Opens, while everything is allowed, what could not be opened later. By path. */
  readonly open?: () => ReadonlyMap<string, Fd>;
}

/** Whether a thread has, or execve() could give it, anything beyond `kept`. */
export function hasExcess(privileges: ThreadPrivileges, kept: bigint): boolean {
  const { permitted, inheritable, ambient, effective, bounding, hasNoNewPrivileges } = privileges;
  if (((permitted | inheritable | ambient) & ~kept) !== 0n) return true;
  if (permitted === 0n) return false;
  const mayBound = (effective & capabilityMask(CAP_SETPCAP)) !== 0n;
  return !hasNoNewPrivileges || (mayBound && (bounding & ~kept) !== 0n);
}

/** What of the environment is handed on. */
export function keptEnvironment(
  environment: Readonly<Record<string, string | undefined>>,
  isCompiled: boolean,
): string[] {
  return Object.entries(environment)
    .filter(([name, value]) => value !== undefined && (!isCompiled || ENVIRONMENT_KEPT.test(name)))
    .map(([name, value]) => `${name}=${value}`);
}

/**
 * Gives up what the command does not need: starts this process again, or returns when there is
 * nothing to give up. Gives the descriptors that were opened before it was started again, by path.
 * Call it on the main thread, before any Worker. Throws UsageError, SysError.
 */
export function confine({ keepAll, capabilities, open }: Confinement): Map<string, number> {
  if (isSecureExecution()) {
    throw new UsageError(
      "Cannot run as a setuid program or with file capabilities: its runtime obeys environment " +
        "variables, so that whoever starts it could run other code with them",
      "start it as root, with ambient capabilities (setpriv --ambient-caps), or from systemd",
    );
  }
  const handed = takeHanded();
  if (keepAll || handed !== undefined) return handed ?? new Map();
  const privileges = readPrivileges();
  const kept = capabilityMask(...capabilities);
  if (!hasExcess(privileges, kept)) return new Map();
  const opened = [...(open?.() ?? [])];
  for (const [, fd] of opened) keepOpen(fd);
  dropCapabilities(privileges, kept);
  const told = [process.pid, opened.map(([path, fd]) => [path, fd.number])];
  const environment = keptEnvironment(process.env, IS_COMPILED);
  executeSelf([...environment, `${RESTARTED}=${JSON.stringify(told)}`]);
}

/** What was handed over; undefined in a process that was not started again. */
function takeHanded(): Map<string, number> | undefined {
  const text = process.env[RESTARTED];
  if (text === undefined) return undefined;
  delete process.env[RESTARTED];
  return parseHanded(text, process.pid);
}

/**
 * Descriptors by path: [4711,[["/srv/alice/x.vms",5]]]. Undefined when another process than `pid`
 * wrote it, as execve() keeps the pid: a variable that was left over is no word of ours that
 * privileges have been given up. Throws UsageError for what no agent writes.
 */
export function parseHanded(text: string, pid: number): Map<string, number> | undefined {
  const wrong = new UsageError(
    `Cannot use the environment variable ${RESTARTED}: it is ours, for starting again`,
    `unset ${RESTARTED}`,
  );
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) throw wrong;
    throw error;
  }
  const [writer, pairs] = Array.isArray(value) ? value : [];
  if (!Number.isInteger(writer) || !Array.isArray(pairs)) throw wrong;
  const handed = new Map<string, number>();
  for (const pair of pairs) {
    const [path, fd] = Array.isArray(pair) ? pair : [];
    if (typeof path !== "string" || !Number.isInteger(fd) || fd < 0) throw wrong;
    handed.set(path, fd);
  }
  return writer === pid ? handed : undefined;
}
