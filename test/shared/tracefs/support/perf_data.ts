// A small reader of perf.data files (perf record without -z): their records are printed by us and
// compared with what perf script prints.
//
// Layout: struct perf_file_header, then attributes with their ids, then the records
// (tools/perf/Documentation/perf.data-file-format.txt).

import { closeSync, openSync, readSync, statSync } from "node:fs";
import {
  PERF_RECORD_COMM,
  PERF_RECORD_EXIT,
  PERF_RECORD_FORK,
  PERF_RECORD_SAMPLE,
} from "../../../../shared/perf/record.ts";

const MAGIC = 0x32454c4946524550n; // "PERFILE2"
const SAMPLE_IP = 1n << 0n;
const SAMPLE_TID = 1n << 1n;
const SAMPLE_TIME = 1n << 2n;
const SAMPLE_CPU = 1n << 7n;
const SAMPLE_PERIOD = 1n << 8n;
const SAMPLE_RAW = 1n << 10n;
const SAMPLE_IDENTIFIER = 1n << 16n;
const KNOWN =
  SAMPLE_IP |
  SAMPLE_TID |
  SAMPLE_TIME |
  SAMPLE_CPU |
  SAMPLE_PERIOD |
  SAMPLE_RAW |
  SAMPLE_IDENTIFIER;

/** One tracepoint sample. */
export interface PerfSample {
  /** attr.config: the tracepoint's id. */
  readonly event: number;
  readonly timeNs: bigint;
  readonly pid: number;
  readonly tid: number;
  readonly cpu: number;
  /** The record in the file's bytes. */
  readonly rawOffset: number;
  readonly rawBytes: number;
}

/** What a record says about a task. */
export type TaskRecord =
  | {
      readonly kind: "comm";
      readonly timeNs: bigint;
      readonly tid: number;
      readonly comm: Uint8Array;
    }
  | {
      readonly kind: "fork";
      readonly timeNs: bigint;
      readonly tid: number;
      readonly parent: number;
    }
  | { readonly kind: "exit"; readonly timeNs: bigint; readonly tid: number };

export interface PerfData {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly samples: readonly PerfSample[];
  /** In the file's order. */
  readonly tasks: readonly TaskRecord[];
}

/** Reads a whole file. Throws RangeError for what it does not know. */
export function readPerfData(path: string): PerfData {
  const bytes = new Uint8Array(statSync(path).size);
  const file = openSync(path, "r");
  try {
    for (let at = 0; at < bytes.length; ) {
      const count = readSync(file, bytes, at, Math.min(bytes.length - at, 1 << 26), at);
      if (count === 0) throw new RangeError(`Cannot read ${path}: it ends at ${at}`);
      at += count;
    }
  } finally {
    closeSync(file);
  }
  const view = new DataView(bytes.buffer);
  const u64 = (at: number): number => Number(view.getBigUint64(at, true));
  if (view.getBigUint64(0, true) !== MAGIC) throw new RangeError(`Cannot read ${path}: no magic`);
  const attrBytes = u64(16);
  const kindById = new Map<bigint, SampleKind>();
  for (let at = u64(24); at < u64(24) + u64(32); at += attrBytes) {
    const sampleType = view.getBigUint64(at + 24, true);
    if ((sampleType & ~KNOWN) !== 0n) throw new RangeError(`unknown sample_type ${sampleType}`);
    const ids = u64(at + attrBytes - 16);
    for (let i = 0; i < u64(at + attrBytes - 8); i += 8) {
      kindById.set(view.getBigUint64(ids + i, true), { event: u64(at + 8), sampleType });
    }
  }
  const samples: PerfSample[] = [];
  const tasks: TaskRecord[] = [];
  const trailer = trailerOf([...kindById.values()][0]?.sampleType ?? 0n);
  const end = u64(40) + u64(48);
  for (let at = u64(40); at + 8 <= end; ) {
    const size = view.getUint16(at + 6, true);
    if (size < 8) throw new RangeError(`Cannot read ${path}: record of ${size} bytes`);
    const type = view.getUint32(at, true);
    if (type === PERF_RECORD_SAMPLE) {
      // Every attribute has IDENTIFIER, so the id comes first in each sample.
      const kind = kindById.get(view.getBigUint64(at + 8, true));
      if (kind !== undefined && (kind.sampleType & SAMPLE_RAW) !== 0n) {
        samples.push(readSample(view, at + 8, kind));
      }
    } else {
      const task = readTask(type, bytes, view, at, size, trailer);
      if (task !== undefined) tasks.push(task);
    }
    at += size;
  }
  return { bytes, view, samples, tasks };
}

/** The sample id fields behind other records: where the time lies, from their end. */
interface Trailer {
  readonly bytes: number;
  readonly timeFromEnd: number;
}

function trailerOf(sampleType: bigint): Trailer {
  const sizeOf = (...flags: bigint[]): number =>
    flags.filter((flag) => (sampleType & flag) !== 0n).length * 8;
  const afterTime = sizeOf(SAMPLE_CPU, SAMPLE_IDENTIFIER);
  return { bytes: sizeOf(SAMPLE_TID, SAMPLE_TIME) + afterTime, timeFromEnd: 8 + afterTime };
}

function readTask(
  type: number,
  bytes: Uint8Array,
  view: DataView,
  at: number,
  size: number,
  trailer: Trailer,
): TaskRecord | undefined {
  if (type !== PERF_RECORD_COMM && type !== PERF_RECORD_FORK && type !== PERF_RECORD_EXIT) return;
  const timeNs = view.getBigUint64(at + size - trailer.timeFromEnd, true);
  if (type === PERF_RECORD_COMM) {
    const from = at + 16;
    const nul = bytes.indexOf(0, from);
    const comm = bytes.slice(from, Math.min(nul, at + size - trailer.bytes));
    return { kind: "comm", timeNs, tid: view.getUint32(at + 12, true), comm };
  }
  const tid = view.getUint32(at + 16, true);
  if (type === PERF_RECORD_EXIT) return { kind: "exit", timeNs, tid };
  return { kind: "fork", timeNs, tid, parent: view.getUint32(at + 20, true) };
}

interface SampleKind {
  readonly event: number;
  readonly sampleType: bigint;
}

function readSample(view: DataView, start: number, kind: SampleKind): PerfSample {
  const { event, sampleType } = kind;
  let at = start;
  const take = (flag: bigint, size: number): number => {
    if ((sampleType & flag) === 0n) return -1;
    at += size;
    return at - size;
  };
  take(SAMPLE_IDENTIFIER, 8);
  take(SAMPLE_IP, 8);
  const task = take(SAMPLE_TID, 8);
  const time = take(SAMPLE_TIME, 8);
  const cpu = take(SAMPLE_CPU, 8);
  take(SAMPLE_PERIOD, 8);
  const raw = take(SAMPLE_RAW, 4);
  return {
    event,
    timeNs: view.getBigUint64(time, true),
    pid: view.getInt32(task, true),
    tid: view.getInt32(task + 4, true),
    cpu: view.getUint32(cpu, true),
    rawOffset: raw + 4,
    rawBytes: view.getUint32(raw, true),
  };
}
