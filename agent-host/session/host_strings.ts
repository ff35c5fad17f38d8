/**
 * Constant strings of the host's kernel, which some records only point at (power:suspend_resume,
 * maple_tree:ma_op): out of printk_formats, read when the first one is asked for.
 */
import { KernelStrings, type StringResolver } from "../../shared/tracefs/kernel_strings.ts";
import { Tracefs, TracefsError } from "../../shared/tracefs/tracefs.ts";

let strings: KernelStrings | undefined;

function read(): KernelStrings {
  try {
    return KernelStrings.parse(Tracefs.open().printkFormats());
  } catch (error) {
    // Without the right to read it, the address is printed.
    if (error instanceof TracefsError) return KernelStrings.parse("");
    throw error;
  }
}

export const HOST_STRINGS: StringResolver = {
  lookup(lo, hi) {
    strings ??= read();
    return strings.lookup(lo, hi);
  },
};
