/**
 * Ground truth from a real KVM guest: each reading of the guest's TSC happened between two readings
 * of the host's, so its conversion must fall between them. Not one of them may miss.
 */
import { afterAll, describe, expect, test } from "bun:test";
import { accessSync, constants } from "node:fs";
import { GuestAlignment } from "../../../../agent-host/align/alignment.ts";
import {
  KVM_DEBUGFS,
  type KvmVm,
  readVcpus,
  type VcpuTsc,
  vmOfPid,
} from "../../../../agent-host/align/kvm_debugfs.ts";
import { hostOfGuest, tscRelation } from "../../../../agent-host/align/kvm_offset.ts";
import { TscTimeline } from "../../../../agent-host/align/kvm_timeline.ts";
import { PingEstimator, pingDisagreement } from "../../../../agent-host/align/ping.ts";
import { CLOCK_MONOTONIC_RAW } from "../../../../shared/sys/abi.ts";
import { clockBracket, readTsc } from "../../../../shared/sys/clock.ts";
import { FittedPerfClock } from "../../../../shared/tsc/perf_clock_fit.ts";
import { guestTsc, type HostTsc, hostTsc } from "../../../../shared/tsc/tsc.ts";
import { ClockProof } from "../../../clock_proof.ts";
import { KvmMachine, type KvmVcpu } from "./kvm_machine.ts";

/** Two vCPUs whose APIC ids are not their numbers. */
const APIC_IDS = [0, 5];
/** Per vCPU and plan entry; the plan has 12 entries. */
const READINGS = 500;
/** Offsets of the two vCPUs, one after the other: zero, negative, beyond 2^53, 0 to A to B. */
const PLAN: readonly (readonly [bigint, bigint])[] = [
  [0n, 0n],
  [-5n, 7n],
  [-1_000_000_000_000n, -1_000_000_000_000n],
  [1n << 60n, -(1n << 60n)],
  [-10_417_559_688_434_398n, (1n << 54n) + 1n],
  [0n, 0n],
  [(1n << 63n) - 1n, -(1n << 63n)],
  [12_345n, (1n << 62n) + 3n],
  [12_345n, (1n << 62n) + 3n],
  [-(1n << 55n), 99n],
  [3_000_000_000n, 0n],
  [0n, 1n],
];

const whyNot = ((): string => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    accessSync(KVM_DEBUGFS, constants.R_OK);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
})();
if (whyNot !== "") console.warn(`skipped: KVM ground truth: ${whyNot}`);

/** Length of a host's cycle, for printing. */
function nsPerCycle(): number {
  const clock = new FittedPerfClock();
  const endNs = performance.now() + 20;
  while (performance.now() < endNs) clock.add(clockBracket(CLOCK_MONOTONIC_RAW, 8));
  return 1e9 / clock.frequency!.hz;
}

interface Reading {
  readonly vcpu: number;
  readonly before: HostTsc;
  readonly guest: bigint;
  readonly after: HostTsc;
}

/** Sets the offset, by KVM where it obeys. Returns whether it did. */
function setOffset(vm: KvmVm, vcpu: KvmVcpu, offset: bigint): boolean {
  vcpu.softOffset = 0n;
  vcpu.setTscOffset(offset);
  const shown = readVcpus(vm).find((v) => v.apicId === vcpu.id)!.relation.offset;
  if (shown === offset) return true;
  expect(shown).toBe(0n);
  vcpu.softOffset = offset;
  return false;
}

/** What debugfs says, with the offset that the guest's code adds where KVM would not. */
function readRelations(vm: KvmVm, vcpus: readonly KvmVcpu[]): VcpuTsc[] {
  return readVcpus(vm).map((vcpu) => {
    const { softOffset } = vcpus.find((v) => v.id === vcpu.apicId)!;
    if (softOffset === 0n) return vcpu;
    const { offset, ratio, fracBits } = vcpu.relation;
    return { ...vcpu, relation: tscRelation(offset + softOffset, ratio, fracBits) };
  });
}

function read(machine: KvmMachine, vcpu: number): Reading {
  const before = hostTsc(readTsc());
  const guest = machine.vcpus[vcpu]!.readGuestTsc();
  return { vcpu, before, guest, after: hostTsc(readTsc()) };
}

function isInside(alignment: GuestAlignment, anchor: HostTsc, reading: Reading): boolean {
  const { cycles, boundCycles } = alignment.mapFor(reading.vcpu)!.convert(reading.guest);
  // Exact, and not inside because of a bound that covers everything.
  expect(boundCycles).toBeLessThan(2);
  const before = Number(reading.before - anchor);
  const after = Number(reading.after - anchor);
  return cycles >= before - boundCycles && cycles <= after + boundCycles;
}

