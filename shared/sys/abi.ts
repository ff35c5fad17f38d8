/**
 * Numbers of the x86-64 Linux ABI that the calls in this folder need. Kernel names are kept.
 * Sources: <asm/unistd_64.h>, <asm-generic/fcntl.h>, <linux/mman.h>, <linux/socket.h>, <poll.h>.
 */

export const SYS = {
  read: 0,
  write: 1,
  open: 2,
  close: 3,
  fstat: 5,
  poll: 7,
  lseek: 8,
  mmap: 9,
  munmap: 11,
  ioctl: 16,
  pread64: 17,
  writev: 20,
  socket: 41,
  connect: 42,
  shutdown: 48,
  bind: 49,
  listen: 50,
  getsockname: 51,
  getpeername: 52,
  setsockopt: 54,
  getsockopt: 55,
  execve: 59,
  fcntl: 72,
  ftruncate: 77,
  umask: 95,
  getrlimit: 97,
  getrusage: 98,
  getppid: 110,
  capset: 126,
  prctl: 157,
  gettid: 186,
  clock_gettime: 228,
  sched_setaffinity: 203,
  sched_getaffinity: 204,
  accept4: 288,
  eventfd2: 290,
  perf_event_open: 298,
} as const;

export const O_RDONLY = 0;
export const O_WRONLY = 1;
export const O_RDWR = 2;
export const O_CREAT = 0o100;
export const O_EXCL = 0o200;
export const O_NOCTTY = 0o400;
export const O_TRUNC = 0o1000;
export const O_APPEND = 0o2000;
export const O_NONBLOCK = 0o4000;
export const O_NOFOLLOW = 0o400000;
export const O_CLOEXEC = 0o2000000;
export const O_PATH = 0o10000000;

export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 1;
export const MAP_PRIVATE = 2;
export const MAP_ANONYMOUS = 0x20;

export const POLLIN = 0x001;
export const POLLOUT = 0x004;
export const POLLERR = 0x008;
export const POLLHUP = 0x010;
export const POLLNVAL = 0x020;

export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const SOCK_STREAM = 1;
export const SOCK_NONBLOCK = O_NONBLOCK;
export const SOCK_CLOEXEC = O_CLOEXEC;
export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_SNDBUF = 7;
export const SO_PEERCRED = 17;
export const SO_SNDBUFFORCE = 32;
export const IPPROTO_TCP = 6;
export const TCP_NODELAY = 1;

export const CLOCK_REALTIME = 0;
export const CLOCK_MONOTONIC = 1;
export const CLOCK_MONOTONIC_RAW = 4;

export const S_IFMT = 0o170000;
export const S_IFSOCK = 0o140000;
export const S_IFREG = 0o100000;
export const S_IFCHR = 0o020000;
export const S_IFDIR = 0o040000;

export const PAGE_BYTES = 4096;
