/**
 * struct perf_event_attr as bytes; offsets and bits must match <linux/perf_event.h> (size VER5, 112
 * bytes, known to every kernel since 4.1). Only what a tracer of tracepoints and probes asks for.
 */
import { PERF_SAMPLE_CALLCHAIN } from "./sample_type.ts";

export const PERF_TYPE_SOFTWARE = 1;
export const PERF_TYPE_TRACEPOINT = 2;
export const PERF_COUNT_SW_DUMMY = 9;

/** Since Linux 6.0: read() gives the records that found no room as well. */
export const PERF_FORMAT_LOST = 1 << 4;

const ATTR_BYTES = 112;
const FLAG_DISABLED = 1 << 0;
const FLAG_INHERIT = 1 << 1;
const FLAG_MMAP = 1 << 8;
const FLAG_COMM = 1 << 9;
const FLAG_TASK = 1 << 13;
const FLAG_WATERMARK = 1 << 14;
const FLAG_SAMPLE_ID_ALL = 1 << 18;
const FLAG_EXCLUDE_CALLCHAIN_KERNEL = 1 << 21;
const FLAG_EXCLUDE_CALLCHAIN_USER = 1 << 22;
const FLAG_MMAP2 = 1 << 23;
const FLAG_USE_CLOCKID = 1 << 25;
/** Since Linux 4.7. */
const FLAG_WRITE_BACKWARD = 1 << 27;
/** Of the second half of the flags: bit 35, inherit_thread, since Linux 5.13. */
const FLAG_HIGH_INHERIT_THREAD = 1 << 3;

/** What to open. Events begin disabled and wake the reader by bytes, not by count. */
export interface EventAttr {
  readonly type: number;
  /** Tracepoint id for PERF_TYPE_TRACEPOINT. */
  readonly config: number;
  readonly sampleType: number;
  readonly readFormat: number;
  /** Bytes in the ring before poll() wakes. */
  readonly watermarkBytes: number;
  /** CLOCK_* to stamp with, or undefined for perf's own clock. */
  readonly clockId: number | undefined;
  /** COMM, FORK and EXIT records in the ring: who is who, without asking /proc. */
  readonly taskNames: boolean;
  /** MMAP2 records: which code a process maps where, some 120 bytes each. */
  readonly codeMappings?: boolean;
  /** The ring is written from its end to its beginning, over the oldest records. */
  readonly isBackward?: boolean;
  /** Which tasks that the sampled one creates later are sampled too. */
  readonly inherit: Inherit;
  /** With PERF_SAMPLE_CALLCHAIN: what of the chain is wanted; nothing of it unless told. */
  readonly callChain?: CallChain | undefined;
}

/** Parts of a call chain, and how many entries at most: 0 is the kernel's default. */
export interface CallChain {
  readonly hasKernel: boolean;
  readonly hasUser: boolean;
  readonly entriesMax: number;
}

/** None, new threads of the process (Linux 5.13), or all children, which includes its threads. */
export type Inherit = "none" | "threads" | "children";

export function encodeAttr(attr: EventAttr): Uint8Array {
  const bytes = new Uint8Array(ATTR_BYTES);
  const view = new DataView(bytes.buffer);
  let flags = FLAG_DISABLED | FLAG_WATERMARK | FLAG_SAMPLE_ID_ALL;
  if (attr.taskNames) flags |= FLAG_COMM | FLAG_TASK;
  // The kernel only counts the older flag, and writes what the newer one says.
  if (attr.codeMappings === true) flags |= FLAG_MMAP | FLAG_MMAP2;
  if (attr.clockId !== undefined) flags |= FLAG_USE_CLOCKID;
  if (attr.inherit !== "none") flags |= FLAG_INHERIT;
  if (attr.isBackward === true) flags |= FLAG_WRITE_BACKWARD;
  if ((attr.sampleType & PERF_SAMPLE_CALLCHAIN) !== 0) flags |= chainFlags(attr.callChain);
  view.setUint32(0, attr.type, true);
  view.setUint32(4, ATTR_BYTES, true);
  view.setBigUint64(8, BigInt(attr.config), true);
  view.setBigUint64(16, attr.type === PERF_TYPE_TRACEPOINT ? 1n : 0n, true);
  view.setBigUint64(24, BigInt(attr.sampleType), true);
  view.setBigUint64(32, BigInt(attr.readFormat), true);
  view.setUint32(40, flags, true);
  view.setUint32(44, attr.inherit === "threads" ? FLAG_HIGH_INHERIT_THREAD : 0, true);
  view.setUint32(48, attr.watermarkBytes, true);
  view.setInt32(92, attr.clockId ?? 0, true);
  view.setUint16(108, attr.callChain?.entriesMax ?? 0, true);
  return bytes;
}

/** A chain without any part costs eight bytes, its length of 0, and no walk of the stack. */
function chainFlags(chain: CallChain | undefined): number {
  const kernel = chain?.hasKernel === true ? 0 : FLAG_EXCLUDE_CALLCHAIN_KERNEL;
  return kernel | (chain?.hasUser === true ? 0 : FLAG_EXCLUDE_CALLCHAIN_USER);
}
