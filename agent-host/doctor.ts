/** What `agent-host doctor` looks at beside the common checks: KVM and its guests. */
import { HOST_CAPABILITY_CHECKS } from "../shared/cli/capability_checks.ts";
import type { Check, Finding } from "../shared/cli/doctor.ts";
import { isPresent } from "../shared/event/machine.ts";
import { Tracefs } from "../shared/tracefs/tracefs.ts";
import { KvmLookupError, listVms, readVcpus } from "./align/kvm_debugfs.ts";

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

function checkVms(): Finding {
  try {
    const vms = listVms();
    if (vms.length === 0) return { severity: "ok", detail: "KVM debugfs: no VM is running" };
    const shown = vms.map((vm) => `${vm.pid}-${vm.fd} (${readVcpus(vm).length} vCPUs)`);
    return { severity: "ok", detail: `KVM debugfs: ${shown.join(", ")}` };
  } catch (error) {
    if (!(error instanceof KvmLookupError)) throw error;
    const detail = `${error.message}: clocks are aligned by ping`;
    return { severity: "warn", detail, hint: error.hint };
  }
}

export const HOST_CHECKS: readonly Check[] = [
  ...HOST_CAPABILITY_CHECKS,
  { name: "kvm events", run: checkKvmEvents },
  { name: "TSC offsets", run: checkVms },
];
