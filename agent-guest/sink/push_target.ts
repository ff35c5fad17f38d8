/**
 * What `push=` names, and which of the four kinds of sink that is:
 *
 *   push=9900  push=10.0.0.1:9900  push=[::1]:9900    tcp, listens (on loopback when no address)
 *   push=unix:/run/vmspan.sock                        unix socket, listens
 *   push="/dev/virtio-ports/org.qemu.perf0"           character device
 *   push="/tmp/events.vms"  push=file:NAME            file
 */
import { type Stats, statSync } from "node:fs";
import { isIP } from "node:net";
import { UsageError } from "../../shared/cli/failure.ts";
import { isPresent } from "../../shared/event/machine.ts";
import type { EventSpec } from "../../shared/event/spec.ts";
import { virtioPorts } from "./virtio_ports.ts";

export type PushTarget =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string }
  | { readonly kind: "device"; readonly path: string }
  | { readonly kind: "file"; readonly path: string };

/** The value of push= names no sink; the message says what would. */
export class PushTargetError extends RangeError {
  override readonly name = "PushTargetError";
  readonly hint = "push=PORT, push=IP:PORT, push=unix:/PATH, push=/dev/NAME or push=/PATH/FILE";
}

const PORT_MAX = 65535;
/** /dev/null, /dev/full, /dev/zero; must match <linux/major.h>. */
const MEMORY_DEVICE_MAJOR = 1;
const VIRTIO_PORTS = "/dev/virtio-ports/";

function parsePort(text: string, whole: string): number {
  const port = Number(text);
  if (port >= 1 && port <= PORT_MAX) return port;
  throw new PushTargetError(`Cannot push to "${whole}": port ${text}, wants 1 to ${PORT_MAX}`);
}

/** Parses the value of push=; looks at the file system to tell devices from files. */
export function parsePushTarget(text: string): PushTarget {
  if (/^\d+$/.test(text)) return { kind: "tcp", host: "127.0.0.1", port: parsePort(text, text) };
  if (text.startsWith("unix:")) return { kind: "unix", path: wantPath(text, text.slice(5)) };
  if (text.startsWith("file:")) {
    const path = wantPath(text, text.slice(5));
    refuseNonFile(path);
    return { kind: "file", path };
  }
  if (text.includes("/")) return classifyPath(text);
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const name = match?.[1] ?? match?.[2] ?? "";
  const host = name === "localhost" ? "127.0.0.1" : name;
  if (match === null || isIP(host) === 0) {
    throw new PushTargetError(`Cannot push to "${text}": no port, address or path`);
  }
  return { kind: "tcp", host, port: parsePort(match[3]!, text) };
}

/**
 * The push= of each event. One that has none goes where the others go, when there is only one such
 * place: `-e A,B//push=X/` means both. Throws UsageError.
 */
export function pushOfEach(specs: readonly EventSpec[]): string[] {
  const places = new Set(specs.flatMap(({ attributes }) => attributes.push ?? []));
  const [only] = places;
  return specs.map((spec) => {
    const push = spec.attributes.push ?? (places.size === 1 ? only : undefined);
    if (push !== undefined) return push;
    throw new UsageError(
      `Cannot use "${spec.text}": it says not where to push its events`,
      `add push=, as in ${spec.system}:${spec.name}//push="/dev/virtio-ports/org.qemu.perf0"/; ` +
        "agent-host trace prints local events",
    );
  });
}

function wantPath(text: string, path: string): string {
  if (path === "") throw new PushTargetError(`Cannot push to "${text}": the path is empty`);
  return path;
}

/**
 * What opening as a file would destroy, block on, or not do. Gives what stands there, if anything.
 */
function refuseNonFile(path: string): Stats | undefined {
  const status = statusOf(path);
  const kinds = { isDirectory: "a directory", isBlockDevice: "a block device", isFIFO: "a FIFO" };
  for (const [test, what] of Object.entries(kinds)) {
    if (status?.[test as keyof typeof kinds]() !== true) continue;
    throw new PushTargetError(`Cannot push to "${path}": it is ${what}`);
  }
  return status;
}

/** What stands at `path`; undefined when nothing does. */
function statusOf(path: string): Stats | undefined {
  try {
    return statSync(path, { throwIfNoEntry: false });
  } catch (error) {
    const reason = (error as NodeJS.ErrnoException).code ?? (error as Error).message;
    throw new PushTargetError(`Cannot push to "${path}": ${reason}`, { cause: error });
  }
}

function classifyPath(path: string): PushTarget {
  const resolved = resolveVirtioPort(path);
  const status = refuseNonFile(resolved);
  if (status?.isSocket()) return { kind: "unix", path };
  if (status?.isCharacterDevice()) {
    // /dev/null and its kin have nobody at their other end: they are written like files.
    const kind = status.rdev >> 8 === MEMORY_DEVICE_MAJOR ? "file" : "device";
    return { kind, path: resolved };
  }
  if (status === undefined && path.startsWith("/dev/")) {
    throw new PushTargetError(`Cannot push to "${path}": no such device${knownPorts()}`);
  }
  return { kind: "file", path };
}

/** The device behind /dev/virtio-ports/NAME, also where no udev has made that link. */
function resolveVirtioPort(path: string): string {
  if (!path.startsWith(VIRTIO_PORTS) || isPresent(path)) return path;
  return virtioPorts().get(path.slice(VIRTIO_PORTS.length)) ?? path;
}

function knownPorts(): string {
  const names = [...virtioPorts().keys()];
  return names.length === 0
    ? " (this machine has no virtio-serial port: is virtio_console loaded?)"
    : `; ports here: ${names.join(" ")}`;
}
