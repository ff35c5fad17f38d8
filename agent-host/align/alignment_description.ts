/**
 * What is in force between a guest's TSC and the host's, as values and as lines of text:
 *
 *   guest TSC = host TSC + 0xffdafd48df582d22 (kvm, /sys/kernel/debug/kvm/26027-11, 4 vCPUs alike)
 *   guest TSC = host TSC * 0.833333333 + 0x1f3a (kvm, ..., vcpu2)
 *   guest TSC = host TSC + 0xffdafd48df582d22 +-18.2 us, rate +0.3 +-2.1 ppb (ping, 99 round trips)
 *   guest TSC = host TSC + 0xffdafd48df582d22 +-1.9 us (QEMU's emulated TSC, 64 readings)
 *   2 announced changes of KVM's TSC offsets were never seen: times around them may be off
 *   kvm not used: Cannot find a virtual machine of process 4711: ...
 */
import type { CausalityDescription } from "./causality.ts";
import { guestRate, isScaled, type TscRelation } from "./kvm_offset.ts";
import type { PingEstimator } from "./ping.ts";

/** Where the relation comes from. */
export type AlignmentMethod = "manual" | "kvm" | "emulator" | "ping";

/** Pairs that narrow a bound by less are not worth a line. */
const CAUSALITY_SHARE = 0.9;

/** As the user reads them. */
export const METHOD_NAMES: Readonly<Record<AlignmentMethod, string>> = {
  manual: "--tsc-offset",
  kvm: "KVM debugfs",
  emulator: "QEMU's emulated TSC",
  ping: "ping",
};

/** A better source that is not in force, and how to get it. */
export interface UnavailableMethod {
  readonly method: AlignmentMethod;
  readonly reason: string;
  readonly hint: string;
}

/** The relation of one vCPU, or of all where cpu is undefined. */
export interface CpuAlignment {
  readonly cpu: number | undefined;
  readonly apicId: number | undefined;
  /** guest - host * rate, modulo 2^64, signed; for ping guest - host at the last trip. */
  readonly offset: bigint | undefined;
  /** Guest cycles per host cycle. */
  readonly rate: number;
  readonly rateErrorPpb: number;
  /** 0 when the CPU does not scale. */
  readonly fracBits: number;
  readonly ratio: bigint;
  readonly boundCycles: number;
  /** Changes of the relation so far. */
  readonly epoch: number;
}

/** Everything that a table's foot, `agent-host clock` and --json need. */
export interface AlignmentDescription {
  readonly method: AlignmentMethod;
  readonly wanted: AlignmentMethod | "auto";
  readonly isReady: boolean;
  /** Of the relation, such as a debugfs directory; empty where the method says it all. */
  readonly source: string;
  readonly cpus: readonly CpuAlignment[];
  /** Changes of KVM's offsets that were announced and never seen. */
  readonly unexplainedWrites: number;
  /** Readings of an emulator's clock so far. */
  readonly emulatorReadings: number;
  /** What pairs of events said of it. */
  readonly causality: CausalityDescription;
  readonly pingCount: number;
  readonly pingBoundCycles: number;
  readonly wireCyclesMin: number;
  readonly disagreementCount: number;
  readonly excessCyclesMax: number;
  readonly unavailable: readonly UnavailableMethod[];
}

/** Describes an exact relation. */
export function exactCpu(
  cpu: number | undefined,
  apicId: number | undefined,
  relation: TscRelation,
  boundCycles: number,
  epoch = 0,
): CpuAlignment {
  const { offset, ratio } = relation;
  const scaled = isScaled(relation);
  return {
    cpu,
    apicId,
    offset,
    rate: guestRate(relation),
    rateErrorPpb: 0,
    fracBits: scaled ? relation.fracBits : 0,
    ratio: scaled ? ratio : 1n,
    boundCycles,
    epoch,
  };
}

/** Describes what round trips have measured, over the channel or inside of an emulator. */
export function pingCpu(ping: PingEstimator): CpuAlignment {
  // The estimator's rate is host per guest; the user's is guest per host, as KVM's ratio.
  const { min, max } = ping.rate;
  const rate = (1 / min + 1 / max) / 2;
  return {
    cpu: undefined,
    apicId: undefined,
    offset: ping.offset,
    rate,
    rateErrorPpb: ((1 / min - 1 / max) / 2 / rate) * 1e9,
    fracBits: 0,
    ratio: 1n,
    boundCycles: ping.boundCycles,
    epoch: ping.epoch,
  };
}

/** A signed offset as the 64-bit hex that --tsc-offset takes. */
export function formatOffset(offset: bigint): string {
  return `0x${BigInt.asUintN(64, offset).toString(16)}`;
}

/** Cycles as time with a unit and three significant digits: "31 ns", "18.2 us". */
export function formatCycles(cycles: number, tscHz: number): string {
  return formatNs((cycles / tscHz) * 1e9);
}

/** ns as time with a unit and three significant digits: "43 ns", "18.2 us". */
export function formatNs(ns: number): string {
  if (!Number.isFinite(ns)) return "unknown";
  for (const [unit, weight] of [
    ["ns", 1],
    ["us", 1e3],
    ["ms", 1e6],
  ] as const) {
    if (ns < 999.5 * weight) return `${Number((ns / weight).toPrecision(3))} ${unit}`;
  }
  return `${Number((ns / 1e9).toPrecision(3))} s`;
}

