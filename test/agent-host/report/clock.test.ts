/** `agent-host clock` as text and JSON, from hand-made pictures. */
import { describe, expect, test } from "bun:test";
import { exactCpu } from "../../../agent-host/align/alignment_description.ts";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";
import type { ChannelPicture, ClockPicture } from "../../../agent-host/clock/clock_picture.ts";
import { clockJson } from "../../../agent-host/report/clock_json.ts";
import { clockText } from "../../../agent-host/report/clock_text.ts";

const GHZ2 = { hz: 2e9, errorHz: 4 };
const NO_SKEW = { checkedCpus: 0, resolutionNs: 0, apart: [] };
const FITTED = { source: "fitted", boundNs: 71.4, readings: 14, epoch: 0 } as const;
const ESCAPE = "\x1b[2J";

const KVM: ChannelPicture = {
  machine: 1,
  source: "127.0.0.1:9900",
  waitingFor: "",
  isSettled: true,
  guest: {
    hostname: `vm${ESCAPE}1`,
    kernelRelease: "6.1.0",
    agentVersion: "0.1.0",
    clocksource: "kvm-clock",
  },
  peer: { pid: 26027, program: "qemu-system-x86_64", name: `web${ESCAPE}`, uuid: undefined },
  tsc: GHZ2,
  perf: FITTED,
  skew: { checkedCpus: 2, resolutionNs: 60, apart: [{ cpu: 1, loNs: 2990, hiNs: 3010 }] },
  alignment: {
    method: "kvm",
    wanted: "auto",
    isReady: true,
    source: "/sys/kernel/debug/kvm/26027-11",
    cpus: [
      exactCpu(0, 0, tscRelation(-5n), 0),
      exactCpu(1, 4, tscRelation((1n << 60n) + 3n, 3n << 47n, 48), 0.5, 2),
    ],
    unexplainedWrites: 2,
    emulatorReadings: 0,
    causality: {
      isTrusted: false,
      usedPairs: 0,
      refusedPairs: 0,
      isRefuted: false,
      boundCycles: Infinity,
    },
    pingCount: 250,
    pingBoundCycles: 36_400,
    wireCyclesMin: 80_000,
    disagreementCount: 0,
    excessCyclesMax: 0,
    unavailable: [],
  },
  drift: { ppb: -12.34, errorPpb: 3.456 },
  cpus: [
    { cpu: 0, apicId: 0, eventBoundNs: 113.2 },
    { cpu: 1, apicId: 4, eventBoundNs: 120 },
  ],
  watchFailure: "",
};

const PING: ChannelPicture = {
  ...KVM,
  machine: 2,
  source: "unix:/run/x.sock",
  isSettled: false,
  guest: undefined,
  peer: "Cannot tell",
  skew: NO_SKEW,
  alignment: {
    ...KVM.alignment!,
    unexplainedWrites: 0,
    method: "ping",
    source: "",
    cpus: [
      {
        cpu: undefined,
        apicId: undefined,
        offset: -1n,
        rate: 1.0000000021,
        rateErrorPpb: 4.04,
        fracBits: 0,
        ratio: 1n,
        boundCycles: 36_400,
        epoch: 0,
      },
    ],
    unavailable: [{ method: "kvm", reason: "no debugfs", hint: "mount it" }],
  },
  drift: undefined,
  cpus: [
    { cpu: 0, apicId: 0, eventBoundNs: 18_271.5 },
    { cpu: 1, apicId: 1, eventBoundNs: Infinity },
  ],
  watchFailure: "no such tracepoint",
};

const PICTURE: ClockPicture = {
  wallNs: 1_764_000_000_000_000_000n,
  elapsedMs: 5234,
  isSettled: false,
  host: {
    tsc: GHZ2,
    clocksource: "tsc",
    perf: { ...FITTED, boundNs: 43.21, epoch: 1 },
    skew: { checkedCpus: 1, resolutionNs: 95.6, apart: [] },
  },
  channels: [KVM, PING],
};

