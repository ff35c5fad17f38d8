/**
 * Readings of the TSC and of kernel clocks. A clock reading is useful only with its place on the
 * TSC line, so clockBracket gives (TSC before, ns, TSC after) taken by one native stub:
 *
 *   tscBefore <= TSC at which the clock showed ns <= tscAfter
 */
import { ffi } from "#ffi";
import { checked } from "./errno.ts";
import { Mapping } from "./mapping.ts";
import { vdsoClockGettime } from "./vdso.ts";

// Mapped, because the engine moves a small typed array's storage when it optimises code that uses
// it: an address kept from before would then be written to in vain, or worse.
const scratchPage = Mapping.anonymous(4096);
const scratch = new Uint32Array(scratchPage.buffer, 0, 6);
const scratchAddress = scratchPage.address;

/** Reads the TSC into out[0] (low word) and out[1] (high word). */
export function rdtsc(out: Uint32Array): void {
  ffi.stubs.rdtsc(scratchAddress);
  out[0] = scratch[0]!;
  out[1] = scratch[1]!;
}

/** The TSC as a BigInt: for set-up and once-a-second work. */
export function readTsc(): bigint {
  ffi.stubs.rdtsc(scratchAddress);
  return (BigInt(scratch[1]!) << 32n) | BigInt(scratch[0]!);
}

/** (TSC before, ns, TSC after) of one clock reading. */
export interface ClockReading {
  readonly tscBefore: bigint;
  readonly ns: bigint;
  readonly tscAfter: bigint;
}

/** Takes the narrowest of `rounds` bracketed readings of `clockId`. Throws SysError. */
export function clockBracket(clockId: number, rounds: number): ClockReading {
  const gettime = vdsoClockGettime();
  checked(ffi.stubs.bracket(gettime, clockId, rounds, scratchAddress), `read clock ${clockId}`);
  return {
    tscBefore: (BigInt(scratch[1]!) << 32n) | BigInt(scratch[0]!),
    ns: (BigInt(scratch[3]!) << 32n) | BigInt(scratch[2]!),
    tscAfter: (BigInt(scratch[5]!) << 32n) | BigInt(scratch[4]!),
  };
}
