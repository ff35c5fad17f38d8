/**
 * Stream sockets by raw system calls, so that one poll() waits for perf rings and peers alike.
 * All sockets are non-blocking and close-on-exec.
 *
 * struct sockaddr_in  {u16 family, be16 port, u8 address[4], u8 zero[8]}
 * struct sockaddr_in6 {u16 family, be16 port, u32 flow, u8 address[16], u32 scope}
 * struct sockaddr_un  {u16 family, char path[108]}      must match <linux/in.h>, in6.h, un.h
 */
import { isIPv4, isIPv6 } from "node:net";
import {
  AF_INET,
  AF_INET6,
  AF_UNIX,
  IPPROTO_TCP,
  SO_ERROR,
  SO_PEERCRED,
  SO_REUSEADDR,
  SO_SNDBUF,
  SO_SNDBUFFORCE,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  SYS,
  TCP_NODELAY,
} from "./abi.ts";
import { checked, EAGAIN, EINPROGRESS, SysError } from "./errno.ts";
import { Fd } from "./fd.ts";
import { addressOf, syscall } from "./syscall.ts";

/** sun_path holds 108 bytes with its NUL. */
const UNIX_PATH_BYTES_MAX = 107;
const LISTEN_BACKLOG = 16;
/** ::ffff:0:0/96, in which IPv6 sockets show IPv4 addresses. */
export const MAPPED_PREFIX_HEX = "00000000000000000000ffff";

/** Where a stream socket listens or connects. */
export type SocketAddress =
  | { readonly kind: "tcp"; readonly host: string; readonly port: number }
  | { readonly kind: "unix"; readonly path: string };

/** "127.0.0.1:9900", "[::1]:9900", "unix:/run/x.sock". */
export function formatAddress(address: SocketAddress): string {
  if (address.kind === "unix") return `unix:${address.path}`;
  const host = isIPv6(address.host) ? `[${address.host}]` : address.host;
  return `${host}:${address.port}`;
}

/** The last four bytes may be written as in IPv4: ::ffff:10.0.0.1. */
function withoutDots(text: string): string {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(text);
  if (dotted === null) return text;
  const [a, b, c, d] = dotted.slice(2).map(Number) as [number, number, number, number];
  return `${dotted[1]}${((a << 8) | b).toString(16)}:${((c << 8) | d).toString(16)}`;
}

function ipv6Bytes(text: string): Uint8Array {
  const bytes = new Uint8Array(16);
  const view = new DataView(bytes.buffer);
  const [head = "", tail] = withoutDots(text).split("::");
  const headGroups = head === "" ? [] : head.split(":");
  const tailGroups = tail === undefined || tail === "" ? [] : tail.split(":");
  headGroups.forEach((group, i) => {
    view.setUint16(i * 2, Number.parseInt(group, 16));
  });
  tailGroups.forEach((group, i) => {
    view.setUint16(16 - (tailGroups.length - i) * 2, Number.parseInt(group, 16));
  });
  return bytes;
}

/** The bytes of struct sockaddr for `address`. */
export function encodeSocketAddress(address: SocketAddress): Uint8Array {
  if (address.kind === "unix") {
    const path = new TextEncoder().encode(address.path);
    if (path.length > UNIX_PATH_BYTES_MAX) {
      throw new RangeError(
        `Cannot use unix socket "${address.path}": ${path.length} bytes, wants at most ` +
          `${UNIX_PATH_BYTES_MAX}`,
      );
    }
    const bytes = new Uint8Array(2 + path.length + 1);
    new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
    bytes.set(path, 2);
    return bytes;
  }
  const v4 = isIPv4(address.host);
  // A zone (fe80::1%eth0) would need an interface's number.
  if (!v4 && (!isIPv6(address.host) || address.host.includes("%"))) {
    throw new RangeError(`Cannot use host "${address.host}": wants an IPv4 or IPv6 address`);
  }
  const bytes = new Uint8Array(v4 ? 16 : 28);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, v4 ? AF_INET : AF_INET6, true);
  view.setUint16(2, address.port);
  if (v4) bytes.set(address.host.split(".").map(Number), 4);
  else bytes.set(ipv6Bytes(address.host), 8);
  return bytes;
}

function createSocket(address: SocketAddress): Fd {
  const family = address.kind === "unix" ? AF_UNIX : isIPv4(address.host) ? AF_INET : AF_INET6;
  const type = SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const name = formatAddress(address);
  return new Fd(checked(syscall(SYS.socket, family, type, 0, 0, 0, 0), "create a socket"), name);
}

function setOption(fd: Fd, level: number, option: number, value: number): void {
  const bytes = Int32Array.of(value);
  const result = syscall(SYS.setsockopt, fd.number, level, option, addressOf(bytes), 4, 0);
  checked(result, `set option ${option} of ${fd.what}`);
}

function getOption(fd: Fd, option: number, words: number): Int32Array {
  const value = new Int32Array(words);
  const length = Int32Array.of(words * 4);
  const [valueAt, lengthAt] = [addressOf(value), addressOf(length)];
  const result = syscall(SYS.getsockopt, fd.number, SOL_SOCKET, option, valueAt, lengthAt, 0);
  checked(result, `get option ${option} of ${fd.what}`);
  return value;
}

function checkedBind(result: number, kind: SocketAddress["kind"], action: string): void {
  const EACCES = 13;
  if (result !== -EACCES) {
    checked(result, action);
    return;
  }
  const hint =
    kind === "tcp"
      ? "a port below 1024 wants CAP_NET_BIND_SERVICE"
      : "choose a folder of this user's; --keep-privileges keeps CAP_DAC_OVERRIDE";
  throw new SysError(action, EACCES, hint);
}