describe.skipIf(whyNot !== "")("a KVM guest's own readings", () => {
  let machine: KvmMachine | undefined;
  afterAll(() => machine?.close());

  test("debugfs-based conversion places every reading between the host's stamps", () => {
    machine = new KvmMachine(APIC_IDS);
    const { vcpus } = machine;
    const vm = vmOfPid(process.pid);
    const anchor = hostTsc(readTsc());
    const alignment = new GuestAlignment({ wanted: "kvm", hostAnchor: anchor });
    alignment.setCpus(APIC_IDS.map((apicId, cpu) => ({ cpu, apicId })));
    const timelines = readRelations(vm, vcpus).map((v) => new TscTimeline(v.relation, anchor));
    const all: Reading[] = [];
    const proof = new ClockProof("KVM guest, debugfs offsets");
    const cycleNs = nsPerCycle();
    let obeyed = 0;
    for (const offsets of PLAN) {
      obeyed += vcpus.filter((vcpu, i) => setOffset(vm, vcpu, offsets[i]!)).length;
      const relations = readRelations(vm, vcpus);
      const now = hostTsc(readTsc());
      alignment.setKvm(vm.path, relations, now);
      for (const [i, v] of relations.entries()) timelines[i]!.poll(v.relation, now);
      for (let i = 0; i < READINGS * vcpus.length; i++) {
        const reading = read(machine, i % vcpus.length);
        all.push(reading);
        expect(isInside(alignment, anchor, reading)).toBe(true);
        const { cycles, boundCycles } = alignment.mapFor(reading.vcpu)!.convert(reading.guest);
        const [low, high] = [reading.before, reading.after].map((tsc) => Number(tsc - anchor));
        proof.count(cycles, boundCycles, low!, high!, cycleNs);
      }
    }
    // Each by the relation of its own time, long after it has changed.
    const later = all.filter(({ vcpu, before, guest, after }) => {
      const host = hostOfGuest(timelines[vcpu]!.at(before).relation, guestTsc(guest));
      return host >= before && host <= after;
    });
    const narrowest = all.reduce((n, r) => Math.min(n, Number(r.after - r.before)), Infinity);
    console.log(
      `  ${later.length} also by the epoch of their time; narrowest window ${narrowest} cycles; ` +
        `offsets by ${obeyed === PLAN.length * 2 ? "KVM" : "KVM where it obeys, else guest code"}`,
    );
    proof.report(10_000);
    expect(later.length).toBe(all.length);
  }, 60_000);

  test("an offset that is off by more than the windows is caught", () => {
    const anchor = hostTsc(readTsc());
    const vcpu = machine!.vcpus[0]!;
    const truth = readRelations(vmOfPid(process.pid), machine!.vcpus)[0]!;
    const off = tscRelation(truth.relation.offset + 3_000_000_000n);
    const alignment = new GuestAlignment({ wanted: "kvm", hostAnchor: anchor });
    alignment.setCpus([{ cpu: 0, apicId: vcpu.id }]);
    alignment.setKvm("test", [{ ...truth, relation: off }], anchor);
    for (let i = 0; i < 100; i++)
      expect(isInside(alignment, anchor, read(machine!, 0))).toBe(false);
  });

  test("ping over the same readings contains the exact relation, rate unknown", () => {
    const anchor = hostTsc(readTsc());
    const vm = vmOfPid(process.pid);
    setOffset(vm, machine!.vcpus[1]!, -(1n << 50n) - 3n);
    const exact = readRelations(vm, machine!.vcpus)[1]!.relation;
    const ping = new PingEstimator(anchor);
    const proof = new ClockProof("KVM guest, ping, rate unknown");
    const cycleNs = nsPerCycle();
    const trips = 2_000;
    for (let i = 0; i < trips; i++) {
      const { before, guest, after } = read(machine!, 1);
      const stamp = guestTsc(guest);
      ping.add({
        hostSent: before,
        guestReceived: stamp,
        guestSent: stamp,
        hostReceived: after,
      });
      const { cycles, boundCycles } = ping.map.convert(guest);
      const truth = Number(hostOfGuest(exact, stamp) - anchor);
      proof.count(cycles, boundCycles, truth, truth, cycleNs);
      expect(
        pingDisagreement(
          { hostSent: before, guestReceived: stamp, guestSent: stamp, hostReceived: after },
          ping.map.newest!,
        ),
      ).toBe(0);
    }
    proof.report(trips);
    expect(ping.epoch).toBe(0);
  });
});
