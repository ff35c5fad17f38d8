/** What `agent-host doctor` looks at beside the common checks: KVM and its guests. */
import { HOST_CAPABILITY_CHECKS } from "../shared/cli/capability_checks.ts";
import type { Check, Finding } from "../shared/cli/doctor.ts";
import { isPresent } from "../shared/event/machine.ts";
import { Tracefs } from "../shared/tracefs/tracefs.ts";
import { KvmLookupError, listVms, readVcpus, vmOfPid } from "./align/kvm_debugfs.ts";
import { formatVmm, listVmms, type Vmm } from "./align/vm_lookup.ts";
import { emulatesAtHostRate } from "./align/vmm_clock.ts";
import { whyNotProbed } from "./session/emulator_probe.ts";

/** Virtual machines that one line names. */
const VMS_SHOWN = 8;

function checkKvmEvents(): Finding {
  const tracefs = Tracefs.open();
  const count = tracefs.eventsOf("kvm").length;
  if (count > 0) return { severity: "ok", detail: `${count} kvm tracepoints` };
  return {
    severity: "warn",
    detail: "no kvm tracepoints",
    hint: isPresent("/dev/kvm") ? "modprobe kvm" : "without KVM use a uprobe on the VMM",
  };
}

/** How the offsets of KVM's guests would be learned, guest or no guest. */
function checkOffsets(): Finding {
  try {
    const vms = listVms();
    const isFollowed = Tracefs.open().find("kvm:kvm_write_tsc_offset").length > 0;
    const changes = isFollowed ? "changes are followed" : "changes are seen once a second";
    if (vms.length === 0)
      return { severity: "ok", detail: `KVM debugfs, ${changes}; no VM is running` };
    const shown = vms.map((vm) => `${vm.pid}-${vm.fd} (${readVcpus(vm).length} vCPUs)`);
    return { severity: "ok", detail: `KVM debugfs, ${changes}: ${shown.join(", ")}` };
  } catch (error) {
    if (!(error instanceof KvmLookupError)) throw error;
    const detail = `${error.message}: clocks are aligned by ping`;
    return { severity: "warn", detail, hint: error.hint };
  }
}

/** Which virtual machines --vm could name, and how the TSC of each would be related. */
function checkVms(): Finding {
  const vmms = listVmms();
  if (vmms.length === 0) return { severity: "ok", detail: "none is running here" };
  const shown = vmms.slice(0, VMS_SHOWN).map((vmm) => `${formatVmm(vmm)} ${methodFor(vmm)}`);
  const more = vmms.length > VMS_SHOWN ? `, and ${vmms.length - VMS_SHOWN} more` : "";
  return { severity: "ok", detail: `${shown.join(", ")}${more}` };
}

function methodFor({ pid }: Vmm): string {
  if (!emulatesAtHostRate(pid)) return hasKvm(pid) ? "by KVM debugfs" : "by ping";
  const why = whyNotProbed(pid);
  return why === "" ? "by QEMU's emulated TSC" : `by ping (${why})`;
}

function hasKvm(pid: number): boolean {
  try {
    return vmOfPid(pid).pid === pid;
  } catch (error) {
    if (!(error instanceof KvmLookupError)) throw error;
    return false;
  }
}

export const HOST_CHECKS: readonly Check[] = [
  ...HOST_CAPABILITY_CHECKS,
  { name: "kvm events", run: checkKvmEvents },
  { name: "TSC offsets", run: checkOffsets },
  { name: "virtual machines", run: checkVms },
];