/** Opens a listening socket. Throws SysError (EADDRINUSE, ...). Port 0 lets the kernel choose. */
export function listenOn(address: SocketAddress): Fd {
  const encoded = encodeSocketAddress(address);
  const fd = createSocket(address);
  const action = `listen on ${fd.what}`;
  try {
    if (address.kind === "tcp") setOption(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    const at = addressOf(encoded);
    const bound = syscall(SYS.bind, fd.number, at, encoded.length, 0, 0, 0);
    checkedBind(bound, address.kind, action);
    checked(syscall(SYS.listen, fd.number, LISTEN_BACKLOG, 0, 0, 0, 0), action);
    return fd;
  } catch (error) {
    fd.close();
    throw error;
  }
}

/** The port that a listening tcp socket has. */
export function boundPort(fd: Fd): number {
  const name = new Uint8Array(28);
  const length = Int32Array.of(name.length);
  const result = syscall(SYS.getsockname, fd.number, addressOf(name), addressOf(length), 0, 0, 0);
  checked(result, `read the port of ${fd.what}`);
  return new DataView(name.buffer).getUint16(2);
}

/** One end of a tcp connection. */
export interface TcpEnd {
  /** 32 hex digits in network order; an IPv4 address as IPv6 maps it (::ffff:127.0.0.1). */
  readonly addressHex: string;
  readonly port: number;
}

/** The end that a struct sockaddr_in or sockaddr_in6 names. Throws RangeError for others. */
export function decodeTcpEnd(bytes: Uint8Array): TcpEnd {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const family = view.getUint16(0, true);
  if (family !== AF_INET && family !== AF_INET6) {
    throw new RangeError(`Cannot read a socket's address: family is ${family}, wants inet`);
  }
  const address = family === AF_INET ? bytes.subarray(4, 8) : bytes.subarray(8, 24);
  const hex = [...address].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  const addressHex = family === AF_INET ? `${MAPPED_PREFIX_HEX}${hex}` : hex;
  return { addressHex, port: view.getUint16(2) };
}

/** "127.0.0.1:40123", "[fe80:0000:0000:0000:0000:0000:0000:0001]:40123". */
export function formatTcpEnd({ addressHex, port }: TcpEnd): string {
  const words = addressHex.match(/.{4}/g) ?? [];
  if (!addressHex.startsWith(MAPPED_PREFIX_HEX)) return `[${words.join(":")}]:${port}`;
  const bytes = addressHex.slice(MAPPED_PREFIX_HEX.length).match(/../g) ?? [];
  return `${bytes.map((byte) => Number.parseInt(byte, 16)).join(".")}:${port}`;
}

/** Both ends of a connected tcp socket. Throws SysError. */
export function tcpEnds(fd: Fd): { readonly own: TcpEnd; readonly peer: TcpEnd } {
  const end = (call: number): TcpEnd => {
    const name = new Uint8Array(28);
    const length = Int32Array.of(name.length);
    const result = syscall(call, fd.number, addressOf(name), addressOf(length), 0, 0, 0);
    checked(result, `read the address of ${fd.what}`);
    return decodeTcpEnd(name);
  };
  return { own: end(SYS.getsockname), peer: end(SYS.getpeername) };
}

/**
 * The next waiting client, or undefined when there is none. Throws SysError when there may be one:
 * EMFILE, ENFILE, ENOMEM, or why its connection did not come about (EPERM, EPROTO, ...).
 */
export function acceptFrom(listener: Fd): Fd | undefined {
  const flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
  const result = syscall(SYS.accept4, listener.number, 0, 0, flags, 0, 0);
  const ECONNABORTED = 103;
  if (result === -EAGAIN || result === -ECONNABORTED) return undefined;
  return new Fd(checked(result, `accept on ${listener.what}`), `client of ${listener.what}`);
}

/**
 * Starts to connect. A tcp socket may still be connecting: wait for POLLOUT, then finishConnect().
 * Throws SysError (ECONNREFUSED, ENOENT, EAGAIN when a unix listener's queue is full).
 */
export function connectTo(address: SocketAddress): Fd {
  const encoded = encodeSocketAddress(address);
  const fd = createSocket(address);
  const at = addressOf(encoded);
  const result = syscall(SYS.connect, fd.number, at, encoded.length, 0, 0, 0);
  if (result === 0 || result === -EINPROGRESS) return fd;
  fd.close();
  throw new SysError(`connect to ${fd.what}`, -result);
}

/** Throws the SysError with which an asynchronous connect ended, if it failed. */
export function finishConnect(fd: Fd): void {
  const errno = getOption(fd, SO_ERROR, 1)[0]!;
  if (errno !== 0) throw new SysError(`connect to ${fd.what}`, errno);
}

/** Sends small frames at once: a ping must not wait for an acknowledgement. */
export function setNoDelay(fd: Fd): void {
  setOption(fd, IPPROTO_TCP, TCP_NODELAY, 1);
}

/**
 * Asks for a send buffer of `bytes`, so that one write takes what several would: as root beyond the
 * system's limit (net.core.wmem_max), otherwise up to it.
 */
export function setSendBuffer(fd: Fd, bytes: number): void {
  try {
    setOption(fd, SOL_SOCKET, SO_SNDBUFFORCE, bytes);
  } catch (error) {
    if (!(error instanceof SysError) || error.code !== "EPERM") throw error;
    setOption(fd, SOL_SOCKET, SO_SNDBUF, bytes);
  }
}

/** Process id of a unix socket's peer. */
export function peerPid(fd: Fd): number {
  return getOption(fd, SO_PEERCRED, 3)[0]!;
}
