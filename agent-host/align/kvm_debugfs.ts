/**
 * What KVM shows of its virtual machines in debugfs: a thin shell over parsers.
 *
 *   /sys/kernel/debug/kvm/26027-11/            <pid of the VMM>-<fd of the VM in it>
 *       vcpu0/tsc-offset                       "-10417559688434398", signed decimal
 *       vcpu0/tsc-scaling-ratio                only where the CPU has TSC control
 *       vcpu0/tsc-scaling-ratio-frac-bits      48 on Intel, 32 on AMD
 *       vcpu0/guest_mode                       1 while the guest runs a guest of its own: then it
 *                                              is that one's offset, and must not be used
 *       vcpu0/pid                              host thread of the vCPU, on newer kernels
 *
 * The number of a vCPU directory is its APIC id and not the guest's CPU number.
 */
import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { type TscRelation, tscRelation } from "./kvm_offset.ts";
import { VmLookupError } from "./vm_lookup_error.ts";

export const KVM_DEBUGFS = "/sys/kernel/debug/kvm";

/** Directories read at most; a host with more VMs or a VM with more vCPUs does not exist. */
const VMS_MAX = 4096;
const VCPUS_MAX = 4096;

/** The exact relation cannot be had; `hint` says how to get it. */
export class KvmLookupError extends VmLookupError {
  override readonly name = "KvmLookupError";
}

/** A virtual machine by its debugfs directory. */
export interface KvmVm {
  readonly pid: number;
  readonly fd: number;
  readonly path: string;
}

/** What debugfs says of one vCPU. */
export interface VcpuTsc {
  readonly apicId: number;
  readonly relation: TscRelation;
  /** The guest runs a nested guest: `relation` is that of the nested one. */
  readonly isNested: boolean;
  /** Host thread, where the kernel tells. */
  readonly threadId: number | undefined;
}

/** "26027-11" to pid and fd; undefined for the other entries of the directory. */
export function parseVmDirectory(
  name: string,
): { readonly pid: number; readonly fd: number } | undefined {
  const match = /^([0-9]{1,10})-([0-9]{1,10})$/.exec(name);
  return match === null ? undefined : { pid: Number(match[1]), fd: Number(match[2]) };
}

/** "vcpu12" to 12. */
export function parseVcpuDirectory(name: string): number | undefined {
  const match = /^vcpu([0-9]{1,6})$/.exec(name);
  return match === null ? undefined : Number(match[1]);
}

/**
 * The relation from the text of the three files; undefined for files that are not there, which
 * means that the CPU cannot scale. Throws SyntaxError for text that is no number.
 */
export function parseTscFiles(
  offset: string,
  ratio: string | undefined,
  fracBits: string | undefined,
): TscRelation {
  const signed = parseInteger("tsc-offset", offset);
  if (ratio === undefined || fracBits === undefined) return tscRelation(signed);
  return tscRelation(
    signed,
    parseInteger("tsc-scaling-ratio", ratio),
    Number(parseInteger("tsc-scaling-ratio-frac-bits", fracBits)),
  );
}

function parseInteger(file: string, text: string): bigint {
  if (!/^-?[0-9]{1,20}\s*$/.test(text)) {
    throw new SyntaxError(`Cannot read ${file}: holds ${JSON.stringify(text)}, wants a decimal`);
  }
  return BigInt(text.trim());
}

/** All virtual machines. Throws KvmLookupError when debugfs or KVM is not there. */
export function listVms(root: string = KVM_DEBUGFS): KvmVm[] {
  let names: string[];
  try {
    names = readdirSync(root);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    throw code === "EACCES"
      ? new KvmLookupError(
          `Cannot list "${root}": permission denied`,
          "run with CAP_DAC_READ_SEARCH",
        )
      : new KvmLookupError(
          `Cannot list "${root}": ${code ?? error}`,
          "load kvm and mount debugfs: mount -t debugfs none /sys/kernel/debug",
        );
  }
  const vms: KvmVm[] = [];
  for (const name of names) {
    const parsed = parseVmDirectory(name);
    if (parsed !== undefined) vms.push({ ...parsed, path: join(root, name) });
    if (vms.length === VMS_MAX) break;
  }
  return vms;
}

/**
 * The virtual machine of process `pid`: the one with vCPUs, where the process has several. Throws
 * KvmLookupError when there is none, or more than one.
 */
export function vmOfPid(pid: number, root: string = KVM_DEBUGFS): KvmVm {
  const own = listVms(root).filter((vm) => vm.pid === pid);
  if (own.length === 0) {
    throw new KvmLookupError(
      `Cannot find a virtual machine of process ${pid}: "${root}" has no directory of it`,
      "give the VMM's process with --vm; a VMM without KVM (QEMU with -accel tcg) has none",
    );
  }
  const populated = own.filter((vm) => vcpuNames(vm).length > 0);
  if (populated.length !== 1) {
    const directories = (populated.length === 0 ? own : populated).map((vm) => vm.path).join(", ");
    throw new KvmLookupError(
      `Cannot choose a virtual machine of process ${pid}: ` +
        `${populated.length} of ${own.length} have vCPUs (${directories}), wants one`,
      populated.length === 0 ? "start the guest first" : "use --tsc-offset",
    );
  }
  return populated[0]!;
}

function vcpuNames(vm: KvmVm): string[] {
  return readdirSync(vm.path)
    .filter((name) => parseVcpuDirectory(name) !== undefined)
    .slice(0, VCPUS_MAX);
}

/** Reads every vCPU of `vm`, by APIC id. Throws KvmLookupError when the VM has gone. */
export function readVcpus(vm: KvmVm): VcpuTsc[] {
  try {
    return vcpuNames(vm)
      .map((name) => readVcpu(join(vm.path, name), parseVcpuDirectory(name)!))
      .sort((a, b) => a.apicId - b.apicId);
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined) throw error;
    throw new KvmLookupError(
      `Cannot read the vCPUs in "${vm.path}": ${code}`,
      "the virtual machine may have ended",
    );
  }
}

/** The threads of a virtual machine's vCPUs; empty when it has gone or the kernel does not tell. */
export function vcpuThreads(vm: KvmVm): { readonly vcpu: number; readonly threadId: number }[] {
  try {
    return vcpuNames(vm).flatMap((name) => {
      const text = readOptional(join(vm.path, name, "pid"));
      const threadId = Number.parseInt(text ?? "", 10);
      return threadId > 0 ? [{ vcpu: parseVcpuDirectory(name)!, threadId }] : [];
    });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return [];
  }
}

function readVcpu(path: string, apicId: number): VcpuTsc {
  const ratio = readOptional(join(path, "tsc-scaling-ratio"));
  const fracBits = readOptional(join(path, "tsc-scaling-ratio-frac-bits"));
  const nested = readOptional(join(path, "guest_mode"));
  const pid = readOptional(join(path, "pid"));
  return {
    apicId,
    relation: parseTscFiles(readFileSync(join(path, "tsc-offset"), "latin1"), ratio, fracBits),
    isNested: nested !== undefined && nested.trim() !== "0",
    threadId: pid === undefined ? undefined : Number.parseInt(pid, 10),
  };
}

function readOptional(path: string): string | undefined {
  try {
    return readFileSync(path, "latin1");
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ENOENT") return undefined;
    throw error;
  }
}