describe("clockText()", () => {
  test("shows domains, methods and vCPUs, and no byte of anybody's that a terminal obeys", () => {
    expect(clockText(PICTURE, "2026-11-25 18:40:12.123456")).toBe(`\
2026-11-25 18:40:12.123456  after 5.2 s, not settled yet
host      TSC 2.000000 GHz +-2 ppb, clocksource tsc; 2 CPUs in step (within 95.6 ns)
          perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW: +-43.2 ns, 14 readings, 1 steps
guest 1   127.0.0.1:9900, "vm\\x1b[2J1", Linux 6.1.0, agent-guest 0.1.0
          behind it: process 26027 ("web\\u001b[2J")
          TSC 2.000000 GHz +-2 ppb, clocksource kvm-clock; CPUs APART: CPU 1 +3 us
          perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW: +-71.4 ns, 14 readings
          method KVM debugfs, /sys/kernel/debug/kvm/26027-11
          check ping agrees: 250 round trips, +-18.2 us, quickest 40 us
          2 announced changes of KVM's TSC offsets were never seen: times around them may be off
          perf clock runs -12.3 +-3.5 ppb against the host's
    cpu  apic             offset       ratio  drift(ppb)  +-(ppb)  TSC+-(ns) event+-(ns) changes
   ---- ----- ------------------ ----------- ----------- -------- ---------- ----------- -------
      0     0 0xfffffffffffffffb 1.000000000        +0.0        0          0         114       0
      1     4 0x1000000000000003 1.500000000        +0.0        0          1         120       2
guest 2   unix:/run/x.sock
          TSC 2.000000 GHz +-2 ppb
          perf clock fitted to the TSC through CLOCK_MONOTONIC_RAW: +-71.4 ns, 14 readings
          method ping, round trips: 250, quickest 40 us
          changes of the offset are seen once a second only: no such tracepoint
          KVM debugfs not used: no debugfs
            HINT: mount it
    cpu  apic             offset       ratio  drift(ppb)  +-(ppb)  TSC+-(ns) event+-(ns) changes
   ---- ----- ------------------ ----------- ----------- -------- ---------- ----------- -------
    all     - 0xffffffffffffffff 1.000000002        +2.1        4      18200     unknown       0
`);
  });

  test("says what is waited for, what is not known yet, and what disagrees", () => {
    const alignment = {
      ...KVM.alignment!,
      isReady: false,
      disagreementCount: 3,
      excessCyclesMax: 4000,
    };
    const channel = {
      ...KVM,
      waitingFor: "agent-guest",
      tsc: undefined,
      perf: undefined,
      alignment,
    };
    const text = clockText({ ...PICTURE, channels: [channel] }, "now");
    expect(text).toContain("waiting for agent-guest\n");
    expect(text).toContain("method KVM debugfs, /sys/kernel/debug/kvm/26027-11: not known yet\n");
    expect(text).toContain("check PING DISAGREES: 3 of 250 round trips, off by 2 us or more");
    expect(text).not.toContain("cpu  apic");
    expect(text).not.toContain("ppb against the host's");
  });

  test("a recording has no relation to this host", () => {
    const channel = { ...KVM, alignment: undefined, drift: undefined, peer: "" };
    const text = clockText({ ...PICTURE, channels: [channel] }, "now");
    expect(text).toContain("method none: a recording answers no ping");
  });
});

describe("clockJson()", () => {
  test("gives one object per machine, with 64-bit numbers as strings and null for the unknown", () => {
    const text = clockJson(PICTURE);
    expect(text).toMatch(/^[ -~\n]+$/);
    const [host, kvm, ping] = text
      .trimEnd()
      .split("\n")
      .map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(host).toEqual({
      type: "clock",
      machine: "host",
      wall_ns: "1764000000000000000",
      elapsed_ns: 5_234_000_000,
      tsc_hz: 2e9,
      tsc_error_hz: 4,
      clocksource: "tsc",
      perf_clock: "fitted",
      perf_bound_ns: 43.21,
      perf_readings: 14,
      perf_epoch: 1,
      cpus_checked: 1,
      cpus_in_step_within_ns: 95.6,
      cpus_apart: [],
    });
    expect(kvm).toMatchObject({
      machine: "guest 1",
      source: "127.0.0.1:9900",
      settled: true,
      hostname: `vm${ESCAPE}1`,
      vm_pid: 26027,
      vm_uuid: null,
      cpus_apart: [{ cpu: 1, skew_ns_min: 2990, skew_ns_max: 3010 }],
      drift_ppb: -12.34,
      method: "kvm",
      round_trips: 250,
      ping_bound_ns: 18_200,
      changes_followed: true,
      not_used: [],
      cpus: [
        {
          cpu: 0,
          apic_id: 0,
          offset: "-5",
          rate: 1,
          frac_bits: 0,
          bound_ns: 0,
          event_bound_ns: 113.2,
        },
        {
          cpu: 1,
          offset: "1152921504606846979",
          rate: 1.5,
          ratio: "422212465065984",
          frac_bits: 48,
        },
      ],
    });
    expect(ping).toMatchObject({
      settled: false,
      hostname: null,
      vm_pid: null,
      drift_ppb: null,
      cpus_in_step_within_ns: null,
      changes_followed: false,
      not_used: [{ method: "kvm", reason: "no debugfs", hint: "mount it" }],
      cpus: [{ cpu: null, apic_id: null, offset: "-1", bound_ns: 18_200, event_bound_ns: null }],
    });
  });
});
