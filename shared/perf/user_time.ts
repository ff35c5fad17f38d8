/**
 * The conversion that the kernel publishes in a ring's control page: perf ns = time_zero +
 * cycles * time_mult >> time_shift. Present (cap_user_time_zero) only where perf's clock is the
 * native TSC clock; offsets must match struct perf_event_mmap_page in <linux/perf_event.h>.
 */

const LOCK_WORD = 8 / 4;
const CAPABILITIES_WORD = 40 / 4;
const CAP_USER_TIME_ZERO = 1 << 4;
const SHIFT_HALFWORD = 50 / 2;
const MULT_WORD = 52 / 4;
const ZERO_QUADWORD = 64 / 8;
/** The kernel holds the lock for nanoseconds; this many retries mean that the page is not alive. */
const SEQUENCE_RETRIES_MAX = 1000;

/** Parameters of the exact conversion. */
export interface UserTime {
  readonly timeZero: bigint;
  readonly timeMult: number;
  readonly timeShift: number;
}

/** The kernel offered the conversion, and offers it no more: stamps mean nothing from there on. */
export class ClockWithdrawnError extends Error {
  override readonly name = "ClockWithdrawnError";
  readonly hint =
    "it no longer trusts its TSC (dmesg | grep -i tsc); start again: times are fitted then";
  constructor() {
    super("Cannot go on: the kernel has withdrawn the conversion of perf times to the TSC");
  }
}

/** The conversion that was there when the events were opened. Throws ClockWithdrawnError. */
export function stillOffered(userTime: UserTime | undefined): UserTime {
  if (userTime === undefined) throw new ClockWithdrawnError();
  return userTime;
}

/**
 * Reads the conversion out of a control page, or undefined where the kernel offers none. The page's
 * lock is a sequence counter: odd or changed means that the kernel was writing. `barrier` is a
 * native call, so that neither compiler nor engine keeps the first loads.
 */
export function readUserTime(page: ArrayBuffer, barrier: () => void): UserTime | undefined {
  const words = new Uint32Array(page, 0, 32);
  const halfwords = new Uint16Array(page, 0, 64);
  const quadwords = new BigUint64Array(page, 0, 16);
  for (let i = 0; i < SEQUENCE_RETRIES_MAX; i++) {
    const before = words[LOCK_WORD]!;
    barrier();
    const capabilities = words[CAPABILITIES_WORD]!;
    const timeShift = halfwords[SHIFT_HALFWORD]!;
    const timeMult = words[MULT_WORD]!;
    const timeZero = quadwords[ZERO_QUADWORD]!;
    barrier();
    if (words[LOCK_WORD] !== before || (before & 1) !== 0) continue;
    if ((capabilities & CAP_USER_TIME_ZERO) === 0) return undefined;
    return { timeZero, timeMult, timeShift };
  }
  throw new RangeError("Cannot read the perf control page: its lock never came to rest");
}
