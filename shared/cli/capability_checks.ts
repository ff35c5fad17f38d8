/**
 * What `doctor` says of capabilities: which are there, and what each one that is missing costs.
 *
 *   ok    CAP_PERFMON          held
 *   warn  CAP_SYSLOG           missing: symbols of kernel addresses are not printed
 */
import { readLineOf } from "../event/machine.ts";
import {
  CAP_DAC_OVERRIDE,
  CAP_DAC_READ_SEARCH,
  CAP_IPC_LOCK,
  CAP_NET_BIND_SERVICE,
  CAP_PERFMON,
  CAP_SYS_ADMIN,
  CAP_SYS_PTRACE,
  CAP_SYSLOG,
  capabilityMask,
  capabilityName,
  readPrivileges,
  type ThreadPrivileges,
} from "../sys/capability.ts";
import type { Check, Finding } from "./doctor.ts";

interface Use {
  readonly capability: number;
  /** What does not work without it. */
  readonly cost: string;
  /** What does instead of it, when this process has that. */
  readonly substitute?: (privileges: ThreadPrivileges) => string | undefined;
}

const rootOwns = ({ effectiveUid }: ThreadPrivileges): string | undefined =>
  effectiveUid === 0 ? "not needed: the files are this user's, root's" : undefined;

function perfmonSubstitute({ effective }: ThreadPrivileges): string | undefined {
  if ((effective & capabilityMask(CAP_SYS_ADMIN)) !== 0n) return "CAP_SYS_ADMIN does instead";
  const paranoid = readLineOf("/proc/sys/kernel/perf_event_paranoid");
  return Number(paranoid) < 0 ? `not needed: perf_event_paranoid is ${paranoid}` : undefined;
}

const COMMON: readonly Use[] = [
  {
    capability: CAP_PERFMON,
    cost: "no events can be opened",
    substitute: perfmonSubstitute,
  },
  {
    capability: CAP_DAC_READ_SEARCH,
    cost: "tracefs and KVM's debugfs cannot be read, and so no events be opened",
    substitute: rootOwns,
  },
  {
    capability: CAP_IPC_LOCK,
    cost: "rings are limited by perf_event_mlock_kb and RLIMIT_MEMLOCK: see -m",
  },
  { capability: CAP_SYSLOG, cost: "symbols of kernel addresses are not printed" },
  {
    capability: CAP_DAC_OVERRIDE,
    cost: "no uprobes and kprobes, and no clock of an emulating QEMU, which wants them",
    substitute: rootOwns,
  },
];

const GUEST: readonly Use[] = [
  { capability: CAP_NET_BIND_SERVICE, cost: "no push= to a tcp port below 1024" },
];

const HOST: readonly Use[] = [
  {
    capability: CAP_SYS_PTRACE,
    cost: "which QEMU is behind a tcp channel is not found: give --vm PID",
  },
];

/** What is to be said of one capability of a process. */
export function judgeCapability(use: Use, privileges: ThreadPrivileges): Finding {
  if ((privileges.effective & capabilityMask(use.capability)) !== 0n) {
    return { severity: "ok", detail: "held" };
  }
  const substitute = use.substitute?.(privileges);
  if (substitute !== undefined) return { severity: "ok", detail: substitute };
  return { severity: "warn", detail: `missing: ${use.cost}` };
}

function checksOf(uses: readonly Use[]): Check[] {
  return uses.map((use) => ({
    name: capabilityName(use.capability),
    run: () => judgeCapability(use, readPrivileges()),
  }));
}

export const GUEST_CAPABILITY_CHECKS: readonly Check[] = checksOf([...COMMON, ...GUEST]);
export const HOST_CAPABILITY_CHECKS: readonly Check[] = checksOf([...COMMON, ...HOST]);
