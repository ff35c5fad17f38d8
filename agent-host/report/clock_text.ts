/**
 * `agent-host clock` as text:
 *
 *   2026-11-25 18:40:12.123456  after 5.2 s, settled
 *   host      TSC 2.599998 GHz +-3 ppb, clocksource tsc; 2 CPUs in step (within 96 ns)
 *             perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW: +-43 ns, 12 readings
 *   guest 1   127.0.0.1:9900, "vm1", Linux 6.1.0, agent-guest 0.1.0
 *             behind it: process 26027 ("web")
 *             TSC 2.599998 GHz +-5 ppb, clocksource kvm-clock; 4 CPUs in step (within 210 ns)
 *             perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW: +-71 ns, 14 readings
 *             method KVM debugfs, /sys/kernel/debug/kvm/26027-11
 *             check ping agrees: 250 round trips, +-18.2 us
 *     cpu  apic             offset       ratio  drift(ppb)  +-(ppb)  TSC+-(ns) event+-(ns) ...
 *       0     0 0xffdafd48df582d22 1.000000000        +0.0        0          1         114 ...
 *
 * guest TSC = host TSC * ratio + offset. Text of the guest's is escaped.
 */

import type { TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";
import {
  type AlignmentDescription,
  type CpuAlignment,
  formatCheck,
  formatNs,
  formatOffset,
  METHOD_NAMES,
  unexplainedLines,
} from "../align/alignment_description.ts";
import { formatVmm } from "../align/vm_lookup.ts";
import type {
  ChannelPicture,
  ClockPicture,
  HostPicture,
  PerfClockPicture,
  SkewPicture,
  VcpuPicture,
} from "../clock/clock_picture.ts";
import { machineName } from "../session/machine_name.ts";
import { printable } from "./printable.ts";

/** vCPUs that get a row; a guest of 1024 CPUs with as many relations would scroll all else away. */
const ROWS_MAX = 64;
const NAME_WIDTH = 10;
const APART_SHOWN_MAX = 8;

/** The whole picture. `date` is its time as text. */
export function clockText(picture: ClockPicture, date: string): string {
  const seconds = (picture.elapsedMs / 1000).toFixed(1);
  const state = picture.isSettled ? "settled" : "not settled yet";
  const lines = [`${date}  after ${seconds} s, ${state}`, ...hostLines(picture.host)];
  for (const channel of picture.channels) {
    lines.push(...channelLines(channel, picture.host.tsc.hz));
  }
  return `${lines.join("\n")}\n`;
}

/** Lines of one machine: its name before the first. */
function block(name: string, lines: readonly string[]): string[] {
  return lines.map((line, i) => `${(i === 0 ? name : "").padEnd(NAME_WIDTH)}${line}`);
}

function hostLines({ tsc, clocksource, perf, skew }: HostPicture): string[] {
  return block(machineName(0), [tscLine(tsc, clocksource, skew), perfLine(perf)]);
}

function channelLines(channel: ChannelPicture, hostHz: number): string[] {
  const { machine, source, guest, waitingFor, tsc, perf, skew, alignment, cpus } = channel;
  const about =
    guest === undefined
      ? ""
      : `, "${printable(guest.hostname)}", Linux ${printable(guest.kernelRelease)}, ` +
        `agent-guest ${printable(guest.agentVersion)}`;
  const lines = [`${printable(source)}${about}`, ...peerLines(channel)];
  if (waitingFor !== "") lines.push(`waiting for ${printable(waitingFor)}`);
  if (tsc !== undefined) lines.push(tscLine(tsc, guest?.clocksource ?? "", skew));
  if (perf !== undefined) lines.push(perfLine(perf));
  if (alignment !== undefined) lines.push(...methodLines(channel, alignment, hostHz));
  else lines.push("method none: a recording answers no ping, and nobody is asked for its TSC");
  return [
    ...block(machineName(machine), lines),
    ...(alignment === undefined ? [] : tableLines(alignment, cpus, hostHz)),
  ];
}

function peerLines({ peer }: ChannelPicture): string[] {
  return typeof peer === "string" ? [] : [`behind it: process ${printable(formatVmm(peer))}`];
}

function tscLine({ hz, errorHz }: TscFrequency, clocksource: string, skew: SkewPicture): string {
  const rate = `TSC ${(hz / 1e9).toFixed(6)} GHz +-${significant((errorHz / hz) * 1e9)} ppb`;
  const source = clocksource === "" ? "" : `, clocksource ${printable(clocksource)}`;
  return `${rate}${source}${skewText(skew)}`;
}

function skewText({ checkedCpus, resolutionNs, apart }: SkewPicture): string {
  if (checkedCpus === 0) return "";
  const within = `within ${formatNs(resolutionNs)}`;
  if (apart.length === 0) return `; ${checkedCpus + 1} CPUs in step (${within})`;
  const shown = apart
    .slice(0, APART_SHOWN_MAX)
    .map(({ cpu, loNs, hiNs }) => {
      const middle = (loNs + hiNs) / 2;
      return `CPU ${cpu} ${middle < 0 ? "-" : "+"}${formatNs(Math.abs(middle))}`;
    })
    .join(", ");
  return `; CPUs APART: ${shown}${apart.length > APART_SHOWN_MAX ? ", ..." : ""}`;
}

function perfLine({ source, boundNs, readings, epoch }: PerfClockPicture): string {
  const how =
    source === "exact"
      ? "perf clock converted to the TSC by the ring page"
      : "perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW";
  const steps = epoch === 0 ? "" : `, ${epoch} steps`;
  const count = source === "exact" ? "" : `, ${readings} readings`;
  return `${how}: +-${formatNs(boundNs)}${count}${steps}`;
}

function methodLines(
  { drift, watchFailure, waitingFor }: ChannelPicture,
  alignment: AlignmentDescription,
  hostHz: number,
): string[] {
  const { method, source, isReady, emulatorReadings, pingCount, wireCyclesMin } = alignment;
  const from = source === "" ? "" : `, ${source}`;
  const readings = method === "emulator" ? `, ${emulatorReadings} readings` : "";
  const trips = method === "ping" ? `, round trips: ${pingCount}` : "";
  const state = isReady ? "" : ": not known yet";
  const lines = [`method ${METHOD_NAMES[method]}${from}${readings}${trips}${state}`];
  if (method !== "ping" && pingCount > 0) lines.push(`check ${formatCheck(alignment, hostHz)}`);
  if (Number.isFinite(wireCyclesMin)) {
    lines[lines.length - 1] += `, quickest ${formatNs((wireCyclesMin / hostHz) * 1e9)}`;
  }
  lines.push(...unexplainedLines(alignment));
  if (drift !== undefined && isReady) {
    const { ppb, errorPpb } = drift;
    lines.push(`perf clock runs ${signed(ppb)} +-${significant(errorPpb)} ppb against the host's`);
  }
  if (watchFailure !== "") {
    lines.push(`changes of the offset are seen once a second only: ${watchFailure}`);
  }
  // What was chosen needs no reason, and before the guest has spoken nothing was looked for.
  const isTold = method !== "manual" && waitingFor === "";
  for (const unavailable of isTold ? alignment.unavailable : []) {
    lines.push(`${METHOD_NAMES[unavailable.method]} not used: ${unavailable.reason}`);
    if (unavailable.hint !== "") lines.push(`  HINT: ${unavailable.hint}`);
  }
  return lines;
}

const COLUMNS = [
  ["cpu", 7],
  ["apic", 5],
  ["offset", 18],
  ["ratio", 11],
  ["drift(ppb)", 11],
  ["+-(ppb)", 8],
  ["TSC+-(ns)", 10],
  ["event+-(ns)", 11],
  ["changes", 7],
] as const;

/** One line for each vCPU, or for all where one relation serves them. */
function tableLines(
  { cpus, isReady }: AlignmentDescription,
  vcpus: readonly VcpuPicture[],
  hostHz: number,
): string[] {
  if (!isReady || cpus.length === 0) return [];
  const row = (cells: readonly string[]): string =>
    cells.map((cell, i) => cell.padStart(COLUMNS[i]![1])).join(" ");
  const lines = [
    row(COLUMNS.map(([name]) => name)),
    `   ${COLUMNS.map(([, width], i) => "-".repeat(i === 0 ? width - 3 : width)).join(" ")}`,
  ];
  for (const cpu of cpus.slice(0, ROWS_MAX)) lines.push(row(cellsOf(cpu, vcpus, hostHz)));
  if (cpus.length > ROWS_MAX) lines.push(`   ... and ${cpus.length - ROWS_MAX} more`);
  return lines;
}

function cellsOf(relation: CpuAlignment, vcpus: readonly VcpuPicture[], hostHz: number): string[] {
  const { cpu, apicId, offset, rate, rateErrorPpb, boundCycles, epoch, fracBits } = relation;
  const bounds = vcpus.filter((v) => cpu === undefined || v.cpu === cpu).map((v) => v.eventBoundNs);
  // A ratio that KVM applies is no drift; what is measured beside 1 is.
  const drift = fracBits === 0 ? (rate - 1) * 1e9 : 0;
  const isOtherClock = Math.abs(drift) >= 1e6;
  return [
    cpu === undefined ? "all" : `${cpu}`,
    apicId === undefined ? "-" : `${apicId}`,
    offset === undefined ? "unknown" : formatOffset(offset),
    rate.toFixed(9),
    isOtherClock ? "-" : signed(drift),
    significant(rateErrorPpb),
    nsCell((boundCycles / hostHz) * 1e9),
    nsCell(bounds.length === 0 ? Infinity : Math.max(...bounds)),
    `${epoch}`,
  ];
}

function nsCell(ns: number): string {
  return Number.isFinite(ns) ? `${Math.ceil(ns)}` : "unknown";
}

function signed(value: number): string {
  return `${value < 0 ? "-" : "+"}${Math.abs(value).toFixed(1)}`;
}

function significant(value: number): string {
  if (!Number.isFinite(value)) return "unknown";
  return value >= 100 ? `${Math.round(value)}` : `${Number(value.toPrecision(2))}`;
}
