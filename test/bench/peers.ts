/**
 * The samplers that everybody has: perf record and trace-cmd record, with rings of the same size.
 *
 * trace-cmd resets the function tracer before it records, and some kernels refuse even root some of
 * its control files (trace-cmd 3.1 then fails, or crashes). An empty file bound over each, in a
 * mount namespace of trace-cmd alone, lets it record; tracepoints do not need those files.
 */
import { spawnSync } from "node:child_process";
import {
  closeSync,
  existsSync,
  openSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { countPerfData } from "./perf_data.ts";
import { RING_PAGES, type Running, type Sampler, SamplerProcess } from "./sampler.ts";

const TRACEFS = "/sys/kernel/tracing";
const FUNCTION_TRACER_FILES = [
  "/proc/sys/kernel/ftrace_enabled",
  `${TRACEFS}/set_ftrace_filter`,
  `${TRACEFS}/set_ftrace_notrace`,
  `${TRACEFS}/set_ftrace_pid`,
];
const RING_KIB = RING_PAGES * 4;

/** Whether `program` is installed. */
export function isInstalled(program: string): boolean {
  return spawnSync(program, ["--version"], { stdio: "ignore" }).error === undefined;
}

export function perfRecord(folder: string): Sampler {
  const path = join(folder, "perf.data");
  const start = async (tid: number): Promise<Running> => {
    const events = ["-e", "raw_syscalls:sys_enter", "--filter", `common_pid==${tid}`];
    const command = ["perf", "record", "-B", "-N", "-a", "-m", String(RING_PAGES), ...events];
    const process = new SamplerProcess("perf record", [...command, "-o", path], `${path}.log`);
    return {
      process,
      hasEvents: () => process.holdsPerfEvents,
      outcome: async () => {
        const { samples, lost } = countPerfData(readFileSync(path));
        const sinkBytes = statSync(path).size;
        rmSync(path);
        return { sinkBytes, lost, delivered: samples };
      },
      abort: () => process.kill(),
    };
  };
  return { name: "perf record -B -N", start };
}

/** Files of the function tracer that this kernel refuses to open for writing. */
function refusedFiles(): string[] {
  return FUNCTION_TRACER_FILES.filter((path) => {
    if (!existsSync(path)) return false;
    try {
      // "ftrace_enabled" opens, but takes no write: write what it holds.
      if (path.startsWith("/proc")) writeFileSync(path, readFileSync(path));
      else closeSync(openSync(path, "r+"));
      return false;
    } catch (error) {
      if ((error as { code?: string }).code === "EPERM") return true;
      throw error;
    }
  });
}

/** trace-cmd leaves tracing off and the ring resized: keeps what was there. */
class TracefsState {
  readonly #values = ["tracing_on", "buffer_size_kb"].map((name) => {
    const path = join(TRACEFS, name);
    const text = readFileSync(path, "utf8");
    return { path, value: /expanded: (\d+)/.exec(text)?.[1] ?? text.trim() };
  });

  restore(): void {
    for (const { path, value } of this.#values) writeFileSync(path, value);
  }
}

/** Events that the ftrace ring overwrote or dropped. */
function lostByFtrace(): number {
  let lost = 0;
  for (let cpu = 0; existsSync(`${TRACEFS}/per_cpu/cpu${cpu}/stats`); cpu++) {
    const text = readFileSync(`${TRACEFS}/per_cpu/cpu${cpu}/stats`, "utf8");
    for (const name of ["overrun", "commit overrun", "dropped events"]) {
      lost += Number(new RegExp(`^${name}: (\\d+)$`, "m").exec(text)?.[1] ?? 0);
    }
  }
  return lost;
}

function isTracing(): boolean {
  return (
    readFileSync(`${TRACEFS}/events/raw_syscalls/sys_enter/enable`, "utf8").startsWith("1") &&
    readFileSync(`${TRACEFS}/tracing_on`, "utf8").startsWith("1")
  );
}

export function traceCmdRecord(folder: string): Sampler {
  const path = join(folder, "trace.dat");
  const emptyPath = join(folder, "empty");
  const start = async (tid: number): Promise<Running> => {
    const state = new TracefsState();
    writeFileSync(emptyPath, "");
    const binds = refusedFiles().map((file) => `mount --bind "${emptyPath}" ${file} && `);
    const event = `-e raw_syscalls:sys_enter -f common_pid==${tid}`;
    const command = `exec trace-cmd record ${event} -b ${RING_KIB} -o "${path}"`;
    const unshare = ["unshare", "--mount", "sh", "-c", binds.join("") + command];
    const process = new SamplerProcess("trace-cmd record", unshare, `${path}.log`);
    let lost = 0;
    return {
      process,
      hasEvents: isTracing,
      beforeStop: () => {
        lost = lostByFtrace();
      },
      outcome: async () => {
        const sinkBytes = statSync(path).size;
        rmSync(path);
        state.restore();
        return { sinkBytes, lost, delivered: undefined };
      },
      abort: () => {
        process.kill();
        state.restore();
      },
    };
  };
  return { name: "trace-cmd record", start };
}
