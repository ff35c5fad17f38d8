/**
 * Errors of the kernel as values: "Cannot open "/dev/x": ENOENT (no such file)".
 * Only the numbers that our calls can meet are named; others print as "errno N".
 */

/** errno of x86-64 and arm64; must match <asm-generic/errno-base.h> and <asm-generic/errno.h>. */
const ERRNO: ReadonlyMap<number, readonly [code: string, meaning: string]> = new Map([
  [1, ["EPERM", "operation not permitted"]],
  [2, ["ENOENT", "no such file or directory"]],
  [3, ["ESRCH", "no such process"]],
  [4, ["EINTR", "interrupted"]],
  [5, ["EIO", "input/output error"]],
  [6, ["ENXIO", "no such device or address"]],
  [7, ["E2BIG", "argument too big"]],
  [9, ["EBADF", "bad file descriptor"]],
  [11, ["EAGAIN", "not ready"]],
  [12, ["ENOMEM", "out of memory"]],
  [13, ["EACCES", "permission denied"]],
  [14, ["EFAULT", "bad address"]],
  [16, ["EBUSY", "device or resource busy"]],
  [17, ["EEXIST", "file exists"]],
  [19, ["ENODEV", "no such device"]],
  [20, ["ENOTDIR", "not a directory"]],
  [21, ["EISDIR", "is a directory"]],
  [22, ["EINVAL", "invalid argument"]],
  [23, ["ENFILE", "too many open files in the system"]],
  [24, ["EMFILE", "too many open files"]],
  [25, ["ENOTTY", "not a terminal"]],
  [26, ["ETXTBSY", "text file busy"]],
  [27, ["EFBIG", "file too large"]],
  [28, ["ENOSPC", "no space left on device"]],
  [29, ["ESPIPE", "illegal seek"]],
  [30, ["EROFS", "read-only file system"]],
  [32, ["EPIPE", "broken pipe"]],
  [36, ["ENAMETOOLONG", "file name too long"]],
  [38, ["ENOSYS", "not implemented by this kernel"]],
  [40, ["ELOOP", "too many symbolic links"]],
  [75, ["EOVERFLOW", "value too large"]],
  [88, ["ENOTSOCK", "not a socket"]],
  [91, ["EPROTOTYPE", "wrong socket type"]],
  [95, ["EOPNOTSUPP", "not supported"]],
  [97, ["EAFNOSUPPORT", "address family not supported"]],
  [98, ["EADDRINUSE", "address already in use"]],
  [99, ["EADDRNOTAVAIL", "address not available"]],
  [101, ["ENETUNREACH", "network unreachable"]],
  [103, ["ECONNABORTED", "connection aborted"]],
  [104, ["ECONNRESET", "connection reset by peer"]],
  [106, ["EISCONN", "already connected"]],
  [107, ["ENOTCONN", "not connected"]],
  [110, ["ETIMEDOUT", "timed out"]],
  [111, ["ECONNREFUSED", "connection refused"]],
  [113, ["EHOSTUNREACH", "no route to host"]],
  [114, ["EALREADY", "already in progress"]],
  [115, ["EINPROGRESS", "in progress"]],
]);

/** A failed system call. `code` is the errno's name, for decisions; `hint` says how to mend. */
export class SysError extends Error {
  override readonly name = "SysError";
  readonly errno: number;
  readonly code: string;
  readonly hint: string | undefined;

  /** `action` reads on after "Cannot": `open "/dev/x"`. */
  constructor(action: string, errno: number, hint?: string) {
    const [code, meaning] = ERRNO.get(errno) ?? [`errno ${errno}`, "unknown error"];
    super(`Cannot ${action}: ${code} (${meaning})`);
    this.errno = errno;
    this.code = code;
    this.hint = hint;
  }
}

/** Gives `result` back, or throws the error it encodes: a raw syscall's -4095..-1 is -errno. */
export function checked(result: number, action: string): number {
  if (result < 0) throw new SysError(action, -result);
  return result;
}

export const ESRCH = 3;
export const EIO = 5;
export const ENXIO = 6;
export const ENODEV = 19;
export const EINTR = 4;
export const EINVAL = 22;
export const EMFILE = 24;
export const EAGAIN = 11;
export const EINPROGRESS = 115;
