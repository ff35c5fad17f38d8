/**
 * Sources that are of no use as they are, and what the user can do about it:
 *
 *   Cannot pull from unix:/run/x.sock: EACCES (permission denied)
 *   HINT: run as root, or as a member of the group that the socket belongs to
 *
 *   Cannot list the events of 127.0.0.1:9900 after 10.0 s: waiting for agent-guest behind ...
 *   HINT: is the guest running, with agent-guest serve on the other end?
 */
import { SourceError } from "./source_error.ts";

/** A wait longer than this is told to the user, once. */
export const PATIENCE_MS = 2000;

const SILENT_HINT = "is the guest running, with agent-guest serve (or trace) on the other end?";

/** By the errno of a connect that failed: why, most likely, and how to mend it. */
const CONNECT_HINTS: Readonly<Record<string, string>> = {
  ECONNREFUSED:
    "nobody listens there: for the channel of a VM, QEMU has to run with this chardev (server=on); " +
    "without a channel, agent-guest serve [IP:]PORT or unix:PATH",
  ENOENT:
    "no such socket: QEMU makes the one of a chardev when the VM starts, and agent-guest serve " +
    "unix:PATH its own",
  EACCES: "run as root, or as a member of the group that the socket belongs to",
};

/** How to mend refused connects, by the errno of each; undefined when nothing can be said. */
export function connectHint(codes: readonly string[]): string | undefined {
  const known = codes.find((code) => CONNECT_HINTS[code] !== undefined);
  if (known !== undefined) return CONNECT_HINTS[known];
  return codes.length > 0 ? SILENT_HINT : undefined;
}

/** A source that is connected and not ready, as GuestLink describes it. */
export interface UnreadyLink {
  readonly source: { readonly name: string };
  readonly waitingFor: string;
}

/** It was waited for in vain since `startMs` (of performance.now()); `action` as in "pull from". */
export function unreadyError(
  action: string,
  { source, waitingFor }: UnreadyLink,
  startMs: number,
): SourceError {
  const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
  return new SourceError(
    `Cannot ${action} ${source.name} after ${seconds} s: waiting for ${waitingFor}`,
    SILENT_HINT,
  );
}
