/**
 * What the guest's agent needs for the events and sinks of a command line, and nothing else:
 *
 *   CAP_PERFMON            perf_event_open() of all tasks
 *   CAP_DAC_READ_SEARCH    tracefs, where root's mode bits or ownership do not do
 *   CAP_IPC_LOCK           rings beyond perf_event_mlock_kb and RLIMIT_MEMLOCK
 *   CAP_SYSLOG             /proc/kallsyms with its addresses
 *   CAP_SYS_PTRACE         /proc/PID/maps and, with CAP_CHECKPOINT_RESTORE, /proc/PID/map_files:
 *                          for names in call chains of user space
 *   CAP_DAC_OVERRIDE       probes, of an agent that is not root: tracefs wants its files' owner
 *   CAP_NET_BIND_SERVICE   push= to a tcp port below 1024
 */

import { statSync } from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import { tracingCapabilities, userChainCapabilities } from "../shared/cli/privileges.ts";
import { readLineOf } from "../shared/event/machine.ts";
import type { EventSpec } from "../shared/event/spec.ts";
import { CAP_DAC_OVERRIDE, CAP_NET_BIND_SERVICE } from "../shared/sys/capability.ts";
import type { Fd } from "../shared/sys/fd.ts";
import { openRecording } from "./sink/file_sink.ts";
import { type PushTarget, parsePushTarget, pushOfEach } from "./sink/push_target.ts";

const PRIVILEGED_PORTS_DEFAULT = 1024;
const WRITABLE_BY_ALL = 0o002;

function isPrivilegedPort(target: PushTarget): boolean {
  if (target.kind !== "tcp") return false;
  const start = readLineOf("/proc/sys/net/ipv4/ip_unprivileged_port_start");
  return target.port < (start === "" ? PRIVILEGED_PORTS_DEFAULT : Number(start));
}

/** The capabilities to keep for these events. */
export function guestCapabilities(specs: readonly EventSpec[], callChains: boolean): number[] {
  const hasProbe = specs.some(({ probe }) => probe !== undefined);
  const targets = pushOfEach(specs).map(parsePushTarget);
  return [...serveCapabilities(targets, hasProbe), ...userChainCapabilities(specs, callChains)];
}

/** The capabilities to keep for whatever tracepoints hosts at these places ask for. */
export function serveCapabilities(targets: readonly PushTarget[], hasProbes: boolean): number[] {
  const kept = tracingCapabilities();
  if (hasProbes && process.geteuid?.() !== 0) kept.push(CAP_DAC_OVERRIDE);
  if (targets.some(isPrivilegedPort)) kept.push(CAP_NET_BIND_SERVICE);
  return kept;
}

/** Whether root without CAP_DAC_OVERRIDE could not write `path`: it lies with another user. */
function isForeign(path: string): boolean {
  const uid = process.geteuid?.() ?? 0;
  const file = statSync(path, { throwIfNoEntry: false });
  const status = file ?? statSync(dirname(path), { throwIfNoEntry: false });
  return status !== undefined && status.uid !== uid && (status.mode & WRITABLE_BY_ALL) === 0;
}

/** Opens those recordings that could not be opened once CAP_DAC_OVERRIDE has gone. */
export function openForeignRecordings(specs: readonly EventSpec[]): Map<string, Fd> {
  const opened = new Map<string, Fd>();
  for (const target of pushOfEach(specs).map(parsePushTarget)) {
    if (target.kind !== "file" || opened.has(target.path) || !isForeign(target.path)) continue;
    opened.set(target.path, openRecording(target.path));
  }
  return opened;
}
