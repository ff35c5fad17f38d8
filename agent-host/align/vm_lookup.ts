/**
 * Which process is at the other end of a channel: QEMU owns the socket that its chardev accepted.
 *
 *   we  127.0.0.1:51422 ---------- 127.0.0.1:9900  QEMU
 *   /proc/net/tcp   local 0100007F:26AC  remote 0100007F:C8DE  inode 104059    the other end's line
 *   /proc/26027/fd/23 -> socket:[104059]                                       and its owner
 *
 * And which process is meant by `--vm PID|NAME|UUID`, from QEMU's command line. The parsers are
 * pure; the two functions at the end read /proc. For unix sockets the kernel names the peer
 * (SO_PEERCRED), and nothing here is needed.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { KvmLookupError } from "./kvm_debugfs.ts";

/** Lines of /proc/net/tcp and processes looked at, most. */
const SOCKETS_MAX = 1 << 20;
const PROCESSES_MAX = 1 << 20;

/** One line of /proc/net/tcp or tcp6. */
export interface TcpSocket {
  readonly localPort: number;
  readonly remotePort: number;
  /** "0A" is LISTEN, "01" ESTABLISHED; <net/tcp_states.h>. */
  readonly isListening: boolean;
  /** 0 for sockets without a file (TIME_WAIT). */
  readonly inode: bigint;
}

const TCP_LINE =
  /^\s*\d+: [0-9A-F]+:([0-9A-F]{4}) [0-9A-F]+:([0-9A-F]{4}) ([0-9A-F]{2})(?:\s+\S+){5}\s+(\d+)/;

/** Parses /proc/net/tcp or tcp6; lines that do not look like sockets are passed over. */
export function parseProcNetTcp(text: string): TcpSocket[] {
  const sockets: TcpSocket[] = [];
  for (const line of text.split("\n", SOCKETS_MAX)) {
    const match = TCP_LINE.exec(line);
    if (match === null) continue;
    sockets.push({
      localPort: Number.parseInt(match[1]!, 16),
      remotePort: Number.parseInt(match[2]!, 16),
      isListening: match[3] === "0A",
      inode: BigInt(match[4]!),
    });
  }
  return sockets;
}

/**
 * The inode of the socket at the other end of our connection from `ourPort` to `theirPort`, or of
 * the one that listens there. On one machine a pair of ports names one connection of loopback.
 */
export function findPeerInode(
  sockets: readonly TcpSocket[],
  ourPort: number | undefined,
  theirPort: number,
): bigint | undefined {
  const hasFile = sockets.filter((s) => s.inode !== 0n && s.localPort === theirPort);
  const connected = hasFile.find((s) => !s.isListening && s.remotePort === ourPort);
  return (connected ?? hasFile.find((s) => s.isListening))?.inode;
}

/** "socket:[104059]" to 104059; undefined for other files. */
export function parseSocketLink(link: string): bigint | undefined {
  const match = /^socket:\[(\d+)\]$/.exec(link);
  return match === null ? undefined : BigInt(match[1]!);
}

/** Name and UUID of a virtual machine from QEMU's command line (/proc/PID/cmdline). */
export interface QemuIdentity {
  readonly name: string | undefined;
  readonly uuid: string | undefined;
}

/**
 * -name NAME, -name guest=NAME,..., -uuid UUID; one or two dashes. Undefined for a process that is
 * no QEMU.
 */
export function parseQemuCommandLine(cmdline: string): QemuIdentity | undefined {
  const words = cmdline.split("\0");
  if (!/(^|\/)(qemu|kvm)[^/]*$/.test(words[0] ?? "")) return undefined;
  const optionValue = (option: string): string | undefined => {
    const at = words.findIndex((word) => word === `-${option}` || word === `--${option}`);
    return at < 0 ? undefined : words[at + 1];
  };
  // A comma in a value is doubled; the name ends at a single one.
  const first = optionValue("name")?.match(/^(?:guest=)?((?:[^,]|,,)*)/)?.[1];
  return { name: first?.replaceAll(",,", ","), uuid: optionValue("uuid")?.toLowerCase() };
}

/** Whether `wanted` (a name or a UUID) means this virtual machine. */
export function isNamed(identity: QemuIdentity, wanted: string): boolean {
  return identity.name === wanted || identity.uuid === wanted.toLowerCase();
}

/** Calls `visit` with the pid of every process until it returns true. */
function someProcess(procfs: string, visit: (pid: number) => boolean): void {
  let visited = 0;
  for (const name of readdirSync(procfs)) {
    if (!/^[0-9]+$/.test(name)) continue;
    if (++visited > PROCESSES_MAX || visit(Number(name))) return;
  }
}

/** Reads, or gives `otherwise` for a process that has ended or is not ours to see. */
function unlessGone<T>(read: () => T, otherwise: T): T {
  try {
    return read();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM") {
      return otherwise;
    }
    throw error;
  }
}

/**
 * The process at the other end of a tcp connection of this machine; `ourPort` is the connection's
 * own port, undefined for whoever listens on `theirPort`. Throws KvmLookupError.
 */
export function pidOfTcpPeer(
  ourPort: number | undefined,
  theirPort: number,
  procfs = "/proc",
): number {
  const text = (file: string): string =>
    unlessGone(() => readFileSync(`${procfs}/net/${file}`, "latin1"), "");
  const sockets = [...parseProcNetTcp(text("tcp")), ...parseProcNetTcp(text("tcp6"))];
  const inode = findPeerInode(sockets, ourPort, theirPort);
  let owner: number | undefined;
  if (inode !== undefined) {
    someProcess(procfs, (pid) => {
      const fds = unlessGone(() => readdirSync(`${procfs}/${pid}/fd`), []);
      const owns = fds.some((fd) => {
        const link = unlessGone(() => readlinkSync(`${procfs}/${pid}/fd/${fd}`), "");
        return parseSocketLink(link) === inode;
      });
      if (owns) owner = pid;
      return owns;
    });
  }
  if (owner === undefined) {
    throw new KvmLookupError(
      `Cannot tell which process is behind port ${theirPort}: ` +
        (inode === undefined ? "no such socket on this machine" : `nobody holds inode ${inode}`),
      "run as root on the hypervisor itself, or give the VMM with --vm",
    );
  }
  return owner;
}

/** The process that `--vm PID|NAME|UUID` means. Throws KvmLookupError. */
export function pidOfVm(wanted: string, procfs = "/proc"): number {
  if (/^[0-9]{1,10}$/.test(wanted)) return Number(wanted);
  const found: number[] = [];
  someProcess(procfs, (pid) => {
    const cmdline = unlessGone(() => readFileSync(`${procfs}/${pid}/cmdline`, "utf8"), "");
    const identity = parseQemuCommandLine(cmdline);
    if (identity !== undefined && isNamed(identity, wanted)) found.push(pid);
    return false;
  });
  if (found.length !== 1) {
    throw new KvmLookupError(
      `Cannot find virtual machine ${JSON.stringify(wanted)}: ${found.length} QEMU processes ` +
        `have this name or UUID, wants one`,
      "give the process id: --vm PID",
    );
  }
  return found[0]!;
}
