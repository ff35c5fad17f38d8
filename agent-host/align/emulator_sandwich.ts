/**
 * Host TSC to guest TSC from the program that emulates the guest's TSC.
 *
 *   QEMU without KVM answers the guest's rdtsc by calling cpu_get_tsc(); probes on its entry and on
 *   its return stamp the same host thread before and after:
 *
 *   host thread   ----e----------[ reads the host's TSC, adds a constant ]----------r---->
 *                 entry probe               guest's rdtsc = value            return probe
 *
 * That is a round trip of a few microseconds without a wire: sent at e, received and answered when
 * the guest's TSC was `value`, back at r. An entry is paired with the next return of its thread.
 * Where records were lost that entry may belong to an earlier call: still before the value was
 * read, so the trip is wider but as true. Records in, trips out: session/emulator_probe.ts probes.
 */
import { PERF_RECORD_SAMPLE, RECORD_HEADER_BYTES } from "../../shared/perf/record.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { type GuestTsc, guestTsc, type HostTsc, hostTsc } from "../../shared/tsc/tsc.ts";
import type { RoundTrip } from "./ping.ts";

/** Trips of one round that are handed on, the narrowest. */
export const SANDWICHES_KEPT_MAX = 64;
/** Records of one round that are kept; a round ends long before. */
export const CALL_RECORDS_MAX = 16_384;
/** A wider one says nothing: the thread was put aside between its stamps. */
const WIDTH_NS_MAX = 1_000_000n;

/** One probe's record. */
export interface CallRecord {
  readonly thread: number;
  /** Perf time. */
  readonly ns: bigint;
  /** What the guest's rdtsc got; undefined for an entry. */
  readonly value: bigint | undefined;
}

/** One rdtsc of the guest between two perf times of the host. */
export interface Sandwich {
  readonly beforeNs: bigint;
  readonly value: bigint;
  readonly afterNs: bigint;
}

/** Where the records' parts lie. */
export interface CallLayout {
  /** In a sample, as sampleLayout() says. */
  readonly timeOffset: number;
  /** Of u32 raw size; the raw data follow. */
  readonly rawSizeOffset: number;
  /** common_type of the two probes. */
  readonly entryType: number;
  readonly returnType: number;
  /** Of the return value (u64) in the raw data. */
  readonly valueOffset: number;
}

const COMMON_PID_OFFSET = 4;
const COMMON_BYTES = 8;

/**
 * Adds the calls that a span of whole perf records holds to `into`, up to CALL_RECORDS_MAX. Other
 * records are skipped; throws RangeError for bytes that are none.
 */
export function readCalls(bytes: Uint8Array, layout: CallLayout, into: CallRecord[]): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  let at = 0;
  while (at + RECORD_HEADER_BYTES <= bytes.length) {
    const size = view.getUint16(at + 6, true);
    if (size < RECORD_HEADER_BYTES || at + size > bytes.length) {
      throw new RangeError(`Cannot read a probe's records: record of ${size} bytes`);
    }
    if (view.getUint32(at, true) === PERF_RECORD_SAMPLE && into.length < CALL_RECORDS_MAX) {
      const call = readCall(view, at, size, layout);
      if (call !== undefined) into.push(call);
    }
    at += size;
  }
}

function readCall(
  view: DataView,
  at: number,
  size: number,
  layout: CallLayout,
): CallRecord | undefined {
  const raw = at + layout.rawSizeOffset + 4;
  const end = at + size;
  if (raw + COMMON_BYTES > end) return undefined;
  const type = view.getUint16(raw, true);
  const thread = view.getInt32(raw + COMMON_PID_OFFSET, true);
  const ns = view.getBigUint64(at + layout.timeOffset, true);
  if (type === layout.entryType) return { thread, ns, value: undefined };
  if (type !== layout.returnType || raw + layout.valueOffset + 8 > end) return undefined;
  return { thread, ns, value: view.getBigUint64(raw + layout.valueOffset, true) };
}

/**
 * The narrowest SANDWICHES_KEPT_MAX of all calls that were seen from both sides, in the order of
 * time: the first of them after a step of the relation says from when on the new one holds.
 */
export function pairCalls(records: readonly CallRecord[]): Sandwich[] {
  const inOrder = [...records].sort(byTime);
  const entries = new Map<number, bigint>();
  const sandwiches: Sandwich[] = [];
  for (const { thread, ns, value } of inOrder) {
    if (value === undefined) {
      entries.set(thread, ns);
      continue;
    }
    const beforeNs = entries.get(thread);
    entries.delete(thread);
    if (beforeNs === undefined || ns - beforeNs > WIDTH_NS_MAX) continue;
    sandwiches.push({ beforeNs, value, afterNs: ns });
  }
  return sandwiches
    .sort((a, b) => Number(widthOf(a) - widthOf(b)))
    .slice(0, SANDWICHES_KEPT_MAX)
    .sort((a, b) => Number(a.afterNs - b.afterNs));
}

/**
 * By time. Of one nanosecond a return goes first: no call is that short, so the entry belongs to a
 * later call, and the other order would put it before a value that was read earlier.
 */
function byTime(a: CallRecord, b: CallRecord): number {
  if (a.ns !== b.ns) return a.ns < b.ns ? -1 : 1;
  return Number(a.value === undefined) - Number(b.value === undefined);
}

function widthOf({ beforeNs, afterNs }: Sandwich): bigint {
  return afterNs - beforeNs;
}

/**
 * The sandwich as a round trip: its stamps as host TSC, moved apart by what the conversion of the
 * host's perf clock (`map`, perf ns to host cycles) may be wrong.
 */
export function sandwichTrip(sandwich: Sandwich, map: TimeMap): RoundTrip {
  const value: GuestTsc = guestTsc(sandwich.value);
  return {
    hostSent: hostTscOf(map, sandwich.beforeNs, -1),
    guestReceived: value,
    guestSent: value,
    hostReceived: hostTscOf(map, sandwich.afterNs, 1),
  };
}

/** The least (side -1) or greatest (side 1) host TSC that a perf time can be. */
function hostTscOf(map: TimeMap, ns: bigint, side: -1 | 1): HostTsc {
  const { cycles, targetAnchor, boundCycles } = map.convert(ns);
  const outer = BigInt(
    side < 0 ? Math.floor(cycles - boundCycles) : Math.ceil(cycles + boundCycles),
  );
  return hostTsc(BigInt.asUintN(64, targetAnchor + outer));
}
