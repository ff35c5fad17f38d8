// The kernel's own text of what lies in its ring, beside the ring's pages: records into an instance
// while a command runs, then reads per_cpu/cpuN/trace (text, nothing is consumed) and
// per_cpu/cpuN/trace_pipe_raw (the same records as pages).

import { spawnSync } from "node:child_process";
import {
  closeSync,
  constants,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  writeFileSync,
} from "node:fs";
import { FEW_PROCESSES, RECORDING_LOCK, RECORDING_TIMEOUT_MS } from "../workload/workload.ts";
import { makeInstance, removeInstance } from "./instance.ts";
import { readPages, type TraceRecord } from "./trace_dat.ts";

const PAGE_BYTES = 4096;
const RING_KIB = 16384;

export interface KernelTextOptions {
  readonly tracefsRoot: string;
  /** "system:name" */
  readonly events: readonly string[];
  readonly loud: readonly string[];
  readonly command: readonly string[];
}

/** What one CPU recorded, twice. */
export interface CpuText {
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly records: readonly TraceRecord[];
  /** In the same order. */
  readonly lines: readonly string[];
}

/** Records and reads. Throws when the command fails. */
export function recordKernelText(options: KernelTextOptions): CpuText[] {
  const { tracefsRoot, events, loud, command } = options;
  const { path: instance } = makeInstance(tracefsRoot, "text");
  try {
    writeFileSync(`${instance}/buffer_size_kb`, String(RING_KIB));
    // Addresses as they are, and names of constants that the kernel resolves itself.
    writeFileSync(`${instance}/options/hash-ptr`, "0");
    for (const event of loud) {
      const folder = `${instance}/events/${event.replace(":", "/")}`;
      writeFileSync(`${folder}/filter`, FEW_PROCESSES);
    }
    for (const event of events) {
      writeFileSync(`${instance}/events/${event.replace(":", "/")}/enable`, "1");
    }
    const done = spawnSync("flock", [RECORDING_LOCK, ...command], {
      timeout: RECORDING_TIMEOUT_MS,
    });
    writeFileSync(`${instance}/tracing_on`, "0");
    if (done.status !== 0) throw new Error(`the workload failed: ${done.status}`);
    const cpus = readdirSync(`${instance}/per_cpu`).sort();
    return cpus.map((cpu) => readCpu(`${instance}/per_cpu/${cpu}`));
  } finally {
    removeInstance(instance);
  }
}

function readCpu(folder: string): CpuText {
  const text = readFileSync(`${folder}/trace`, "latin1");
  const lines = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"));
  const bytes = readRaw(`${folder}/trace_pipe_raw`);
  const view = new DataView(bytes.buffer);
  return { bytes, view, records: readPages(view, 0, bytes.length, PAGE_BYTES), lines };
}

/** One page a read, until there is none. */
function readRaw(path: string): Uint8Array {
  const file = openSync(path, constants.O_RDONLY | constants.O_NONBLOCK);
  const pages: Uint8Array[] = [];
  try {
    for (;;) {
      const page = new Uint8Array(PAGE_BYTES);
      try {
        if (readSync(file, page, 0, PAGE_BYTES, null) === 0) break;
      } catch (error) {
        if ((error as NodeJS.ErrnoException).code === "EAGAIN") break;
        throw error;
      }
      pages.push(page);
    }
  } finally {
    closeSync(file);
  }
  return new Uint8Array(Buffer.concat(pages));
}
