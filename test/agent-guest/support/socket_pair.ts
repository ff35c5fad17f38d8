/** Two connected descriptors, for an outlet and who reads from it. */
import { SOCK_CLOEXEC, SOCK_NONBLOCK, SOL_SOCKET, SYS } from "../../../shared/sys/abi.ts";
import { checked, EAGAIN } from "../../../shared/sys/errno.ts";
import { Fd, readInto } from "../../../shared/sys/fd.ts";
import { Mapping } from "../../../shared/sys/mapping.ts";
import { type Address, addressOf, syscall } from "../../../shared/sys/syscall.ts";

const SYS_SOCKETPAIR = 53;
const AF_UNIX = 1;
const SO_SNDBUF = 7;
const READ_BYTES = 1024 * 1024;

/** "stream" is a socket; "packets" keeps the borders between writes. */
export type PairKind = "stream" | "packets";
const TYPES = { stream: 1, packets: 5 } as const;

export class SocketPair implements Disposable {
  readonly writer: Fd;
  readonly reader: Fd;
  readonly #memory = Mapping.anonymous(READ_BYTES);

  /** The writer's buffer is as small as the kernel makes it, if not told otherwise. */
  constructor(kind: PairKind, sendBytes = 0) {
    using numbers = Mapping.anonymous(4096);
    const type = TYPES[kind] | SOCK_NONBLOCK | SOCK_CLOEXEC;
    const result = syscall(SYS_SOCKETPAIR, AF_UNIX, type, 0, numbers.address, 0, 0);
    checked(result, "make a pair of sockets");
    const [writer = -1, reader = -1] = new Int32Array(numbers.buffer, 0, 2);
    this.writer = new Fd(writer, "writer");
    this.reader = new Fd(reader, "reader");
    const value = addressOf(Int32Array.of(sendBytes));
    checked(syscall(SYS.setsockopt, writer, SOL_SOCKET, SO_SNDBUF, value, 4, 0), "set a buffer");
  }

  /** One read of at most `bytesMax`; empty when nothing is there. */
  read(bytesMax = READ_BYTES): Uint8Array {
    const got = readInto(this.reader, this.#memory.address as Address, bytesMax);
    if (got === -EAGAIN) return new Uint8Array(0);
    checked(got, "read the pair");
    return new Uint8Array(this.#memory.buffer, 0, got).slice();
  }

  [Symbol.dispose](): void {
    this.writer.close();
    this.reader.close();
    this.#memory.close();
  }
}
