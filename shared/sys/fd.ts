/**
 * Ownership of a file descriptor, and the calls on it that a trace channel needs.
 * Reads and writes go to memory by address, so that a perf ring is written where it lies.
 */
import { ffi } from "#ffi";
import { O_CLOEXEC, S_IFMT, SYS } from "./abi.ts";
import { checked, EAGAIN, EINTR, SysError } from "./errno.ts";
import { type Address, addressOf, cString, syscall } from "./syscall.ts";

/** One owner of one descriptor. close() is idempotent. */
export class Fd {
  #number: number;
  /** What it is, for error messages: a path, "perf event". */
  readonly what: string;

  constructor(number: number, what: string) {
    this.#number = number;
    this.what = what;
  }

  /** The descriptor's number; throws when closed, so that a reused number is never hit. */
  get number(): number {
    if (this.#number < 0) throw new RangeError(`Cannot use ${this.what}: already closed`);
    return this.#number;
  }

  get isClosed(): boolean {
    return this.#number < 0;
  }

  close(): void {
    if (this.#number < 0) return;
    const number = this.#number;
    this.#number = -1;
    // Linux has released the descriptor whatever close returns: retrying could close another's.
    syscall(SYS.close, number, 0, 0, 0, 0, 0);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

/** Opens `path`; O_CLOEXEC is always added. Throws SysError. */
export function openFile(path: string, flags: number, mode = 0o600): Fd {
  const name = cString(path);
  const result = syscall(SYS.open, addressOf(name), flags | O_CLOEXEC, mode, 0, 0, 0);
  return new Fd(checked(result, `open "${path}"`), `"${path}"`);
}

/** Bytes read (0 at the end), or -errno: EAGAIN is an ordinary answer here. */
export function readInto(fd: Fd, to: Address, bytes: number): number {
  for (;;) {
    const result = syscall(SYS.read, fd.number, to, bytes, 0, 0, 0);
    if (result !== -EINTR) return result;
  }
}

/** As readInto, from byte `at` of a file on. */
export function readAt(fd: Fd, to: Address, bytes: number, at: number): number {
  for (;;) {
    const result = syscall(SYS.pread64, fd.number, to, bytes, at, 0, 0);
    if (result !== -EINTR) return result;
  }
}

/** Bytes written, perhaps fewer than asked, or -errno. */
export function writeFrom(fd: Fd, from: Address, bytes: number): number {
  for (;;) {
    const result = syscall(SYS.write, fd.number, from, bytes, 0, 0, 0);
    if (result !== -EINTR) return result;
  }
}

/** As readInto; the TSC right after the read is stored at `tsc`: what came had arrived before. */
export function readStamped(fd: Fd, to: Address, bytes: number, tsc: Address): number {
  for (;;) {
    const result = ffi.stubs.readStamped(fd.number, to, bytes, tsc);
    if (result !== -EINTR) return result;
  }
}

/** As readStamped; while there is nothing it tries again for up to `cycles` of the TSC. */
export function readAwaited(
  fd: Fd,
  to: Address,
  bytes: number,
  tsc: Address,
  cycles: number,
): number {
  for (;;) {
    const result = ffi.stubs.readAwaited(fd.number, to, bytes, tsc, cycles);
    if (result !== -EINTR) return result;
  }
}

/** As writeFrom; the TSC right before the write is stored, and goes out, at from + stampAt. */
export function writeStamped(fd: Fd, from: Address, bytes: number, stampAt: number): number {
  for (;;) {
    const result = ffi.stubs.writeStamped(fd.number, from, bytes, stampAt);
    if (result !== -EINTR) return result;
  }
}

/** As writeFrom, gathering `count` struct iovec {u64 base, u64 bytes} at `iovecs`. */
export function writeGathered(fd: Fd, iovecs: Address, count: number): number {
  for (;;) {
    const result = syscall(SYS.writev, fd.number, iovecs, count, 0, 0, 0);
    if (result !== -EINTR) return result;
  }
}

/** ioctl with an integer argument. Throws SysError naming `action`. */
export function ioctl(fd: Fd, request: number, argument: number, action: string): number {
  return checked(syscall(SYS.ioctl, fd.number, request, argument, 0, 0, 0), action);
}

/** One more than the largest number that a descriptor of this process may have (ulimit -n). */
export function descriptorsMax(): number {
  const RLIMIT_NOFILE = 7;
  // struct rlimit {u64 rlim_cur, rlim_max}; RLIM_INFINITY is the largest u64.
  const limits = new BigUint64Array(2);
  const result = syscall(SYS.getrlimit, RLIMIT_NOFILE, addressOf(limits), 0, 0, 0, 0);
  checked(result, "read the limit of descriptors");
  return Number(limits[0]);
}

/** What the kernel says of an open file: type (S_IFMT bits), owner, number of names, length. */
export interface FileStatus {
  readonly type: number;
  readonly uid: number;
  readonly links: number;
  readonly inode: bigint;
  readonly bytes: number;
}

/** Of what `fd` refers to. Throws SysError. */
export function statusOf(fd: Fd): FileStatus {
  // struct stat on x86-64: 144 bytes, u64 st_ino at 8, u64 st_nlink at 16, u32 st_mode at 24, u32
  // st_uid at 28, i64 st_size at 48; must match <asm/stat.h>.
  const stat = new Uint8Array(144);
  checked(syscall(SYS.fstat, fd.number, addressOf(stat), 0, 0, 0, 0), `stat ${fd.what}`);
  const view = new DataView(stat.buffer);
  return {
    type: view.getUint32(24, true) & S_IFMT,
    uid: view.getUint32(28, true),
    links: Number(view.getBigUint64(16, true)),
    inode: view.getBigUint64(8, true),
    bytes: Number(view.getBigInt64(48, true)),
  };
}

/** File type bits (S_IFMT) of what `fd` refers to. */
export function fileTypeOf(fd: Fd): number {
  return statusOf(fd).type;
}

/** Makes a file empty. Throws SysError. */
export function truncateFile(fd: Fd): void {
  checked(syscall(SYS.ftruncate, fd.number, 0, 0, 0, 0, 0), `truncate ${fd.what}`);
}

/** Runs `create` with the process's mask of mode bits; what it creates has none of them. */
export function withUmask<T>(mask: number, create: () => T): T {
  const before = syscall(SYS.umask, mask, 0, 0, 0, 0, 0);
  try {
    return create();
  } finally {
    syscall(SYS.umask, before, 0, 0, 0, 0, 0);
  }
}

/** A counter to wake a thread that blocks in poll(): write 8 bytes to wake, read to reset. */
export function openEventFd(): Fd {
  const EFD_CLOEXEC_NONBLOCK = 0o2004000;
  const result = syscall(SYS.eventfd2, 0, EFD_CLOEXEC_NONBLOCK, 0, 0, 0, 0);
  return new Fd(checked(result, "create an eventfd"), "eventfd");
}

const ONE = BigUint64Array.of(1n);

const COUNT = new BigUint64Array(1);

/** Makes a woken eventfd wait again. */
export function resetEventFd(eventFdNumber: number): void {
  const result = syscall(SYS.read, eventFdNumber, addressOf(COUNT), 8, 0, 0, 0);
  if (result < 0 && result !== -EAGAIN) throw new SysError("read the eventfd", -result);
}

/** Wakes whoever polls `eventFdNumber`; callable from any thread. */
export function wakeEventFd(eventFdNumber: number): void {
  const result = syscall(SYS.write, eventFdNumber, addressOf(ONE), 8, 0, 0, 0);
  if (result < 0 && result !== -11) throw new SysError("wake the sampler", -result);
}
