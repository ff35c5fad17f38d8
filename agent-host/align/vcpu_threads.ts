/**
 * Which vCPU a host thread runs: what `_vcpu` and `_vm` of a host event say. From KVM's debugfs:
 *
 *   /sys/kernel/debug/kvm/26027-11/vcpu3/pid    26041     thread 26041 runs vCPU 3 of 26027
 *
 * Read when the first expression asks, and from then on once a second: vCPUs come and go.
 */
import type { VcpuPlace } from "../../shared/expr/program.ts";
import { KVM_DEBUGFS, KvmLookupError, listVms, vcpuThreads } from "./kvm_debugfs.ts";

const RENEWAL_MS = 1000;
/** A thread that runs no vCPU. */
const NO_VCPU: VcpuPlace = { vcpu: -1, vm: 0 };

export class VcpuThreads {
  readonly #machineOf: (vmmPid: number) => number;
  readonly #root: string;
  #places = new Map<number, VcpuPlace>();
  #isWanted = false;
  #nextMs = 0;

  /** `machineOf` gives the number of the guest that a process runs, 0 when it is none of ours. */
  constructor(machineOf: (vmmPid: number) => number, root: string = KVM_DEBUGFS) {
    this.#machineOf = machineOf;
    this.#root = root;
  }

  /** The vCPU of a thread, and the number of its guest in this session. */
  place(tid: number): VcpuPlace {
    if (!this.#isWanted) {
      this.#isWanted = true;
      this.#read();
    }
    return this.#places.get(tid) ?? NO_VCPU;
  }

  /** Reads anew when that is due and anybody asks. */
  refresh(nowMs: number): void {
    if (!this.#isWanted || nowMs < this.#nextMs) return;
    this.#nextMs = nowMs + RENEWAL_MS;
    this.#read();
  }

  #read(): void {
    const places = new Map<number, VcpuPlace>();
    try {
      for (const vm of listVms(this.#root)) {
        for (const { vcpu, threadId } of vcpuThreads(vm)) {
          places.set(threadId, { vcpu, vm: this.#machineOf(vm.pid) });
        }
      }
    } catch (error) {
      // Without KVM, or without debugfs, no thread runs a vCPU that we could know of.
      if (!(error instanceof KvmLookupError)) throw error;
    }
    this.#places = places;
  }
}
