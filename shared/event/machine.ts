/**
 * What this machine says of itself: CPUs and their APIC ids, kernel, boot, clocksource. Parsers are
 * pure; readers of /proc and /sys are thin.
 */
import { readFileSync, statSync } from "node:fs";
import { unlessGone } from "../sys/procfs.ts";

/** Linux is built for at most this many CPUs (NR_CPUS on x86-64). */
export const CPU_NUMBER_MAX = 8191;

/** "0-3,8" as numbers, ascending. Throws RangeError naming the text. */
export function parseCpuList(text: string): number[] {
  const cpus = new Set<number>();
  for (const part of text.trim().split(",")) {
    const match = /^\s*(\d+)(?:-(\d+))?\s*$/.exec(part);
    const [first, last] = [Number(match?.[1]), Number(match?.[2] ?? match?.[1])];
    if (match === null || last < first || last > CPU_NUMBER_MAX) {
      throw new RangeError(`Cannot parse CPU list "${text}": wants numbers and ranges, as 0-3,8`);
    }
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return [...cpus].sort((a, b) => a - b);
}

/** "0-3,8" of ascending numbers. */
export function formatCpuList(cpus: readonly number[]): string {
  const parts: string[] = [];
  for (let i = 0; i < cpus.length; ) {
    let j = i;
    while (cpus[j + 1] === cpus[j]! + 1) j++;
    parts.push(i === j ? `${cpus[i]}` : `${cpus[i]}-${cpus[j]}`);
    i = j + 1;
  }
  return parts.join(",");
}

export function onlineCpus(): number[] {
  return parseCpuList(readFileSync("/sys/devices/system/cpu/online", "utf8"));
}

/** A CPU that is asked for, and is not there. */
export class NoCpuError extends RangeError {
  override readonly name = "NoCpuError";
}

/**
 * The online CPUs of `wanted`, or all of them. Throws NoCpuError when one is not online, RangeError
 * when it is no list.
 */
export function selectCpus(wanted: string | undefined): number[] {
  const online = onlineCpus();
  if (wanted === undefined) return online;
  const cpus = parseCpuList(wanted);
  const missing = cpus.filter((cpu) => !online.includes(cpu));
  if (missing.length > 0) {
    throw new NoCpuError(
      `Cannot sample CPU ${formatCpuList(missing)}: not online, wants some of ` +
        formatCpuList(online),
    );
  }
  return cpus;
}

/** CPUs that the administrator keeps for one purpose (isolcpus=, nohz_full=): not to be visited. */
export function isolatedCpus(): number[] {
  return ["isolated", "nohz_full"].flatMap((file) => {
    const text = readLineOf(`/sys/devices/system/cpu/${file}`);
    // An empty list is an empty line, or "(null)" on older kernels.
    return /^[0-9]/.test(text) ? parseCpuList(text) : [];
  });
}

/** CPU number to APIC id, out of the text of /proc/cpuinfo; empty where the machine has none. */
export function parseApicIds(cpuinfo: string): Map<number, number> {
  const ids = new Map<number, number>();
  let cpu = -1;
  for (const line of cpuinfo.split("\n")) {
    const match = /^(processor|apicid)\s*:\s*(\d+)$/.exec(line);
    if (match === null) continue;
    if (match[1] === "processor") cpu = Number(match[2]);
    else if (cpu >= 0) ids.set(cpu, Number(match[2]));
  }
  return ids;
}

/**
 * Whether something is at `path`. Not node's existsSync(): that asks access(2), which answers for
 * the real user without his capabilities. Throws where even they do not let us look.
 */
export function isPresent(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false }) !== undefined;
}

/**
 * The first line of a file of /proc or /sys, or "" where this kernel, or this task, has none, or
 * none that is ours to see.
 */
export function readLineOf(path: string): string {
  return unlessGone(() => readFileSync(path, "utf8"), "")
    .split("\n")[0]!
    .trim();
}

export const CLOCKSOURCE_PATH = "/sys/devices/system/clocksource/clocksource0/current_clocksource";

/** The name of what this kernel's clocks count, "" where it does not say. */
export function readClocksource(): string {
  return readLineOf(CLOCKSOURCE_PATH);
}

/** One machine's description, for Hello. */
export interface MachineInfo {
  readonly bootId: string;
  readonly hostname: string;
  readonly kernelRelease: string;
  readonly architecture: string;
  readonly clocksource: string;
  readonly apicIds: ReadonlyMap<number, number>;
}

export function readMachineInfo(): MachineInfo {
  return {
    bootId: readLineOf("/proc/sys/kernel/random/boot_id"),
    hostname: readLineOf("/proc/sys/kernel/hostname"),
    kernelRelease: readLineOf("/proc/sys/kernel/osrelease"),
    architecture: readLineOf("/proc/sys/kernel/arch") || "x86_64",
    clocksource: readClocksource(),
    apicIds: parseApicIds(readFileSync("/proc/cpuinfo", "utf8")),
  };
}
