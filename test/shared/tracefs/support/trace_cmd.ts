// trace-cmd as a peer: records into an instance of its own, so that nobody else's tracing is
// touched, and reports what it recorded.
//
// trace-cmd resets the function tracer before it records, and some kernels refuse even root some of
// its control files. An empty file bound over each, in a mount namespace of trace-cmd alone, lets
// it record; tracepoints do not need those files.

import { spawnSync } from "node:child_process";
import { existsSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { FEW_PROCESSES, RECORDING_LOCK, RECORDING_TIMEOUT_MS } from "../workload/workload.ts";
import { makeInstance, removeInstance } from "./instance.ts";
import { readTraceDat, type TraceDat } from "./trace_dat.ts";

const FUNCTION_TRACER_FILES = ["set_ftrace_filter", "set_ftrace_notrace", "set_ftrace_pid"];
const RING_KIB = 32768;

export interface TraceCmdOptions {
  readonly tracefsRoot: string;
  readonly directory: string;
  readonly systems: readonly string[];
  /** "system:name" of those that are recorded for a few processes only. */
  readonly loud: readonly string[];
  readonly command: readonly string[];
}

/** Recordings that are tried. */
const ATTEMPTS_MAX = 3;

/**
 * Records all events while a command runs; the file and its path. Throws when it fails.
 *
 * trace-cmd notes the sizes of /proc/kallsyms and saved_cmdlines, then copies them: when they grow
 * in between (somebody loads a BPF program), the file is broken, for its own report too.
 */
export function recordAll(options: TraceCmdOptions): { path: string; dat: TraceDat } {
  for (let attempt = 1; ; attempt++) {
    const path = record(options);
    try {
      return { path, dat: readTraceDat(path) };
    } catch (error) {
      if (!(error instanceof RangeError) || attempt === ATTEMPTS_MAX) throw error;
      console.log(`recorded anew: ${error.message}`);
    }
  }
}

function record(options: TraceCmdOptions): string {
  const { tracefsRoot, directory, systems, loud, command } = options;
  const { name, path: instance } = makeInstance(tracefsRoot, "diff");
  const empty = join(directory, "empty");
  const path = join(directory, "trace.dat");
  writeFileSync(empty, "");
  try {
    const files = [
      "/proc/sys/kernel/ftrace_enabled",
      ...FUNCTION_TRACER_FILES.flatMap((file) => [`${tracefsRoot}/${file}`, `${instance}/${file}`]),
    ].filter((file) => existsSync(file));
    const binds = files.map((file) => `mount --bind "${empty}" ${file}`);
    // The loud ones are left to the script, which can filter them before it enables them.
    const select = [...systems, "-v", ...loud].flatMap((x) => (x === "-v" ? [x] : ["-e", x]));
    const args = ["record", "-q", "--file-version", "6", "-b", String(RING_KIB), "-B", name];
    const run = join(directory, "run.sh");
    writeFileSync(run, runScript(instance, loud, command));
    const recorder = ["trace-cmd", ...args, ...select, "-o", path, "sh", run];
    const script = [...binds, `exec ${recorder.map(quote).join(" ")}`].join(" && ");
    const done = spawnSync("flock", [RECORDING_LOCK, "unshare", "--mount", "sh", "-c", script], {
      encoding: "utf8",
      timeout: RECORDING_TIMEOUT_MS,
      cwd: directory,
    });
    if (done.status !== 0) throw new Error(`trace-cmd record failed: ${done.stderr.slice(-500)}`);
    return path;
  } finally {
    removeInstance(instance);
  }
}

function runScript(instance: string, loud: readonly string[], command: readonly string[]): string {
  const lines = loud.map((event) => {
    const folder = `${instance}/events/${event.replace(":", "/")}`;
    return `echo '${FEW_PROCESSES}' >${folder}/filter && echo 1 >${folder}/enable`;
  });
  return [...lines, `exec ${command.map(quote).join(" ")}`, ""].join("\n");
}

function quote(word: string): string {
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** One line of trace-cmd report -l -t. */
export interface ReportLine {
  readonly cpu: number;
  readonly pid: number;
  readonly flags: string;
  readonly timeNs: bigint;
  readonly event: string;
  text: string;
}

/** What trace-cmd reports, without its plugins; order as reported. */
export function report(path: string): ReportLine[] {
  const run = spawnSync("trace-cmd", ["report", "-q", "-N", "-l", "-t", "-i", path], {
    encoding: "latin1",
    maxBuffer: 2 ** 31 - 1,
    timeout: RECORDING_TIMEOUT_MS,
  });
  if (run.status !== 0) throw new Error(`trace-cmd report failed: ${run.stderr.slice(-500)}`);
  const lines: ReportLine[] = [];
  for (const line of run.stdout.split("\n")) {
    const match = LINE.exec(line);
    const last = lines.at(-1);
    if (match === null) {
      // A text of several lines.
      if (last !== undefined && line !== "" && !NOTE.test(line)) last.text += `\n${line}`;
      continue;
    }
    const [, pid, cpu, flags, seconds, nanoseconds, event, text] = match as unknown as string[];
    lines.push({
      cpu: Number(cpu),
      pid: Number(pid),
      flags: flags!,
      timeNs: BigInt(seconds! + nanoseconds!),
      event: event!,
      text: text!.trimEnd(),
    });
  }
  return lines;
}

/** What trace-cmd says between events. */
const NOTE = /^(cpus=|CPU \d+ is empty|(\S+: +)?CPU:\d+ \[)/;
/** "INSTANCE:  poke-4711   0d.h. 1488.665277123: sys_exit:   NR 1 = 1" */
const LINE = /-(\d+) +(\d+)([^\s\d]\S{3,6}) +(\d+)\.(\d{9}): +(\S+): *(.*)$/s;
