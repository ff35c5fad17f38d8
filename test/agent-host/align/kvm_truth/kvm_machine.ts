/**
 * A virtual machine of a few bytes, through /dev/kvm: its guest code reads the TSC, leaves the
 * value in memory and exits, for ever. Each run gives a true guest TSC reading that happened
 * between two readings of the host's.
 *
 *   0x1000  0f 31            rdtsc
 *           66 03 06 10 20   add eax, [0x2010]        0, or an offset that KVM would not apply
 *           66 13 16 14 20   adc edx, [0x2014]
 *           66 a3 00 20      mov [0x2000], eax
 *           66 89 16 04 20   mov [0x2004], edx
 *           e6 10            out 0x10, al             exits to the host
 *           eb e7            jmp 0x1000
 *
 * Not every KVM gives a guest a TSC of its own: one that does not leaves the offset at 0 whatever
 * is set. The guest's code then adds it, in the same run, between the same two host readings.
 *
 * Numbers must match <linux/kvm.h> on x86-64.
 */
import { SYS } from "../../../../shared/sys/abi.ts";
import { checked } from "../../../../shared/sys/errno.ts";
import { Fd, openFile } from "../../../../shared/sys/fd.ts";
import { Mapping } from "../../../../shared/sys/mapping.ts";
import { addressOf, syscall } from "../../../../shared/sys/syscall.ts";

const O_RDWR = 2;
const KVM_CREATE_VM = 0xae01;
const KVM_GET_VCPU_MMAP_SIZE = 0xae04;
const KVM_CREATE_VCPU = 0xae41;
const KVM_SET_USER_MEMORY_REGION = 0x4020ae46;
const KVM_RUN = 0xae80;
const KVM_SET_REGS = 0x4090ae82;
const KVM_GET_SREGS = 0x8138ae83;
const KVM_SET_SREGS = 0x4138ae84;
const KVM_SET_DEVICE_ATTR = 0x4018aee1;
const KVM_EXIT_IO = 2;

const MEMORY_BYTES = 0x4000;
const CODE_AT = 0x1000;
const SHARED_AT = 0x2000;
const CODE = Uint8Array.of(
  ...[0x0f, 0x31],
  ...[0x66, 0x03, 0x06, 0x10, 0x20],
  ...[0x66, 0x13, 0x16, 0x14, 0x20],
  ...[0x66, 0xa3, 0x00, 0x20],
  ...[0x66, 0x89, 0x16, 0x04, 0x20],
  ...[0xe6, 0x10],
  ...[0xeb, 0xe7],
);

function kvmIoctl(fd: Fd, request: number, argument: number, action: string): number {
  return checked(syscall(SYS.ioctl, fd.number, request, argument, 0, 0, 0), action);
}

/** One vCPU, whose id KVM's debugfs shows. */
export class KvmVcpu {
  readonly id: number;
  readonly #fd: Fd;
  readonly #run: Mapping;
  readonly #exitReason: Uint32Array;
  /** Guest memory: [0] the reading, [2] the offset that the guest's code adds. */
  readonly #shared: BigUint64Array;
  /** Added by the guest's code; 0 where KVM applies the offset itself. */
  softOffset = 0n;

  constructor(vm: Fd, id: number, runBytes: number, shared: BigUint64Array) {
    this.id = id;
    this.#fd = new Fd(kvmIoctl(vm, KVM_CREATE_VCPU, id, `create vCPU ${id}`), `vCPU ${id}`);
    this.#run = Mapping.ofFd(this.#fd, runBytes, "map kvm_run");
    // struct kvm_run: u32 exit_reason at 8.
    this.#exitReason = new Uint32Array(this.#run.buffer, 8, 1);
    this.#shared = shared;
    this.#enterRealMode();
  }

  /** Runs the guest until it has read its TSC, and gives the reading. */
  readGuestTsc(): bigint {
    this.#shared[2] = BigInt.asUintN(64, this.softOffset);
    kvmIoctl(this.#fd, KVM_RUN, 0, `run vCPU ${this.id}`);
    if (this.#exitReason[0] !== KVM_EXIT_IO) {
      throw new RangeError(`Cannot read the guest's TSC: exit reason ${this.#exitReason[0]}`);
    }
    return this.#shared[0]!;
  }

  /** Sets the TSC offset to the cycle. Throws SysError where KVM lacks the attribute (< 5.16). */
  setTscOffset(offset: bigint): void {
    const value = BigUint64Array.of(BigInt.asUintN(64, offset));
    // struct kvm_device_attr: u32 flags, group (KVM_VCPU_TSC_CTRL 0), u64 attr (OFFSET 0), addr.
    const attribute = BigUint64Array.of(0n, 0n, BigInt(addressOf(value)));
    kvmIoctl(this.#fd, KVM_SET_DEVICE_ATTR, addressOf(attribute), "set the TSC offset");
  }

  close(): void {
    this.#run.close();
    this.#fd.close();
  }

  #enterRealMode(): void {
    // struct kvm_sregs begins with cs: u64 base, u32 limit, u16 selector.
    const sregs = new DataView(new ArrayBuffer(312));
    const bytes = new Uint8Array(sregs.buffer);
    kvmIoctl(this.#fd, KVM_GET_SREGS, addressOf(bytes), "get the vCPU's segments");
    sregs.setBigUint64(0, 0n, true);
    sregs.setUint16(12, 0, true);
    kvmIoctl(this.#fd, KVM_SET_SREGS, addressOf(bytes), "set the vCPU's segments");
    // struct kvm_regs: 16 registers, u64 rip at 128, u64 rflags at 136.
    const regs = new BigUint64Array(18);
    regs[16] = BigInt(CODE_AT);
    regs[17] = 2n;
    kvmIoctl(this.#fd, KVM_SET_REGS, addressOf(regs), "set the vCPU's registers");
  }
}

/** The machine. close() ends it. */
export class KvmMachine {
  readonly vcpus: readonly KvmVcpu[];
  readonly #kvm: Fd;
  readonly #vm: Fd;
  readonly #memory: Mapping;

  /** One vCPU for each id (the APIC id of a real guest). Throws SysError. */
  constructor(ids: readonly number[]) {
    this.#kvm = openFile("/dev/kvm", O_RDWR);
    this.#vm = new Fd(kvmIoctl(this.#kvm, KVM_CREATE_VM, 0, "create a VM"), "VM");
    const runBytes = kvmIoctl(this.#kvm, KVM_GET_VCPU_MMAP_SIZE, 0, "get the size of kvm_run");
    this.#memory = Mapping.anonymous(MEMORY_BYTES);
    new Uint8Array(this.#memory.buffer).set(CODE, CODE_AT);
    // struct kvm_userspace_memory_region: u32 slot, flags, u64 gpa, bytes, address.
    const region = BigUint64Array.of(0n, 0n, BigInt(MEMORY_BYTES), BigInt(this.#memory.address));
    kvmIoctl(this.#vm, KVM_SET_USER_MEMORY_REGION, addressOf(region), "give the VM memory");
    const shared = new BigUint64Array(this.#memory.buffer, SHARED_AT, 3);
    this.vcpus = ids.map((id) => new KvmVcpu(this.#vm, id, runBytes, shared));
  }

  close(): void {
    for (const vcpu of this.vcpus) vcpu.close();
    this.#vm.close();
    this.#kvm.close();
    this.#memory.close();
  }
}
