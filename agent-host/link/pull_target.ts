/**
 * What `pull=` names:
 *
 *   pull=9900                       tcp, every loopback address in turn
 *   pull=10.0.0.1:9900  [::1]:9900  tcp
 *   pull=unix:/run/vmspan.sock      unix socket (a path that is a socket needs no prefix)
 *   pull="/tmp/events.vms"          file written by push=FILE
 *   pull=local                      this machine, beside events of the same -e that are pulled
 */
import { statSync } from "node:fs";
import { isIP } from "node:net";
import { UsageError } from "../../shared/cli/failure.ts";
import { type EventSpec, parseEventSpecs } from "../../shared/event/spec.ts";
import type { SocketAddress } from "../../shared/sys/socket.ts";

export type PullTarget =
  | {
      readonly kind: "socket";
      readonly name: string;
      readonly candidates: readonly SocketAddress[];
    }
  | { readonly kind: "file"; readonly name: string; readonly path: string };

/** The value of pull= names no source; the message says what would. */
export class PullSourceError extends RangeError {
  override readonly name = "PullSourceError";
  readonly hint = "pull=PORT, pull=IP:PORT, pull=unix:/PATH or pull=/PATH/FILE";
}

const PORT_MAX = 65535;
/** Where a program on this machine may listen: a port alone means whichever of these answers. */
const LOOPBACK_HOSTS = ["127.0.0.1", "::1"];

function tcp(text: string, hosts: readonly string[], portText: string): PullTarget {
  const port = Number(portText);
  if (!(port >= 1 && port <= PORT_MAX)) {
    throw new PullSourceError(
      `Cannot pull from "${text}": port ${portText}, wants 1 to ${PORT_MAX}`,
    );
  }
  const candidates = hosts.map((host) => ({ kind: "tcp", host, port }) as const);
  return { kind: "socket", name: text, candidates };
}

export function parsePullTarget(text: string): PullTarget {
  if (text.includes("\0")) throw new PullSourceError("Cannot pull from a name that holds NUL");
  if (/^\d+$/.test(text)) return tcp(text, LOOPBACK_HOSTS, text);
  if (text.startsWith("unix:")) {
    const path = text.slice(5);
    if (path === "") throw new PullSourceError('Cannot pull from "unix:": the path is empty');
    return { kind: "socket", name: text, candidates: [{ kind: "unix", path }] };
  }
  if (text.startsWith("file:")) {
    const path = text.slice(5);
    if (path === "") throw new PullSourceError('Cannot pull from "file:": the path is empty');
    return { kind: "file", name: text, path };
  }
  if (text.includes("/")) {
    if (statSync(text, { throwIfNoEntry: false })?.isSocket()) {
      return { kind: "socket", name: `unix:${text}`, candidates: [{ kind: "unix", path: text }] };
    }
    return { kind: "file", name: text, path: text };
  }
  const match = /^(?:\[([^\]]+)\]|([^:]+)):(\d+)$/.exec(text);
  const host = match?.[1] ?? match?.[2] ?? "";
  if (match !== null && host === "localhost") return tcp(text, LOOPBACK_HOSTS, match[3]!);
  if (match === null || isIP(host) === 0) {
    throw new PullSourceError(`Cannot pull from "${text}": no port, address or path`);
  }
  return tcp(text, [host], match[3]!);
}

/** The value of pull= for an event of this machine. */
const LOCAL = "local";

/**
 * The events of one `-e`. One place that they are pulled from holds for all of them: `A,B//pull=X/`
 * means both, as push= does. Throws EventSyntaxError, UsageError.
 */
export function parseHostEvents(text: string): EventSpec[] {
  const specs = parseEventSpecs(text);
  const places = new Set(specs.flatMap(({ attributes: { pull } }) => pull ?? []));
  places.delete(LOCAL);
  const [shared] = places;
  return specs.map((spec) => {
    const { pull, ...others } = spec.attributes;
    if (pull === LOCAL || places.size === 0) return { ...spec, attributes: others };
    if (pull === undefined && places.size > 1) {
      throw new UsageError(
        `Cannot tell where "${spec.text}" comes from: the others of its -e are pulled from ` +
          [...places].join(" and "),
        "give each event its pull=; pull=local is this machine",
      );
    }
    return { ...spec, attributes: { ...others, pull: pull ?? shared! } };
  });
}
