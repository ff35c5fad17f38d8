/** Which source aligns a guest, what refutes it, and how it is told. */
import { describe, expect, test } from "bun:test";
import { GuestAlignment, PINGS_REFUTE } from "../../../agent-host/align/alignment.ts";
import {
  type AlignmentDescription,
  formatAlignment,
  formatCycles,
  formatOffset,
} from "../../../agent-host/align/alignment_description.ts";
import type { VcpuTsc } from "../../../agent-host/align/kvm_debugfs.ts";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";
import type { RoundTrip } from "../../../agent-host/align/ping.ts";
import { boundAt, segmentDelta } from "../../../shared/tsc/time_segment.ts";
import { guestTsc, highHalf, hostTsc, lowHalf } from "../../../shared/tsc/tsc.ts";

const START = 1n << 50n;
const ANCHOR = hostTsc(START);
const OFFSET = -(1n << 49n);
const HZ = 3e9;

function vcpu(apicId: number, offset: bigint, isNested = false): VcpuTsc {
  return { apicId, relation: tscRelation(offset), isNested, threadId: undefined };
}

/** A trip of 2000 cycles at host TSC `at`, by a guest whose TSC is host + offset. */
function trip(at: bigint, offset: bigint): RoundTrip {
  const guest = (host: bigint) => guestTsc(BigInt.asUintN(64, host + offset));
  return {
    hostSent: hostTsc(at),
    guestReceived: guest(at + 900n),
    guestSent: guest(at + 1000n),
    hostReceived: hostTsc(at + 2000n),
  };
}

function pingMany(alignment: GuestAlignment, count: number, offset: bigint, from = START): void {
  for (let i = 0; i < count; i++) {
    alignment.addRoundTrip(trip(from + BigInt(i) * 60_000_000n, offset));
  }
}

/** Host cycles since the anchor for a guest TSC, and the bound. */
function convertOn(alignment: GuestAlignment, cpu: number, guest: bigint): [number, number] {
  const segment = alignment.segmentFor(cpu)!;
  const value = BigInt.asUintN(64, guest);
  const delta = segmentDelta(segment, lowHalf(value), highHalf(value));
  return [segment.originCycles + segment.slope * delta, boundAt(segment, delta)];
}

describe("method", () => {
  test("auto begins with ping, and takes KVM as soon as it has every CPU", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    expect([alignment.method, alignment.isReady]).toEqual(["ping", false]);
    expect(alignment.segmentFor(0)).toBeUndefined();
    pingMany(alignment, 10, OFFSET);
    expect(alignment.isReady).toBe(true);
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET), vcpu(2, OFFSET)], ANCHOR);
    expect(alignment.method).toBe("ping");
    alignment.setCpus([
      { cpu: 0, apicId: 0 },
      { cpu: 1, apicId: 2 },
    ]);
    expect([alignment.method, alignment.isReady]).toEqual(["kvm", true]);
    alignment.setCpus([{ cpu: 1, apicId: 1 }]);
    expect(alignment.method).toBe("ping");
    alignment.setCpus([{ cpu: 2, apicId: undefined }]);
    expect(alignment.method).toBe("kvm");
  });

  test("manual is what the user says, and ready at once", () => {
    const manualOffset = OFFSET;
    const alignment = new GuestAlignment({ wanted: "manual", manualOffset, hostAnchor: ANCHOR });
    alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    alignment.setKvm("kvm/1-2", [vcpu(0, 1n)], ANCHOR);
    expect([alignment.method, alignment.isReady]).toEqual(["manual", true]);
    expect(convertOn(alignment, 7, START + 5n + OFFSET)[0]).toBe(5);
    const implied = new GuestAlignment({ wanted: "auto", manualOffset, hostAnchor: ANCHOR });
    expect(implied.method).toBe("manual");
    expect(() => new GuestAlignment({ wanted: "manual", hostAnchor: ANCHOR })).toThrow(TypeError);
  });

  test("ping wanted stays ping; kvm wanted is not ready without it", () => {
    const ping = new GuestAlignment({ wanted: "ping", hostAnchor: ANCHOR });
    const kvm = new GuestAlignment({ wanted: "kvm", hostAnchor: ANCHOR });
    pingMany(kvm, 10, OFFSET);
    expect([kvm.method, kvm.isReady]).toEqual(["kvm", false]);
    for (const alignment of [ping, kvm]) {
      alignment.setCpus([{ cpu: 0, apicId: 0 }]);
      alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET)], ANCHOR);
    }
    expect([ping.method, ping.isReady]).toEqual(["ping", false]);
    expect([kvm.method, kvm.isReady]).toEqual(["kvm", true]);
  });

  test("setCpus() refuses more CPUs than a guest has", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    const cpus = Array.from({ length: 5000 }, (_, cpu) => ({ cpu, apicId: cpu }));
    expect(() => alignment.setCpus(cpus)).toThrow("more than 4096 CPUs");
  });
});