/** The lines to print, the relation first. `tscHz` is the host's. */
export function formatAlignment(description: AlignmentDescription, tscHz: number): string[] {
  const lines: string[] = [];
  for (const { cpu, vcpus } of groupAlike(description.cpus)) {
    lines.push(
      `guest TSC = ${formatRelation(cpu, description, tscHz)} (${origin(description, vcpus)})`,
    );
  }
  if (description.method !== "ping" && description.pingCount > 0) {
    lines.push(formatCheck(description, tscHz));
  }
  lines.push(...unexplainedLines(description));
  const causal = causalityLine(description, tscHz);
  if (causal !== undefined) lines.push(causal);
  // What an emulator's guest cannot have is not worth a word while its own clock serves.
  const isChosen = description.method === "manual" || description.method === "emulator";
  for (const { method, reason, hint } of isChosen ? [] : description.unavailable) {
    const name = method === "emulator" ? METHOD_NAMES.emulator : method;
    lines.push(`${name} not used: ${reason}${hint === "" ? "" : `; ${hint}`}`);
  }
  return lines;
}

function formatRelation(
  cpu: CpuAlignment,
  description: AlignmentDescription,
  tscHz: number,
): string {
  if (cpu.offset === undefined) return "host TSC + unknown";
  if (description.method !== "ping" && description.method !== "emulator") {
    const rate = cpu.fracBits === 0 ? "" : ` * ${cpu.rate.toFixed(9)}`;
    return `host TSC${rate} + ${formatOffset(cpu.offset)}`;
  }
  const bound = formatCycles(cpu.boundCycles, tscHz);
  const offset = `host TSC + ${formatOffset(cpu.offset)} +-${bound}`;
  if (cpu.rate === 1 && cpu.rateErrorPpb === 0) return offset;
  const error = cpu.rateErrorPpb.toFixed(1);
  // A rate of another clock is told as such; the same rate as its drift.
  const drift = (cpu.rate - 1) * 1e9;
  return Math.abs(drift) < 1e6
    ? `${offset}, rate ${drift < 0 ? "" : "+"}${drift.toFixed(1)} +-${error} ppb`
    : `${offset}, rate ${cpu.rate.toFixed(9)} +-${error} ppb`;
}

function origin(description: AlignmentDescription, vcpus: readonly CpuAlignment[]): string {
  const { method, source, pingCount } = description;
  if (method === "ping") {
    return `ping, ${pingCount} round trips${description.isReady ? "" : ", not ready"}`;
  }
  if (method === "emulator") {
    return `${METHOD_NAMES.emulator}, ${description.emulatorReadings} readings`;
  }
  if (method === "manual") return "--tsc-offset";
  const which = vcpus.length === 1 ? `vcpu${vcpus[0]!.apicId}` : `${vcpus.length} vCPUs alike`;
  return `kvm, ${source}, ${which}`;
}

/** What round trips say of another method's relation. */
export function formatCheck(description: AlignmentDescription, tscHz: number): string {
  const { pingCount, disagreementCount, excessCyclesMax, pingBoundCycles } = description;
  if (disagreementCount === 0) {
    return `ping agrees: ${pingCount} round trips, +-${formatCycles(pingBoundCycles, tscHz)}`;
  }
  return (
    `PING DISAGREES: ${disagreementCount} of ${pingCount} round trips, ` +
    `off by ${formatCycles(excessCyclesMax, tscHz)} or more`
  );
}

/** A change that was announced and not seen was undone by another, of which nobody has told. */
export function unexplainedLines({ unexplainedWrites }: AlignmentDescription): string[] {
  if (unexplainedWrites === 0) return [];
  const changes = `${unexplainedWrites} announced changes of KVM's TSC offsets were never seen`;
  return [`${changes}: times around them may be off`];
}

/** What pairs of events add to round trips; undefined where they add nothing worth a word. */
export function causalityLine(
  { method, causality, pingBoundCycles }: AlignmentDescription,
  tscHz: number,
): string | undefined {
  const { isTrusted, isRefuted, usedPairs, refusedPairs, boundCycles } = causality;
  if (isRefuted) {
    return "PAIRS DISAGREE with round trips: their starts are not the causes of their ends";
  }
  if (method !== "ping" || usedPairs === 0) return undefined;
  const refused = refusedPairs === 0 ? "" : `, ${refusedPairs} contradict it`;
  if (isTrusted) return `--trust-pairs: ${usedPairs} pairs are part of it${refused}`;
  if (!(boundCycles < CAUSALITY_SHARE * pingBoundCycles)) return undefined;
  return (
    `causality says +-${formatCycles(boundCycles, tscHz)} if each pair is cause and effect` +
    `${refused}; --trust-pairs takes that`
  );
}

interface Alike {
  readonly cpu: CpuAlignment;
  readonly vcpus: CpuAlignment[];
}

/** vCPUs with one relation share a line. */
function groupAlike(cpus: readonly CpuAlignment[]): Iterable<Alike> {
  const groups = new Map<string, Alike>();
  for (const cpu of cpus) {
    const key = `${cpu.offset} ${cpu.ratio} ${cpu.fracBits}`;
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { cpu, vcpus: [cpu] });
    else group.vcpus.push(cpu);
  }
  return groups.values();
}
