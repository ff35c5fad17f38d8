/**
 * Fires kvm:kvm_msi_set_irq: a KVM virtual machine with an interrupt controller and one vCPU that
 * never runs, to which messages are sent.
 *
 *   address 0xfee65000, data 0x23   ->   kvm:kvm_msi_set_irq: dst 65 vec 35 (Fixed|physical|edge)
 *
 * Numbers and struct kvm_msi {u32 address_lo, address_hi, data, flags, devid; u8 pad[12]} must
 * match <linux/kvm.h> on x86-64.
 */
import { SYS } from "../../shared/sys/abi.ts";
import { checked } from "../../shared/sys/errno.ts";
import { Fd, openFile } from "../../shared/sys/fd.ts";
import { addressOf, syscall } from "../../shared/sys/syscall.ts";

const O_RDWR = 2;
const KVM_CREATE_VM = 0xae01;
const KVM_CREATE_IRQCHIP = 0xae60;
const KVM_CREATE_VCPU = 0xae41;
const KVM_SIGNAL_MSI = 0x4020aea5;

function control(fd: Fd, request: number, argument: number, action: string): number {
  return checked(syscall(SYS.ioctl, fd.number, request, argument, 0, 0, 0), action);
}

export class MsiInjector {
  readonly #kvm = openFile("/dev/kvm", O_RDWR);
  readonly #vm: Fd;
  readonly #vcpu: Fd;

  /** Throws SysError where there is no KVM. */
  constructor() {
    this.#vm = new Fd(control(this.#kvm, KVM_CREATE_VM, 0, "create a VM"), "VM");
    control(this.#vm, KVM_CREATE_IRQCHIP, 0, "create an interrupt controller");
    this.#vcpu = new Fd(control(this.#vm, KVM_CREATE_VCPU, 0, "create a vCPU"), "vCPU");
  }

  /** Sends one message from this thread. Whether any vCPU takes it is of no interest. */
  inject(address: number, data: number): void {
    const message = Uint32Array.of(address, 0, data, 0, 0, 0, 0, 0);
    control(this.#vm, KVM_SIGNAL_MSI, addressOf(message), "send an MSI");
  }

  close(): void {
    for (const fd of [this.#vcpu, this.#vm, this.#kvm]) fd.close();
  }
}