describe("KVM per vCPU", () => {
  test("different offsets per vCPU by APIC id, changed while running", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([
      { cpu: 0, apicId: 0 },
      { cpu: 1, apicId: 4 },
    ]);
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET), vcpu(4, OFFSET + 100n)], ANCHOR);
    expect(convertOn(alignment, 0, START + 1000n + OFFSET)[0]).toBe(1000);
    expect(convertOn(alignment, 1, START + 1100n + OFFSET)[0]).toBe(1000);
    const at = hostTsc(START + 5000n);
    expect(alignment.onKvmWrite(9, 0n, 1n, at)).toBe(false);
    expect(alignment.wantsKvmReading).toBe(false);
    expect(alignment.onKvmWrite(4, OFFSET + 100n, 1n << 60n, at)).toBe(false);
    expect(alignment.wantsKvmReading).toBe(true);
    const soon = hostTsc(START + 5500n);
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET), vcpu(4, 1n << 60n)], soon);
    expect(convertOn(alignment, 1, START + 6000n + (1n << 60n))[0]).toBe(6000);
    expect(alignment.segmentFor(1)!.epoch).toBe(1);
    // The offsets were changed by polls in between: either may hold, and the bound says so.
    const jump = 7n - OFFSET;
    expect(alignment.mapFor(1)!.convert(START + 5000n + (1n << 60n)).boundCycles).toBeLessThan(1);
    alignment.setKvm("kvm/1-2", [vcpu(0, 7n)], hostTsc(START + 9000n));
    const doubtful = alignment.mapFor(0)!.convert(START + 8000n + 7n);
    expect(doubtful.cycles).toBe(8000);
    expect(doubtful.boundCycles).toBeGreaterThanOrEqual(Number(jump));
    expect(alignment.mapFor(0)!.convert(START + 10_000n + 7n).boundCycles).toBeLessThan(1);
    expect(alignment.kvmReadings).toBe(3);
  });

  test("a change that was announced and never seen is told", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    const read = (cycles: bigint): void => {
      alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET)], hostTsc(START + cycles));
    };
    read(0n);
    alignment.onKvmWrite(0, OFFSET, 7n, hostTsc(START + 500n));
    for (const cycles of [1000n, 2000n]) read(cycles);
    expect(alignment.describe().unexplainedWrites).toBe(1);
    expect(linesOf(alignment).at(-1)).toBe(
      "1 announced changes of KVM's TSC offsets were never seen: times around them may be off",
    );
  });

  test("the offset of a nested guest is not taken", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    alignment.setKvm("kvm/1-2", [vcpu(0, 1n, true)], ANCHOR);
    expect(alignment.method).toBe("ping");
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET)], ANCHOR);
    alignment.setKvm("kvm/1-2", [vcpu(0, 1n, true)], hostTsc(START + 1n));
    expect(convertOn(alignment, 0, START + OFFSET)[0]).toBe(0);
  });
});

describe("pings check the exact source", () => {
  test("agreement is silent; what stays wrong over three readings ends KVM's use", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    const read = () => alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET)], hostTsc(START + 1n));
    read();
    expect(alignment.addRoundTrip(trip(START, OFFSET))).toBeUndefined();
    const wrong = trip(START + 10_000n, OFFSET + 5_000n);
    expect(alignment.wantsKvmReading).toBe(false);
    expect(alignment.addRoundTrip(wrong)).toBeUndefined();
    expect(alignment.wantsKvmReading).toBe(true);
    for (let i = 0; i < PINGS_REFUTE; i++) {
      expect(alignment.method).toBe("kvm");
      read();
      expect(alignment.wantsKvmReading).toBe(false);
      const finding = alignment.addRoundTrip(wrong)!;
      expect(finding).toMatchObject({ kind: "ping-disagrees", method: "kvm" });
      expect(Math.abs(finding.excessCycles - 4_000)).toBeLessThan(1);
    }
    expect(alignment.method).toBe("ping");
    expect(alignment.disagreementCount).toBe(PINGS_REFUTE);
    expect(alignment.describe().unavailable[0]!.reason).toContain("contradict");
    read();
    expect(alignment.method).toBe("ping");
  });

  test("an offset that was changed between two readings is no finding", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([{ cpu: 0, apicId: 0 }]);
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET)], ANCHOR);
    for (let i = 0n; i < 100n; i++) {
      expect(alignment.addRoundTrip(trip(START + i, OFFSET + 9_000n))).toBeUndefined();
    }
    alignment.setKvm("kvm/1-2", [vcpu(0, OFFSET + 9_000n)], hostTsc(START + 5_000n));
    expect(alignment.addRoundTrip(trip(START + 6_000n, OFFSET + 9_000n))).toBeUndefined();
    expect(alignment.disagreementCount).toBe(0);
  });

  test("a manual offset is kept however wrong, and every contradiction counted", () => {
    const alignment = new GuestAlignment({
      wanted: "manual",
      manualOffset: 0n,
      hostAnchor: ANCHOR,
    });
    pingMany(alignment, 20, OFFSET);
    expect(alignment.method).toBe("manual");
    expect(alignment.disagreementCount).toBe(20);
  });

  test("any vCPU may have answered", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([
      { cpu: 0, apicId: 0 },
      { cpu: 1, apicId: 1 },
    ]);
    alignment.setKvm("kvm/1-2", [vcpu(0, 0n), vcpu(1, OFFSET)], ANCHOR);
    for (const offset of [0n, OFFSET]) {
      alignment.addRoundTrip(trip(START, offset));
      expect(alignment.wantsKvmReading).toBe(false);
    }
    alignment.addRoundTrip(trip(START, 1n << 40n));
    expect(alignment.wantsKvmReading).toBe(true);
  });
});

