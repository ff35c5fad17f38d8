/**
 * What the host's agent needs for the events of a command line, and nothing else:
 *
 *   CAP_PERFMON            perf_event_open() of all tasks
 *   CAP_DAC_READ_SEARCH    tracefs, KVM's debugfs, recordings of others
 *   CAP_IPC_LOCK           rings beyond perf_event_mlock_kb and RLIMIT_MEMLOCK
 *   CAP_SYSLOG             /proc/kallsyms with its addresses
 *   CAP_SYS_PTRACE         which QEMU is behind a channel (/proc/PID/fd, /proc/PID/exe of another
 *                          user's process): for live guests, unless --tsc-offset says the answer
 *   CAP_DAC_OVERRIDE       probes, of an agent that is not root: tracefs wants its files' owner
 */
import process from "node:process";
import { tracingCapabilities } from "../shared/cli/privileges.ts";
import { parseEventSpecs } from "../shared/event/spec.ts";
import { CAP_DAC_OVERRIDE, CAP_SYS_PTRACE } from "../shared/sys/capability.ts";
import { parsePullTarget } from "./link/pull_target.ts";

/** The capabilities to keep for these -e arguments. */
export function hostCapabilities(texts: readonly string[], isOffsetKnown: boolean): number[] {
  const kept = tracingCapabilities();
  const specs = texts.flatMap((text) => parseEventSpecs(text));
  const isLive = specs.some(
    ({ attributes: { pull } }) => pull !== undefined && parsePullTarget(pull).kind !== "file",
  );
  const looksForVm = isLive && !isOffsetKnown;
  if (looksForVm) kept.push(CAP_SYS_PTRACE);
  // An emulating QEMU's clock is read through probes.
  const wantsProbes = looksForVm || specs.some(({ probe }) => probe !== undefined);
  if (wantsProbes && process.geteuid?.() !== 0) kept.push(CAP_DAC_OVERRIDE);
  return kept;
}
