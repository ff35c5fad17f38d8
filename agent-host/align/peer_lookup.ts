/**
 * Which process is at the other end of a channel: QEMU owns the socket that its chardev accepted.
 *
 *   we  127.0.0.1:51422 ---------- 127.0.0.1:9900  QEMU
 *   /proc/net/tcp   local 0100007F:26AC  remote 0100007F:C8DE  inode 104059    the other end's line
 *   /proc/26027/fd/23 -> socket:[104059]                                       and its owner
 *
 * Both addresses and both ports have to match: a listener here with the port of a peer elsewhere is
 * somebody else. A connection that QEMU has not accepted yet has inode 0: then whoever listens for
 * it is meant. The parsers are pure; pidOfTcpPeer() reads /proc. For unix sockets the kernel names
 * the peer (SO_PEERCRED), and nothing here is needed.
 */
import { readdirSync, readFileSync, readlinkSync } from "node:fs";
import { someProcess, unlessGone } from "../../shared/sys/procfs.ts";
import { MAPPED_PREFIX_HEX, type TcpEnd } from "../../shared/sys/socket.ts";
import { VmLookupError } from "./vm_lookup_error.ts";

/** Lines of /proc/net/tcp and tcp6 that are looked at, most. */
const SOCKETS_MAX = 1 << 20;

/** One line of /proc/net/tcp or tcp6. */
export interface TcpSocket {
  readonly local: TcpEnd;
  readonly remote: TcpEnd;
  /** "0A" is LISTEN, "01" ESTABLISHED; <net/tcp_states.h>. */
  readonly isListening: boolean;
  /** 0 for sockets without a file: TIME_WAIT, or not accepted yet. */
  readonly inode: bigint;
}

const TCP_LINE =
  /^\s*\d+: ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]+):([0-9A-F]{4}) ([0-9A-F]{2})(?:\s+\S+){5}\s+(\d+)/;

/** The kernel prints each 32-bit word of an address as a number of this (little-endian) machine. */
function networkOrder(hex: string): string | undefined {
  if (hex.length !== 8 && hex.length !== 32) return undefined;
  const bytes = hex.toLowerCase().replace(/(..)(..)(..)(..)/g, "$4$3$2$1");
  return hex.length === 8 ? MAPPED_PREFIX_HEX + bytes : bytes;
}

/** Parses /proc/net/tcp or tcp6; lines that do not look like sockets are passed over. */
export function parseProcNetTcp(text: string): TcpSocket[] {
  const sockets: TcpSocket[] = [];
  for (const line of text.split("\n", SOCKETS_MAX)) {
    const match = TCP_LINE.exec(line);
    const local = networkOrder(match?.[1] ?? "");
    const remote = networkOrder(match?.[3] ?? "");
    if (match === null || local === undefined || remote === undefined) continue;
    sockets.push({
      local: { addressHex: local, port: Number.parseInt(match[2]!, 16) },
      remote: { addressHex: remote, port: Number.parseInt(match[4]!, 16) },
      isListening: match[5] === "0A",
      inode: BigInt(match[6]!),
    });
  }
  return sockets;
}

function isSameEnd(a: TcpEnd, b: TcpEnd): boolean {
  return a.port === b.port && a.addressHex === b.addressHex;
}

/** Whether a listener at `listener` takes connections to `end`: its own address, or any. */
function takes(listener: TcpEnd, end: TcpEnd): boolean {
  const isAny = /^0+$/.test(listener.addressHex.replace(MAPPED_PREFIX_HEX, ""));
  return listener.port === end.port && (isAny || listener.addressHex === end.addressHex);
}

/**
 * The inode of the socket at the other end of our connection: of the connection itself or, while
 * nobody has accepted it, of the listener. Undefined when the other end is not on this machine.
 */
export function findPeerInode(
  sockets: readonly TcpSocket[],
  own: TcpEnd,
  peer: TcpEnd,
): bigint | undefined {
  const theirs = sockets.find(
    ({ local, remote, isListening }) =>
      !isListening && isSameEnd(local, peer) && isSameEnd(remote, own),
  );
  if (theirs === undefined) return undefined;
  if (theirs.inode !== 0n) return theirs.inode;
  return sockets.find(({ local, isListening }) => isListening && takes(local, peer))?.inode;
}

/** "socket:[104059]" to 104059; undefined for other files. */
export function parseSocketLink(link: string): bigint | undefined {
  const match = /^socket:\[(\d+)\]$/.exec(link);
  return match === null ? undefined : BigInt(match[1]!);
}

/** The process at the other end of a tcp connection of this machine. Throws VmLookupError. */
export function pidOfTcpPeer(own: TcpEnd, peer: TcpEnd, procfs = "/proc"): number {
  const text = (file: string): string =>
    unlessGone(() => readFileSync(`${procfs}/net/${file}`, "latin1"), "");
  const sockets = [...parseProcNetTcp(text("tcp")), ...parseProcNetTcp(text("tcp6"))];
  const inode = findPeerInode(sockets, own, peer);
  if (inode === undefined) {
    throw new VmLookupError(
      `Cannot tell which process is behind port ${peer.port}: its socket is not in this ` +
        "machine's network namespace",
      "run on the hypervisor itself, or name the VM with --vm",
    );
  }
  let owner: number | undefined;
  someProcess(procfs, (pid) => {
    const fds = unlessGone(() => readdirSync(`${procfs}/${pid}/fd`), []);
    const owns = fds.some((fd) => {
      const link = unlessGone(() => readlinkSync(`${procfs}/${pid}/fd/${fd}`), "");
      return parseSocketLink(link) === inode;
    });
    if (owns) owner = pid;
    return owns;
  });
  if (owner !== undefined) return owner;
  throw new VmLookupError(
    `Cannot tell which process is behind port ${peer.port}: nobody is seen to hold socket ${inode}`,
    "run as root or with CAP_SYS_PTRACE, or name the VM with --vm",
  );
}