function linesOf(alignment: GuestAlignment): string[] {
  return formatAlignment(alignment.describe(), HZ);
}

describe("describe() as text", () => {
  test("manual", () => {
    const manualOffset = -10417559688434398n;
    const alignment = new GuestAlignment({ wanted: "manual", manualOffset, hostAnchor: ANCHOR });
    expect(linesOf(alignment)).toEqual([
      "guest TSC = host TSC + 0xffdafd48df582d22 (--tsc-offset)",
    ]);
  });

  test("kvm, vCPUs alike and scaled, with the ping's verdict", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    alignment.setCpus([0, 1, 2].map((cpu) => ({ cpu, apicId: cpu })));
    const scaled = tscRelation(3n, 1n << 47n, 48);
    const vcpus = [vcpu(0, OFFSET), vcpu(1, OFFSET), { ...vcpu(2, 0n), relation: scaled }];
    alignment.setKvm("kvm/1-2", vcpus, ANCHOR);
    alignment.addRoundTrip(trip(START, OFFSET));
    pingMany(alignment, 300, OFFSET);
    const lines = linesOf(alignment);
    expect(lines.slice(0, 2)).toEqual([
      `guest TSC = host TSC + ${formatOffset(OFFSET)} (kvm, kvm/1-2, 2 vCPUs alike)`,
      "guest TSC = host TSC * 0.500000000 + 0x3 (kvm, kvm/1-2, vcpu2)",
    ]);
    expect(lines[2]).toMatch(/^ping agrees: 301 round trips, \+-\d+ ns$/);
    const wrong = trip(START + (1n << 40n), OFFSET + 4_000n);
    alignment.addRoundTrip(wrong);
    alignment.setKvm("kvm/1-2", vcpus, hostTsc(START + (1n << 41n)));
    alignment.addRoundTrip(wrong);
    expect(linesOf(alignment)[2]).toBe("PING DISAGREES: 1 of 303 round trips, off by 1 us or more");
  });

  test("ping, and why not kvm", () => {
    const alignment = new GuestAlignment({ wanted: "auto", hostAnchor: ANCHOR });
    expect(linesOf(alignment)[0]).toBe(
      "guest TSC = host TSC + unknown (ping, 0 round trips, not ready)",
    );
    alignment.kvmFailed("Cannot find a virtual machine of process 4711", "use --vm");
    pingMany(alignment, 300, OFFSET);
    const lines = linesOf(alignment);
    expect(lines[0]).toMatch(/^guest TSC = host TSC \+ 0xfffd\w{12} \+-\d+ ns, rate [+-]\d+\.\d /);
    expect(lines[0]).toMatch(/ \+-\d+\.\d ppb \(ping, 300 round trips\)$/);
    expect(lines[1]).toBe("kvm not used: Cannot find a virtual machine of process 4711; use --vm");
    const description: AlignmentDescription = alignment.describe();
    expect(description.cpus[0]!.boundCycles).toBeLessThan(3000);
  });

  test("formatCycles() picks the unit", () => {
    const texts = [0, 3, 93, 2999, 54_600, 3_000_000_000, Infinity].map((c) => formatCycles(c, HZ));
    expect(texts).toEqual(["0 ns", "1 ns", "31 ns", "1 us", "18.2 us", "1 s", "unknown"]);
  });
});
