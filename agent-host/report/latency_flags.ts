// The four characters between pid and CPU: the context in which an event fired.
//
//   d.h.     interrupts off, in a hardirq         common_flags         common_preempt_count
//   dNs5     ..., needs resched, in a softirq, preempt count 5
//
// Letters as the kernel's trace_print_lat_fmt() chooses them. A migrate-disable depth (upper half
// of the preempt count) follows as a fifth character where there is one.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";

// Must match enum trace_flag_type in <linux/trace_events.h>.
const IRQS_OFF = 0x01;
const NEED_RESCHED_LAZY = 0x02;
const NEED_RESCHED = 0x04;
const HARDIRQ = 0x08;
const SOFTIRQ = 0x10;
const PREEMPT_RESCHED = 0x20;
const NMI = 0x40;
const BH_OFF = 0x80;

const DOT = 0x2e;
const HEX = Uint8Array.from("0123456789abcdef", (c) => c.charCodeAt(0));
/** By the three resched flags, as bits 0 (lazy), 1 (need), 2 (preempt). */
const RESCHED_LETTERS = ".lnbpLNB";

/** Three characters for each value of common_flags. */
const FLAG_LETTERS = Uint8Array.from({ length: 256 * 3 }, (_, i) =>
  flagLetters((i / 3) | 0).charCodeAt(i % 3),
);

function flagLetters(flags: number): string {
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const irqs = has(IRQS_OFF) ? (has(BH_OFF) ? "D" : "d") : has(BH_OFF) ? "b" : ".";
  const resched =
    (has(NEED_RESCHED_LAZY) ? 1 : 0) | (has(NEED_RESCHED) ? 2 : 0) | (has(PREEMPT_RESCHED) ? 4 : 0);
  let context = ".";
  if (has(NMI)) context = has(HARDIRQ) ? "Z" : "z";
  else if (has(HARDIRQ)) context = has(SOFTIRQ) ? "H" : "h";
  else if (has(SOFTIRQ)) context = "s";
  return irqs + RESCHED_LETTERS[resched]! + context;
}

/** Writes four characters, or five. The caller has reserved room. */
export function writeLatencyFlags(out: ByteWriter, flags: number, preemptCount: number): void {
  const { bytes } = out;
  let at = out.length;
  const from = (flags & 0xff) * 3;
  bytes[at++] = FLAG_LETTERS[from]!;
  bytes[at++] = FLAG_LETTERS[from + 1]!;
  bytes[at++] = FLAG_LETTERS[from + 2]!;
  const depth = preemptCount & 15;
  bytes[at++] = depth === 0 ? DOT : HEX[depth]!;
  const migrateDepth = (preemptCount >> 4) & 15;
  if (migrateDepth !== 0) bytes[at++] = HEX[migrateDepth]!;
  out.length = at;
}
