/**
 * What `agent-host clock` shows, as plain values: the host's clocks, and for each channel the
 * guest's clocks, the method in force between the two TSCs, and what all that is worth. Renderers
 * (report/clock_text.ts, report/clock_json.ts) do the rest.
 *
 *   guest perf clock --fitted, exact--> guest TSC --method--> host TSC <--fitted-- host perf clock
 *   '---------------------- event bound ---------------------------'
 */

import { readClocksource } from "../../shared/event/machine.ts";
import type { CpuSkews } from "../../shared/tsc/cpu_skews.ts";
import type { TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";
import type { AlignmentDescription } from "../align/alignment_description.ts";
import type { Vmm } from "../align/vm_lookup.ts";
import type { HostClock } from "../session/host_clock.ts";
import { type ClockDrift, clockDrift } from "./clock_drift.ts";
import type { ClockGuest } from "./clock_guest.ts";

/** How a machine's perf clock relates to its TSC. */
export interface PerfClockPicture {
  /** exact: the ring page converts; fitted: measured through CLOCK_MONOTONIC_RAW. */
  readonly source: "exact" | "fitted";
  readonly boundNs: number;
  readonly readings: number;
  /** Steps of the relation so far. */
  readonly epoch: number;
}

/** The TSCs of one machine against each other. */
export interface SkewPicture {
  /** CPUs that were held against the reference. */
  readonly checkedCpus: number;
  /** What those in step may be apart without it being seen. */
  readonly resolutionNs: number;
  readonly apart: readonly { readonly cpu: number; readonly loNs: number; readonly hiNs: number }[];
}

export interface HostPicture {
  readonly tsc: TscFrequency;
  readonly clocksource: string;
  readonly perf: PerfClockPicture;
  readonly skew: SkewPicture;
}

/** One vCPU: what its events' times are worth. */
export interface VcpuPicture {
  readonly cpu: number;
  readonly apicId: number | undefined;
  /** Of an event's time on the host's line; Infinity while it is not known. */
  readonly eventBoundNs: number;
}

/** What the guest says of itself: its text, not to be trusted. */
export interface GuestPicture {
  readonly hostname: string;
  readonly kernelRelease: string;
  readonly agentVersion: string;
  readonly clocksource: string;
}

export interface ChannelPicture {
  readonly machine: number;
  readonly source: string;
  /** Why nothing is known yet; "" once the guest has spoken. */
  readonly waitingFor: string;
  readonly isSettled: boolean;
  readonly guest: GuestPicture | undefined;
  /** The process at the other end, a VMM or what stands before it; or why it is not known. */
  readonly peer: Vmm | string;
  readonly tsc: TscFrequency | undefined;
  readonly perf: PerfClockPicture | undefined;
  readonly skew: SkewPicture;
  /** Undefined for a recording: nothing relates it to this host. */
  readonly alignment: AlignmentDescription | undefined;
  /** By how much the guest's perf clock runs faster than the host's, and +-. */
  readonly drift: ClockDrift | undefined;
  readonly cpus: readonly VcpuPicture[];
  /** Why KVM's changes are seen by reading debugfs alone; "" when that is not so. */
  readonly watchFailure: string;
}

export interface ClockPicture {
  /** Of the host's day, in ns. */
  readonly wallNs: bigint;
  readonly elapsedMs: number;
  readonly isSettled: boolean;
  readonly host: HostPicture;
  readonly channels: readonly ChannelPicture[];
}

function skewPicture(skews: CpuSkews, nsPerCycle: number): SkewPicture {
  return {
    checkedCpus: skews.list().length,
    resolutionNs: skews.resolutionCycles * nsPerCycle,
    apart: skews.apart.map(({ cpu, lo, hi }) => ({
      cpu,
      loNs: lo * nsPerCycle,
      hiNs: hi * nsPerCycle,
    })),
  };
}

/** The host's clocks. Its clock must be ready. */
export function hostPicture(clock: HostClock): HostPicture {
  const tsc = clock.frequency!;
  const nsPerCycle = 1e9 / tsc.hz;
  return {
    tsc,
    clocksource: readClocksource(),
    perf: {
      source: "fitted",
      boundNs: clock.fit.boundCycles * nsPerCycle,
      readings: clock.fit.readingCount,
      epoch: clock.fit.epoch,
    },
    skew: skewPicture(clock.skews, nsPerCycle),
  };
}

export interface ChannelFacts {
  readonly guest: ClockGuest;
  readonly peer: ChannelPicture["peer"];
  readonly isSettled: boolean;
}

/** One channel's clocks. */
export function channelPicture(
  { guest, peer, isSettled }: ChannelFacts,
  host: TscFrequency,
): ChannelPicture {
  const { hello, link, conversion, machine } = guest;
  const { clock, time } = conversion;
  const { frequency } = clock ?? {};
  const guestNs = 1e9 / (frequency?.hz ?? Number.NaN);
  // Without a host in play canonical cycles are the guest's.
  const canonicalNs = time === undefined ? guestNs : 1e9 / host.hz;
  const alignment = time?.alignment.describe();
  const [cpu] = alignment?.cpus ?? [];
  return {
    machine,
    source: link.source.name,
    waitingFor: clock === undefined ? link.waitingFor : "",
    isSettled,
    guest: hello && {
      hostname: hello.hostname,
      kernelRelease: hello.kernelRelease,
      agentVersion: hello.agentVersion,
      clocksource: hello.clock?.clocksource ?? "",
    },
    peer,
    tsc: frequency,
    perf: clock && {
      source: clock.isExact ? "exact" : "fitted",
      boundNs: clock.boundCycles * guestNs,
      readings: clock.readingCount,
      epoch: clock.epoch,
    },
    skew: clock === undefined ? NO_SKEW : skewPicture(clock.skews, guestNs),
    alignment,
    drift: frequency && cpu && clockDrift(host, frequency, cpu),
    cpus: (hello?.cpus ?? []).map(({ cpu, apicId }) => ({
      cpu,
      apicId,
      eventBoundNs: guest.boundOf(cpu) * canonicalNs,
    })),
    watchFailure: time?.watchFailure ?? "",
  };
}

const NO_SKEW: SkewPicture = { checkedCpus: 0, resolutionNs: 0, apart: [] };
