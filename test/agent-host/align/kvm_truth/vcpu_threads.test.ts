/** _vcpu and _vm of host events: from directories made by hand, and from a real VM. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { accessSync, constants, mkdirSync, rmSync, writeFileSync } from "node:fs";
import { VcpuThreads } from "../../../../agent-host/align/vcpu_threads.ts";
import { EXIT } from "../../../../shared/cli/failure.ts";
import { NO_TRACING, ownTid } from "../../../shared/event/kernel.ts";
import { Workspace } from "../../../vm/workspace.ts";
import { JsonOutput, startHost } from "../../support/live.ts";
import { KvmMachine } from "./kvm_machine.ts";

const READINGS = 200;
const VCPU = 5;

function reasonAgainstKvm(): string {
  if (NO_TRACING !== "") return NO_TRACING;
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    accessSync("/sys/kernel/debug/kvm", constants.R_OK);
    accessSync("/sys/kernel/tracing/events/kvm/kvm_pio/format", constants.R_OK);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
}

const NO_KVM = reasonAgainstKvm();
if (NO_KVM !== "") console.warn(`skipped: vCPUs of host events: ${NO_KVM}`);

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

describe("VcpuThreads", () => {
  const addVcpu = (vm: string, vcpu: number, pid: string): void => {
    mkdirSync(workspace.file(`kvm/${vm}/vcpu${vcpu}`), { recursive: true });
    writeFileSync(workspace.file(`kvm/${vm}/vcpu${vcpu}/pid`), pid);
  };

  test("place() gives the vCPU of a thread and the guest of its process", () => {
    addVcpu("100-11", 0, "101\n");
    addVcpu("100-11", 7, "102\n");
    addVcpu("200-9", 0, "201\n");
    addVcpu("200-9", 1, "0\n");
    const threads = new VcpuThreads((pid) => (pid === 200 ? 2 : 0), workspace.file("kvm"));
    expect(threads.place(101)).toEqual({ vcpu: 0, vm: 0 });
    expect(threads.place(102)).toEqual({ vcpu: 7, vm: 0 });
    expect(threads.place(201)).toEqual({ vcpu: 0, vm: 2 });
    for (const tid of [0, 100, 999]) expect(threads.place(tid)).toEqual({ vcpu: -1, vm: 0 });
  });

  test("refresh() follows vCPUs that come and go, once anybody has asked", () => {
    const threads = new VcpuThreads(() => 1, workspace.file("kvm"));
    threads.refresh(0);
    addVcpu("300-9", 3, "301\n");
    expect(threads.place(301)).toEqual({ vcpu: 3, vm: 1 });
    rmSync(workspace.file("kvm/300-9"), { recursive: true });
    threads.refresh(1_000_000);
    expect(threads.place(301).vcpu).toBe(-1);
    addVcpu("300-9", 4, "301\n");
    threads.refresh(1_000_500);
    expect(threads.place(301).vcpu).toBe(-1);
    threads.refresh(1_001_000);
    expect(threads.place(301).vcpu).toBe(4);
  });

  test("without KVM no thread runs a vCPU", () => {
    expect(new VcpuThreads(() => 1, workspace.file("nowhere")).place(1).vcpu).toBe(-1);
  });
});

describe.skipIf(NO_KVM !== "")("a real vCPU", () => {
  test("is the _vcpu of what its thread does on the host, and of nothing else", async () => {
    const machine = new KvmMachine([0, VCPU]);
    const [, vcpu] = machine.vcpus;
    try {
      // Its first run tells KVM which thread it runs on.
      vcpu!.readGuestTsc();
      const host = await startHost(workspace, [
        ...["trace", "-e", `kvm:kvm_pio/_vcpu==${VCPU} && _vm==0/`],
        ...["-e", `kvm:kvm_pio/_vcpu!=${VCPU} && common_pid==${ownTid()}/`, "--json"],
      ]);
      for (let i = 0; i < READINGS; i++) vcpu!.readGuestTsc();
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const events = new JsonOutput(host.stdout).objects.filter(({ type }) => type === "event");
      expect(events).toHaveLength(READINGS);
      expect(new Set(events.map(({ tid }) => tid))).toEqual(new Set([ownTid()]));
    } finally {
      machine.close();
    }
  });

  test("is a key", async () => {
    const machine = new KvmMachine([VCPU]);
    try {
      machine.vcpus[0]!.readGuestTsc();
      const event = `kvm:kvm_pio/common_pid==${ownTid()}/key=_vcpu/`;
      const host = await startHost(workspace, [
        ...["multi-trace", "-e", event, "--cycle", "--perins", "--json"],
      ]);
      for (let i = 0; i < READINGS; i++) machine.vcpus[0]!.readGuestTsc();
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      expect(new JsonOutput(host.stdout).latencies).toMatchObject([
        { key: `${VCPU}`, calls: READINGS - 1 },
      ]);
    } finally {
      machine.close();
    }
  });
});
