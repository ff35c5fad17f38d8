/**
 * The interface that both runtimes' backends implement; "#ffi" in package.json picks one.
 * Small on purpose: everything above it (errors, ownership, structs) is ours and runtime-free.
 */

/** A memory address. User-space addresses are below 2^47, so a JS number holds them exactly. */
export type Address = number & { readonly __brand: "Address" };

export const NULL_ADDRESS = 0 as Address;

/** A typed array whose memory native code may be given. */
export type Bytes = Uint8Array | Uint32Array | Int32Array | BigUint64Array;

/** The functions of native/stubs.c; see there for what each does. */
export interface Stubs {
  /** Result, or -errno. */
  syscall(nr: number, a: number, b: number, c: number, d: number, e: number, f: number): number;
  rdtsc(out: Address): void;
  bracket(gettime: Address, clock: number, rounds: number, out: Address): number;
  /** Result or -errno; the TSC right after it is stored at `tsc`. */
  readStamped(fd: number, bytes: Address, length: number, tsc: Address): number;
  /** As readStamped, trying again for up to `cycles` of the TSC while the result is -EAGAIN. */
  readAwaited(fd: number, bytes: Address, length: number, tsc: Address, cycles: number): number;
  /** Result or -errno; the TSC right before it is stored, and sent, at bytes + stampAt. */
  writeStamped(fd: number, bytes: Address, length: number, stampAt: number): number;
  xxh64Init(state: Address): void;
  xxh64Update(state: Address, from: Address, bytes: number): void;
  xxh64Digest(state: Address, out: Address): void;
}

export interface Ffi {
  readonly runtime: "bun" | "deno";
  readonly stubs: Stubs;
  /** Address of the first byte, NULL of none; stable while the caller keeps `view` alive. */
  addressOf(view: Bytes): Address;
  /** A borrowed view of `bytes` bytes at `address`; the caller owns the memory and its end. */
  viewOf(address: Address, bytes: number): ArrayBuffer;
}

/** Native code cannot be used here: wrong machine, no JIT, no memfd. */
export class FfiError extends Error {
  override readonly name = "FfiError";
}
