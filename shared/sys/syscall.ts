/**
 * The door to the kernel: raw system calls through #ffi. Nothing outside shared/sys sees #ffi.
 * Results are >= 0 or -errno; wrappers in this folder turn the latter into SysError.
 */
import { ffi } from "#ffi";
import type { Address, Bytes } from "../ffi/ffi.ts";

export type { Address, Bytes } from "../ffi/ffi.ts";
export { FfiError, NULL_ADDRESS } from "../ffi/ffi.ts";

/** Which runtime executes us: for `--version` and `doctor`. */
export const runtimeName = ffi.runtime;

/** Result >= 0, or -errno. */
export const syscall: typeof ffi.stubs.syscall = ffi.stubs.syscall;

/** Address of a typed array's memory; keep the array referenced while the kernel may use it. */
export const addressOf: (view: Bytes) => Address = ffi.addressOf;

/** A borrowed view of foreign memory: for mappings only, whose owner ends it. */
export const viewOf: (address: Address, bytes: number) => ArrayBuffer = ffi.viewOf;

const encoder = new TextEncoder();

/** A NUL-terminated copy of `text`, for path arguments. */
export function cString(text: string): Uint8Array {
  if (text.includes("\0")) throw new RangeError(`Cannot use ${JSON.stringify(text)}: holds NUL`);
  return encoder.encode(`${text}\0`);
}
