/** What `agent-guest doctor` looks at beside the common checks: the ports to the host. */
import { readdirSync } from "node:fs";
import { GUEST_CAPABILITY_CHECKS } from "../shared/cli/capability_checks.ts";
import type { Check, Finding } from "../shared/cli/doctor.ts";
import { isPresent, readLineOf } from "../shared/event/machine.ts";
import { Tracefs } from "../shared/tracefs/tracefs.ts";
import { CONFIG_PATH, limitsOf, readConfig } from "./serve/config.ts";
import { idlePatterns } from "./serve/limits.ts";
import { virtioPorts } from "./sink/virtio_ports.ts";

function checkPorts(): Finding {
  const ports = [...virtioPorts()];
  if (ports.length > 0) {
    const shown = ports.map(([name, device]) => `${name} (${device})`);
    return { severity: "ok", detail: shown.join(", ") };
  }
  const hasModule = isPresent("/sys/module/virtio_console");
  return {
    severity: "warn",
    detail: hasModule ? "no virtio-serial port has a name" : "virtio_console is not loaded",
    hint: hasModule
      ? "add <channel type='tcp'> ... <target type='virtio' name='org.qemu.perf0'/> to the guest"
      : "modprobe virtio_console, or push to tcp, a unix socket or a file",
  };
}

function checkHypervisor(): Finding {
  const vendor = readLineOf("/sys/class/dmi/id/sys_vendor") || "unknown vendor";
  const flags = readLineOf("/sys/hypervisor/type");
  const buses = isPresent("/sys/bus/virtio/devices")
    ? readdirSync("/sys/bus/virtio/devices").length
    : 0;
  const kind = flags === "" ? vendor : `${vendor}, ${flags}`;
  return { severity: "ok", detail: `${kind}; ${buses} virtio devices` };
}

/** What `serve` lets a host do, as the configuration file has it. A mistake in it is a FAIL. */
function checkServing(): Finding {
  const limits = limitsOf(readConfig(undefined));
  const { allow, deny, allowsProbes } = limits;
  const denied = deny.length === 0 ? "" : ` but ${deny.join(",")}`;
  const probes = allowsProbes ? "any probe" : "no probe";
  const place = isPresent(CONFIG_PATH) ? CONFIG_PATH : `no ${CONFIG_PATH}`;
  const detail = `hosts may open ${allow.join(",")}${denied}, ${probes} (${place})`;
  const [idle] = idlePatterns(limits, Tracefs.open().find("*:*"));
  if (idle === undefined) return { severity: "ok", detail };
  return { severity: "warn", detail: `${detail}: ${idle}`, hint: "agent-guest list shows events" };
}

export const GUEST_CHECKS: readonly Check[] = [
  ...GUEST_CAPABILITY_CHECKS,
  { name: "machine", run: checkHypervisor },
  { name: "ports", run: checkPorts },
  { name: "serve", run: checkServing },
];
