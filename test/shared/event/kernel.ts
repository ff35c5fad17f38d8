/**
 * What tests on the real kernel share: whether they can run here, calls that fire an exact number
 * of events, and the records of a ring as values.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from "node:fs";
import { EventSet, type EventSetOptions } from "../../../shared/event/event_set.ts";
import { onlineCpus } from "../../../shared/event/machine.ts";
import { resolveEvents } from "../../../shared/event/resolve.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import type { Ring } from "../../../shared/perf/ring.ts";
import {
  PERF_SAMPLE_IDENTIFIER,
  PERF_SAMPLE_TID,
  PERF_SAMPLE_TIME,
} from "../../../shared/perf/sample_type.ts";
import { SYS } from "../../../shared/sys/abi.ts";
import { syscall } from "../../../shared/sys/syscall.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { ensureTracingMounts } from "../../vm/tracing_mounts.ts";

/** Why events of the kernel cannot be opened here; empty when they can. */
export const NO_TRACING = reasonAgainstTracing();
if (NO_TRACING !== "") console.warn(`skipped: tests on the kernel's events: ${NO_TRACING}`);

function reasonAgainstTracing(): string {
  if (process.getuid?.() !== 0) return "they want root";
  try {
    ensureTracingMounts();
    Tracefs.open();
  } catch (error) {
    return (error as Error).message;
  }
  return "";
}

export const GETPPID = SYS.getppid;
export const GETPGRP = 111;

/** The thread that runs this: the test's own, which fires the events that it counts. */
export function ownTid(): number {
  return syscall(SYS.gettid, 0, 0, 0, 0, 0, 0);
}

/**
 * Fires raw_syscalls:sys_enter with id 110 exactly `count` times, numbered in the first argument.
 */
export function callGetppid(count: number, firstNumber = 0): void {
  for (let i = 0; i < count; i++) syscall(GETPPID, firstNumber + i, 0, 0, 0, 0, 0);
}

/** The same with id 111. */
export function callGetpgrp(count: number): void {
  for (let i = 0; i < count; i++) syscall(GETPGRP, 0, 0, 0, 0, 0, 0);
}

export const OWN_GETPPID = (): string =>
  `raw_syscalls:sys_enter/common_pid==${ownTid()}&&id==${GETPPID}/`;
export const OWN_GETPGRP = (): string =>
  `raw_syscalls:sys_enter/common_pid==${ownTid()}&&id==${GETPGRP}/`;

/** Opens events of the real kernel on all CPUs, with `-e` texts and whatever options matter. */
export function openEvents(
  texts: readonly string[],
  options: Partial<EventSetOptions> = {},
): EventSet {
  const specs = texts.flatMap((text) => parseEventSpecs(text));
  return new EventSet(resolveEvents(specs, Tracefs.open()), {
    cpus: onlineCpus(),
    ringBytes: 256 * 1024,
    watermarkBytes: 4096,
    threadIds: false,
    taskNames: false,
    pid: -1,
    ...options,
  });
}

/** One record as bytes in one piece. */
export interface RawRecord {
  readonly type: number;
  readonly bytes: DataView;
}

/** The records between tail and head. */
export function recordsOf(ring: Ring): RawRecord[] {
  const records: RawRecord[] = [];
  const byteAt = (position: number): number => ring.data[ring.offsetOf(position)]!;
  for (let at = ring.tail; at < ring.refreshHead(); ) {
    const size = byteAt(at + 6) | (byteAt(at + 7) << 8);
    const bytes = Uint8Array.from({ length: size }, (_, i) => byteAt(at + i));
    records.push({ type: byteAt(at), bytes: new DataView(bytes.buffer) });
    at += size;
  }
  return records;
}

/** A sample of raw_syscalls:sys_enter. */
export interface SysEnter {
  readonly identifier: bigint;
  readonly tid: number;
  readonly timeNs: bigint;
  readonly commonType: number;
  readonly commonPid: number;
  readonly id: bigint;
  /** The first argument: the number of a numbered call. */
  readonly arg0: number;
}

/** Reads a sample by its sample_type: identifier, pid and tid, time, then u32 size and raw data. */
export function readSysEnter({ bytes }: RawRecord, sampleType: number): SysEnter {
  let at = 8;
  let identifier = 0n;
  let tid = 0;
  let timeNs = 0n;
  if ((sampleType & PERF_SAMPLE_IDENTIFIER) !== 0) {
    identifier = bytes.getBigUint64(at, true);
    at += 8;
  }
  if ((sampleType & PERF_SAMPLE_TID) !== 0) {
    tid = bytes.getUint32(at + 4, true);
    at += 8;
  }
  if ((sampleType & PERF_SAMPLE_TIME) !== 0) {
    timeNs = bytes.getBigUint64(at, true);
    at += 8;
  }
  const raw = at + 4;
  const commonType = bytes.getUint16(raw, true);
  const commonPid = bytes.getInt32(raw + 4, true);
  const id = bytes.getBigInt64(raw + 8, true);
  return {
    identifier,
    tid,
    timeNs,
    commonType,
    commonPid,
    id,
    arg0: bytes.getUint32(raw + 16, true),
  };
}

/** All samples of a set, ring by ring. */
export function samplesOf(set: EventSet): RawRecord[] {
  return set.rings
    .flatMap(({ ring }) => recordsOf(ring))
    .filter(({ type }) => type === PERF_RECORD_SAMPLE);
}

/** Sums of all CPUs. */
export function totalOf(set: EventSet): { produced: number; lost: number } {
  let [produced, lost] = [0, 0];
  for (const ring of set.rings) {
    const count = set.count(ring);
    produced += Number(count.produced);
    lost += Number(count.lost);
  }
  return { produced, lost };
}

/** Descriptors of this process that tracing holds: perf events and files of tracefs. */
export function tracingDescriptors(): string[] {
  return readdirSync("/proc/self/fd")
    .map((fd) => (existsSync(`/proc/self/fd/${fd}`) ? readlinkSync(`/proc/self/fd/${fd}`) : ""))
    .filter((target) => /perf_event|tracing/.test(target));
}

/** Mappings of perf rings in this process. */
export function mappedRings(): number {
  return readFileSync("/proc/self/maps", "utf8").match(/anon_inode:\[perf_event\]$/gm)?.length ?? 0;
}

/** Probes that tracefs holds under this process's group. */
export function ownProbes(): string[] {
  const { root } = Tracefs.open();
  return [`${root}/uprobe_events`, `${root}/kprobe_events`]
    .filter((file) => existsSync(file))
    .flatMap((file) => readFileSync(file, "utf8").split("\n"))
    .filter((line) => line.includes(`:vmspan_${process.pid}_`));
}

/** The C library that programs of this machine use. */
export function libcPath(): string {
  const path = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"];
  return path.find((candidate) => existsSync(candidate)) ?? "";
}
