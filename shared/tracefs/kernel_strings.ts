// Strings in the kernel's memory that records only point at: /sys/kernel/tracing/printk_formats.
//
//   0xffffffff8281942f : "thaw_processes"
//
// Events such as power:suspend_resume or maple_tree:ma_op record the address of a constant string;
// with this file, of the kernel that the event came from, %s can print it.

import { safeBytes } from "../text/byte_writer.ts";

/** Bytes of a printk_formats text. */
export const KERNEL_STRINGS_BYTES_MAX = 4 * 1024 * 1024;
export const KERNEL_STRINGS_MAX = 65536;

/** Finds the string at an address, given as u32 pair. */
export interface StringResolver {
  /** Bytes that are safe to write, or undefined. */
  lookup(lo: number, hi: number): Uint8Array | undefined;
}

/** The strings of a printk_formats text. */
export class KernelStrings implements StringResolver {
  /** By the address as a signed number, which is exact for kernel addresses. */
  readonly #byAddress = new Map<number, Uint8Array>();

  /** Lines that are none are left out. Throws RangeError when the text is too long. */
  static parse(text: string): KernelStrings {
    if (text.length > KERNEL_STRINGS_BYTES_MAX) {
      throw new RangeError(
        `Cannot read kernel strings: ${text.length} bytes, limit is ${KERNEL_STRINGS_BYTES_MAX}`,
      );
    }
    const strings = new KernelStrings();
    for (const line of text.split("\n")) {
      const match = /^0x([0-9a-f]{1,16}) : "(.*)"$/.exec(line);
      if (match === null || strings.count >= KERNEL_STRINGS_MAX) continue;
      const address = Number(BigInt.asIntN(64, BigInt(`0x${match[1]}`)));
      // The file shows a newline at a string's end as the two characters \n.
      const shown = (match[2] ?? "").replace(/\\n$/, "");
      strings.#byAddress.set(address, safeBytes(new TextEncoder().encode(shown)));
    }
    return strings;
  }

  get count(): number {
    return this.#byAddress.size;
  }

  lookup(lo: number, hi: number): Uint8Array | undefined {
    return this.#byAddress.get((hi | 0) * 4294967296 + (lo >>> 0));
  }
}
