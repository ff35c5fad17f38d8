/**
 * Capabilities of a thread: its sets as /proc shows them, and the calls that take away from them.
 * Sets are masks with bit n for capability n; must match <linux/capability.h>.
 *
 *   CapInh: 0000000000000000      passed on by execve to programs that ask for them
 *   CapPrm: 000000c000000006      what the thread may make effective
 *   CapEff: 000000c000000006      what it can do now
 *   CapBnd: 000000c000000006      what execve can ever give, to root too
 *   CapAmb: 0000000000000000      passed on by execve to any program
 *   NoNewPrivs:     1             execve gives no more than these, whatever the file's mode says
 *
 * They belong to a thread, and the kernel has no call that changes those of its siblings: threads
 * of a JavaScript engine exist before the first line of ours runs. So what is taken away here is
 * for the execve() that follows, which ends all other threads.
 */
import { readFileSync } from "node:fs";
import { SYS } from "./abi.ts";
import { checked } from "./errno.ts";
import { addressOf, syscall } from "./syscall.ts";

export const CAP_DAC_OVERRIDE = 1;
export const CAP_DAC_READ_SEARCH = 2;
export const CAP_SETPCAP = 8;
export const CAP_NET_BIND_SERVICE = 10;
export const CAP_IPC_LOCK = 14;
export const CAP_SYS_PTRACE = 19;
export const CAP_SYS_ADMIN = 21;
export const CAP_SYSLOG = 34;
export const CAP_PERFMON = 38;
export const CAP_CHECKPOINT_RESTORE = 40;
/** A kernel's sets have 64 bits; Linux 6.18 names 41 of them. */
const CAPABILITIES_MAX = 64;

const NAMES: ReadonlyMap<number, string> = new Map([
  [CAP_DAC_OVERRIDE, "CAP_DAC_OVERRIDE"],
  [CAP_DAC_READ_SEARCH, "CAP_DAC_READ_SEARCH"],
  [CAP_SETPCAP, "CAP_SETPCAP"],
  [CAP_NET_BIND_SERVICE, "CAP_NET_BIND_SERVICE"],
  [CAP_IPC_LOCK, "CAP_IPC_LOCK"],
  [CAP_SYS_PTRACE, "CAP_SYS_PTRACE"],
  [CAP_SYS_ADMIN, "CAP_SYS_ADMIN"],
  [CAP_SYSLOG, "CAP_SYSLOG"],
  [CAP_PERFMON, "CAP_PERFMON"],
  [CAP_CHECKPOINT_RESTORE, "CAP_CHECKPOINT_RESTORE"],
]);

const PR_CAPBSET_DROP = 24;
const PR_SET_NO_NEW_PRIVS = 38;
const PR_CAP_AMBIENT = 47;
const PR_CAP_AMBIENT_RAISE = 2;
const PR_CAP_AMBIENT_CLEAR_ALL = 4;
const LINUX_CAPABILITY_VERSION_3 = 0x20080522;

/** The sets of one thread, and who it is. */
export interface ThreadPrivileges {
  readonly effectiveUid: number;
  readonly inheritable: bigint;
  readonly permitted: bigint;
  readonly effective: bigint;
  readonly bounding: bigint;
  /** 0 on kernels before 4.3, which have no such set. */
  readonly ambient: bigint;
  readonly hasNoNewPrivileges: boolean;
}

/** The mask of some capabilities. */
export function capabilityMask(...capabilities: readonly number[]): bigint {
  return capabilities.reduce((mask, capability) => mask | (1n << BigInt(capability)), 0n);
}

/** "CAP_PERFMON", or "capability 40" for one that we have no name for. */
export function capabilityName(capability: number): string {
  return NAMES.get(capability) ?? `capability ${capability}`;
}

/** The numbers of the capabilities in a mask, ascending. */
export function capabilitiesIn(mask: bigint): number[] {
  const found: number[] = [];
  for (let i = 0; i < CAPABILITIES_MAX; i++) if (((mask >> BigInt(i)) & 1n) === 1n) found.push(i);
  return found;
}

