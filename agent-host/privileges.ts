/**
 * What the host's agent needs for the events of a command line, and nothing else:
 *
 *   CAP_PERFMON            perf_event_open() of all tasks
 *   CAP_DAC_READ_SEARCH    tracefs, KVM's debugfs, recordings of others
 *   CAP_IPC_LOCK           rings beyond perf_event_mlock_kb and RLIMIT_MEMLOCK
 *   CAP_SYSLOG             /proc/kallsyms with its addresses
 *   CAP_SYS_PTRACE         which QEMU is behind a channel (/proc/PID/fd, /proc/PID/exe of another
 *                          user's process): for live guests, unless --tsc-offset says the answer;
 *                          and /proc/PID/maps, for call chains of user space
 *   CAP_CHECKPOINT_RESTORE /proc/PID/map_files, for the same
 *   CAP_DAC_OVERRIDE       probes, of an agent that is not root: tracefs wants its files' owner
 */
import process from "node:process";
import { tracingCapabilities, userChainCapabilities } from "../shared/cli/privileges.ts";
import { CAP_DAC_OVERRIDE, CAP_SYS_PTRACE } from "../shared/sys/capability.ts";
import { parseHostEvents, parsePullTarget } from "./link/pull_target.ts";

/** The capabilities to keep for these -e arguments. */
export function hostCapabilities(
  texts: readonly string[],
  isOffsetKnown: boolean,
  callChains: boolean,
): number[] {
  const kept = tracingCapabilities();
  const specs = texts.flatMap((text) => parseHostEvents(text));
  const isLive = specs.some(
    ({ attributes: { pull } }) => pull !== undefined && parsePullTarget(pull).kind !== "file",
  );
  const looksForVm = isLive && !isOffsetKnown;
  if (looksForVm) kept.push(CAP_SYS_PTRACE);
  const local = specs.filter(({ attributes }) => attributes.pull === undefined);
  kept.push(...userChainCapabilities(local, callChains));
  // An emulating QEMU's clock is read through probes.
  const wantsProbes = looksForVm || specs.some(({ probe }) => probe !== undefined);
  if (wantsProbes && process.geteuid?.() !== 0) kept.push(CAP_DAC_OVERRIDE);
  return kept;
}

/** The capabilities to keep for `agent-host clock` of these sources. */
export function clockCapabilities(sources: readonly string[], isOffsetKnown: boolean): number[] {
  const kept = tracingCapabilities();
  const isLive = sources.some((text) => parsePullTarget(text).kind !== "file");
  if (!isLive || isOffsetKnown) return kept;
  kept.push(CAP_SYS_PTRACE);
  if (process.geteuid?.() !== 0) kept.push(CAP_DAC_OVERRIDE);
  return kept;
}
