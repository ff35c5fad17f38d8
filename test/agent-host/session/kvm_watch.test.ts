/** KVM's announcements of TSC offsets, of a real virtual machine that this process makes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { accessSync, constants } from "node:fs";
import { HostClock } from "../../../agent-host/session/host_clock.ts";
import { KvmWatch } from "../../../agent-host/session/kvm_watch.ts";
import { readTsc } from "../../../shared/sys/clock.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { KvmMachine } from "../align/kvm_truth/kvm_machine.ts";

const whyNot = ((): string => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    return Tracefs.open().find("kvm:kvm_write_tsc_offset").length > 0 ? "" : "no such tracepoint";
  } catch (error) {
    return (error as Error).message;
  }
})();
if (whyNot !== "") console.warn(`skipped: KVM's announcements: ${whyNot}`);

describe.skipIf(whyNot !== "")("KvmWatch", () => {
  /** APIC ids that are not the vCPUs' numbers. */
  const APIC_IDS = [0, 5];
  let hostClock: HostClock;
  let machine: KvmMachine;

  beforeAll(async () => {
    hostClock = new HostClock(readTsc());
    await waitUntil(
      () => {
        hostClock.tick(performance.now());
        return hostClock.isReady;
      },
      10_000,
      "the host's clock",
    );
    machine = new KvmMachine(APIC_IDS);
  });
  afterAll(() => machine.close());

  test("poll() gives each write of this process, its vCPU, and a stamp within the call", () => {
    const watch = new KvmWatch(process.pid, hostClock);
    try {
      const plan = [5n, -7n, (1n << 62n) + 3n, 0n].flatMap((offset) =>
        machine.vcpus.map((vcpu) => ({ vcpu, offset })),
      );
      const calls = plan.map(({ vcpu, offset }) => {
        const before = readTsc();
        vcpu.setTscOffset(offset);
        return { vcpu, offset, before, after: readTsc() };
      });
      hostClock.tick(performance.now());
      const writes = watch.poll();
      expect(writes.map(({ apicId, next }) => [apicId, BigInt.asIntN(64, next)])).toEqual(
        calls.map(({ vcpu, offset }) => [vcpu.id, offset]),
      );
      const slack = BigInt(Math.ceil(hostClock.fit.boundCycles));
      writes.forEach(({ at }, i) => {
        expect(at >= calls[i]!.before - slack).toBe(true);
        expect(at <= calls[i]!.after + slack).toBe(true);
      });
      expect(watch.poll()).toEqual([]);
    } finally {
      watch.close();
    }
  });

  test("poll() passes over what other processes do", () => {
    const watch = new KvmWatch(1, hostClock);
    try {
      machine.vcpus[0]!.setTscOffset(99n);
      expect(watch.poll()).toEqual([]);
    } finally {
      watch.close();
    }
  });
});