/** Out of the text of /proc/PID/task/TID/status. Throws RangeError for text that is none. */
export function parsePrivileges(status: string): ThreadPrivileges {
  const field = (name: string, pattern: string, otherwise?: string): string => {
    const match = new RegExp(`^${name}:\\s*${pattern}`, "m").exec(status)?.[1] ?? otherwise;
    if (match !== undefined) return match;
    throw new RangeError(`Cannot read capabilities: /proc/self/status has no ${name}`);
  };
  const mask = (name: string, otherwise?: string): bigint =>
    BigInt(`0x${field(name, "([0-9a-f]{1,16})$", otherwise)}`);
  return {
    effectiveUid: Number(field("Uid", "\\d+\\s+(\\d+)")),
    inheritable: mask("CapInh"),
    permitted: mask("CapPrm"),
    effective: mask("CapEff"),
    bounding: mask("CapBnd"),
    ambient: mask("CapAmb", "0"),
    hasNoNewPrivileges: field("NoNewPrivs", "([01])$", "0") === "1",
  };
}

/** Of the calling thread. */
export function readPrivileges(): ThreadPrivileges {
  return parsePrivileges(readFileSync("/proc/thread-self/status", "latin1"));
}

function prctl(option: number, a: number, b: number, action: string): void {
  checked(syscall(SYS.prctl, option, a, b, 0, 0, 0), action);
}

type SettableSets = Pick<ThreadPrivileges, "effective" | "permitted" | "inheritable">;

/** Sets these sets of the calling thread. Throws SysError. */
function setCapabilities(sets: SettableSets): void {
  // struct __user_cap_header_struct {u32 version, i32 pid}, and two of
  // struct __user_cap_data_struct {u32 effective, permitted, inheritable}: low words, high words.
  const header = Uint32Array.of(LINUX_CAPABILITY_VERSION_3, 0);
  const masks = [sets.effective, sets.permitted, sets.inheritable];
  const low = masks.map((mask) => Number(mask & 0xffff_ffffn));
  const high = masks.map((mask) => Number(mask >> 32n));
  const data = Uint32Array.of(...low, ...high);
  const [headerAt, dataAt] = [addressOf(header), addressOf(data)];
  checked(syscall(SYS.capset, headerAt, dataAt, 0, 0, 0, 0), "set capabilities");
}

/**
 * Runs `attempt` as a thread that has only those of its capabilities (`current`) that are in
 * `mask`, to find out what works with them. Throws SysError.
 */
export function withEffective<T>(current: ThreadPrivileges, mask: bigint, attempt: () => T): T {
  setCapabilities({ ...current, effective: current.effective & mask });
  try {
    return attempt();
  } finally {
    setCapabilities(current);
  }
}

/**
 * Takes everything but `kept` from the calling thread, now and for what it executes: of what it has
 * (`current`), in all five sets, and for good. The bounding set can only be made smaller with
 * CAP_SETPCAP; without it a process that is not root cannot gain from it either, once no_new_privs
 * is set. Throws SysError.
 */
export function dropCapabilities(current: ThreadPrivileges, kept: bigint): void {
  const mayBound = (current.effective & capabilityMask(CAP_SETPCAP)) !== 0n;
  if (mayBound) {
    for (const capability of capabilitiesIn(current.bounding & ~kept)) {
      prctl(PR_CAPBSET_DROP, capability, 0, `drop ${capabilityName(capability)}`);
    }
  }
  // From Linux 4.3; an older kernel has none to clear.
  syscall(SYS.prctl, PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0, 0);
  const left = current.permitted & kept;
  setCapabilities({ effective: left, permitted: left, inheritable: left });
  for (const capability of capabilitiesIn(left)) {
    // Without it execve() would take them from a process that is not root; root keeps its own.
    const raise = [PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, capability] as const;
    const result = syscall(SYS.prctl, ...raise, 0, 0, 0);
    if (current.effectiveUid !== 0) checked(result, `keep ${capabilityName(capability)}`);
  }
  setNoNewPrivileges();
}

/** From now on execve() gives this thread nothing that it does not have. Throws SysError. */
export function setNoNewPrivileges(): void {
  prctl(PR_SET_NO_NEW_PRIVS, 1, 0, "set no_new_privs");
}
