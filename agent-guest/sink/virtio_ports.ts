/**
 * The virtio-serial ports of this machine, by the name that the hypervisor gave each:
 *
 *   /sys/class/virtio-ports/vport0p1/name   "org.qemu.perf0"   the device is /dev/vport0p1
 */
import { existsSync, readdirSync, readFileSync, realpathSync } from "node:fs";
import { basename } from "node:path";

const VIRTIO_PORTS_CLASS = "/sys/class/virtio-ports";

/** Reads what may vanish between two looks at it: undefined when it has. */
function readName(device: string): string | undefined {
  try {
    return readFileSync(`${VIRTIO_PORTS_CLASS}/${device}/name`, "utf8").trim();
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === undefined) throw error;
    return undefined;
  }
}

/** Names of the ports, and their devices; a port without a name is left out. */
export function virtioPorts(): Map<string, string> {
  const names = new Map<string, string>();
  if (!existsSync(VIRTIO_PORTS_CLASS)) return names;
  for (const device of readdirSync(VIRTIO_PORTS_CLASS)) {
    const name = readName(device);
    if (name !== undefined && name !== "") names.set(name, `/dev/${device}`);
  }
  return names;
}

/** The name of the port whose device `path` is, or links to; undefined when it is no port. */
export function virtioPortName(path: string): string | undefined {
  if (!existsSync(path)) return undefined;
  const name = readName(basename(realpathSync(path)));
  return name === "" ? undefined : name;
}
