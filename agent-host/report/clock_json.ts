/**
 * `agent-host clock --json`: one object per machine and look.
 *
 *   {"type":"clock","machine":"host","wall_ns":"1764...","tsc_hz":2599998123.4, ...}
 *   {"type":"clock","machine":"guest 1","source":"127.0.0.1:9900","method":"kvm","settled":true,
 *    "cpus":[{"cpu":0,"apic_id":0,"offset":"-10417559688434398","rate":1,"bound_ns":0,...}],...}
 *
 * guest TSC = ((host TSC * ratio) >> frac_bits) + offset. Bounds and distances are in ns; what is
 * not known is null; integers that may pass 2^53 are strings.
 */

import type { TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";
import type {
  ChannelPicture,
  ClockPicture,
  HostPicture,
  PerfClockPicture,
  SkewPicture,
} from "../clock/clock_picture.ts";
import { machineName } from "../session/machine_name.ts";
import { alignmentMembers } from "./alignment_json.ts";
import { jsonNumber, jsonObject, jsonString } from "./json_value.ts";

type Members = Readonly<Record<string, string>>;

/** Lines of JSON, the host's first. */
export function clockJson(picture: ClockPicture): string {
  const when = {
    wall_ns: `"${picture.wallNs}"`,
    elapsed_ns: jsonNumber(picture.elapsedMs * 1e6, 0),
  };
  const lines = [
    jsonObject({ type: '"clock"', machine: '"host"', ...when, ...hostMembers(picture.host) }),
    ...picture.channels.map((channel) =>
      jsonObject({
        type: '"clock"',
        machine: jsonString(machineName(channel.machine)),
        ...when,
        ...channelMembers(channel, picture.host.tsc.hz),
      }),
    ),
  ];
  return `${lines.join("\n")}\n`;
}

function hostMembers({ tsc, clocksource, perf, skew }: HostPicture): Members {
  return {
    ...tscMembers(tsc, clocksource),
    ...perfMembers(perf),
    ...skewMembers(skew),
  };
}

function tscMembers(tsc: TscFrequency | undefined, clocksource: string | undefined): Members {
  return {
    tsc_hz: jsonNumber(tsc?.hz ?? Number.NaN, 3),
    tsc_error_hz: jsonNumber(tsc?.errorHz ?? Number.NaN, 3),
    clocksource: clocksource === undefined ? "null" : jsonString(clocksource),
  };
}

function perfMembers(perf: PerfClockPicture | undefined): Members {
  if (perf === undefined) return { perf_clock: "null", perf_bound_ns: "null" };
  return {
    perf_clock: jsonString(perf.source),
    perf_bound_ns: jsonNumber(perf.boundNs, 3),
    perf_readings: `${perf.readings}`,
    perf_epoch: `${perf.epoch}`,
  };
}

function skewMembers({ checkedCpus, resolutionNs, apart }: SkewPicture): Members {
  const objects = apart.map(({ cpu, loNs, hiNs }) =>
    jsonObject({
      cpu: `${cpu}`,
      skew_ns_min: jsonNumber(loNs, 3),
      skew_ns_max: jsonNumber(hiNs, 3),
    }),
  );
  return {
    cpus_checked: `${checkedCpus}`,
    cpus_in_step_within_ns: jsonNumber(checkedCpus === 0 ? Number.NaN : resolutionNs, 3),
    cpus_apart: `[${objects.join(",")}]`,
  };
}

function channelMembers(channel: ChannelPicture, hostHz: number): Members {
  const { guest, peer, drift } = channel;
  const vmm = typeof peer === "string" ? undefined : peer;
  const text = (value: string | undefined): string =>
    value === undefined ? "null" : jsonString(value);
  return {
    source: jsonString(channel.source),
    settled: `${channel.isSettled}`,
    waiting_for: channel.waitingFor === "" ? "null" : jsonString(channel.waitingFor),
    hostname: text(guest?.hostname),
    kernel_release: text(guest?.kernelRelease),
    agent_version: text(guest?.agentVersion),
    vm_pid: `${vmm?.pid ?? null}`,
    vm_program: text(vmm?.program),
    vm_name: text(vmm?.name),
    vm_uuid: text(vmm?.uuid),
    ...tscMembers(channel.tsc, guest?.clocksource),
    ...perfMembers(channel.perf),
    ...skewMembers(channel.skew),
    drift_ppb: jsonNumber(drift?.ppb ?? Number.NaN, 3),
    drift_error_ppb: jsonNumber(drift?.errorPpb ?? Number.NaN, 3),
    ...relationMembers(channel, hostHz),
  };
}

function relationMembers(
  { alignment, cpus, watchFailure }: ChannelPicture,
  hostHz: number,
): Members {
  if (alignment === undefined) return { method: "null", ready: "false", cpus: "[]" };
  const bounds = new Map(cpus.map(({ cpu, eventBoundNs }) => [cpu, eventBoundNs]));
  const worst = Math.max(0, ...bounds.values());
  const boundOf = (cpu: number | undefined): number =>
    cpu === undefined ? worst : (bounds.get(cpu) ?? Number.NaN);
  const { cpus: vcpus, ...relation } = alignmentMembers(alignment, hostHz, boundOf);
  return { ...relation, changes_followed: `${watchFailure === ""}`, cpus: vcpus! };
}
