/**
 * Ownership of a memory mapping. JavaScript views of it must die before munmap, or the next access
 * faults: transfer() detaches them all first, so a stale view reads nothing instead of crashing.
 */
import { MAP_ANONYMOUS, MAP_PRIVATE, MAP_SHARED, PROT_READ, PROT_WRITE, SYS } from "./abi.ts";
import { checked } from "./errno.ts";
import type { Fd } from "./fd.ts";
import { type Address, syscall, viewOf } from "./syscall.ts";

export class Mapping {
  readonly address: Address;
  readonly bytes: number;
  #buffer: ArrayBuffer | undefined;

  constructor(address: number, bytes: number) {
    this.address = address as Address;
    this.bytes = bytes;
    this.#buffer = viewOf(this.address, bytes);
  }

  /** Maps `bytes` of `fd` read-write and shared: for perf rings, whose control page we write. */
  static ofFd(fd: Fd, bytes: number, action: string): Mapping {
    return Mapping.#shared(fd, bytes, PROT_READ | PROT_WRITE, action);
  }

  /**
   * The same, to be read only: a perf ring that the kernel overwrites. Writing to it faults, and so
   * may Atomics.load, which an engine may compile to a locked write.
   */
  static readOnlyOfFd(fd: Fd, bytes: number, action: string): Mapping {
    return Mapping.#shared(fd, bytes, PROT_READ, action);
  }

  static #shared(fd: Fd, bytes: number, protection: number, action: string): Mapping {
    const address = syscall(SYS.mmap, 0, bytes, protection, MAP_SHARED, fd.number, 0);
    return new Mapping(checked(address, action), bytes);
  }

  /** Zeroed private memory with an address that never moves: for iovecs, pollfds and buffers. */
  static anonymous(bytes: number): Mapping {
    const flags = MAP_PRIVATE | MAP_ANONYMOUS;
    const address = syscall(SYS.mmap, 0, bytes, PROT_READ | PROT_WRITE, flags, -1, 0);
    return new Mapping(checked(address, `map ${bytes} bytes of memory`), bytes);
  }

  /** The memory. Make views from it; they read as empty after close(). */
  get buffer(): ArrayBuffer {
    if (this.#buffer === undefined) throw new RangeError("Cannot use a mapping: already closed");
    return this.#buffer;
  }

  close(): void {
    const buffer = this.#buffer;
    if (buffer === undefined) return;
    this.#buffer = undefined;
    // Detaches every view of the old buffer; the new one is dropped unread.
    buffer.transfer();
    checked(syscall(SYS.munmap, this.address, this.bytes, 0, 0, 0, 0), "unmap memory");
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
