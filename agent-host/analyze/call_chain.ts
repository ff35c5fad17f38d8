// The call chain of a sample, frame by frame:
//
//   06 00 00 00 00 00 00 00   u64 nr: entries, markers included
//   80 ff ff ff ff ff ff ff   PERF_CONTEXT_KERNEL: what follows is kernel code
//   58 8b 1f 82 ff ff ff ff   innermost frame
//   c3 94 1f 82 ff ff ff ff   who called it, and so on
//   00 fe ff ff ff ff ff ff   PERF_CONTEXT_USER: what follows is user code
//   37 e1 10 ff 33 7f 00 00
//
// The decoder has checked that nr entries lie in the record; what they are is the guest's word.

import type { EventView } from "./event_view.ts";

/** Frames of one chain that are shown: the kernel's own limit is 127 unless it was raised. */
export const CHAIN_FRAMES_MAX = 1024;

/** enum perf_callchain_context of <linux/perf_event.h>, low words; the high one is all ones. */
const PERF_CONTEXT_KERNEL = -128 >>> 0;
const PERF_CONTEXT_USER = -512 >>> 0;
const PERF_CONTEXT_USER_DEFERRED = -640 >>> 0;
/** PERF_CONTEXT_MAX: markers lie above it. */
const PERF_CONTEXT_LEAST = -4095 >>> 0;

/** Whose code a frame is: `other` is a guest's, or a hypervisor's below this kernel. */
export type FrameSpace = "kernel" | "user" | "other";

/** Receives the frames, innermost first. */
export type FrameVisitor = (lo: number, hi: number, space: FrameSpace) => void;

/** Visits the frames of an event; returns how many were left out. */
export function visitFrames(view: EventView, visit: FrameVisitor): number {
  const { bytes, chainOffset } = view;
  if (chainOffset === 0) return 0;
  const count = readWord(bytes, chainOffset);
  let space: FrameSpace | undefined;
  let shown = 0;
  for (let i = 0; i < count; i++) {
    const at = chainOffset + 8 + i * 8;
    const lo = readWord(bytes, at);
    const hi = readWord(bytes, at + 4);
    if (hi === 0xffffffff && lo >= PERF_CONTEXT_LEAST) {
      space = spaceOf(lo);
      continue;
    }
    if (shown++ >= CHAIN_FRAMES_MAX) continue;
    visit(lo, hi, space ?? (hi >= 0x80000000 ? "kernel" : "user"));
  }
  return Math.max(0, shown - CHAIN_FRAMES_MAX);
}

function spaceOf(marker: number): FrameSpace {
  if (marker === PERF_CONTEXT_KERNEL) return "kernel";
  return marker === PERF_CONTEXT_USER || marker === PERF_CONTEXT_USER_DEFERRED ? "user" : "other";
}

function readWord(bytes: Uint8Array, at: number): number {
  return (
    (bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24)) >>> 0
  );
}
