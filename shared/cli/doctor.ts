/**
 * `doctor`: what works on this machine, and what to do about the rest. One line for each check:
 *
 *   ok    tracefs            /sys/kernel/tracing, 2314 events
 *   FAIL  perf_event_open    Cannot open event dummy on CPU 0: EACCES (permission denied)
 *                            HINT: run as root or with CAP_PERFMON, ...
 *   warn  probes             this kernel has no uprobe_events
 *
 * FAIL means that the agent cannot do its work here; the exit code is then 1.
 */
import { readFileSync } from "node:fs";
import process from "node:process";
import { type PerfClock, probePerfClock } from "../event/event_set.ts";
import {
  isolatedCpus,
  isPresent,
  onlineCpus,
  readClocksource,
  readLineOf,
} from "../event/machine.ts";
import { CLOCK_MONOTONIC_RAW } from "../sys/abi.ts";
import { CpuVisitor } from "../sys/affinity.ts";
import { type ClockReading, clockBracket } from "../sys/clock.ts";
import { runtimeName } from "../sys/syscall.ts";
import { vdsoClockGettime } from "../sys/vdso.ts";
import { Tracefs } from "../tracefs/tracefs.ts";
import { clocksourceOf, hasOldStamps } from "../tsc/clocksource.ts";
import { CpuSkews } from "../tsc/cpu_skews.ts";
import { FittedPerfClock } from "../tsc/perf_clock_fit.ts";
import { EXIT, type ExitCode, failureOf } from "./failure.ts";
import { checkOtherTracing } from "./other_tracing.ts";
import { printOut } from "./output.ts";
import { VERSION } from "./version.ts";

export type Severity = "ok" | "warn" | "FAIL";

export interface Finding {
  readonly severity: Severity;
  readonly detail: string;
  readonly hint?: string;
}

/** A named question to the machine. What it throws becomes a FAIL. */
export interface Check {
  readonly name: string;
  run(): Finding;
}

const NAME_WIDTH = 20;
/** A reading keeps the narrowest bracket of this many. */
const ROUNDS = 64;
/** CPUs that are visited, most: each takes some 20 us. */
const VISITED_MAX = 256;

const ok = (detail: string): Finding => ({ severity: "ok", detail });

function checkTracefs(): Finding {
  const tracefs = Tracefs.open();
  return ok(`${tracefs.root}, ${tracefs.find("*:*").length} events`);
}

function checkPerf(): Finding {
  probePerfClock(onlineCpus()[0]!);
  const paranoid = readLineOf("/proc/sys/kernel/perf_event_paranoid");
  return ok(`works (perf_event_paranoid is ${paranoid}), ${onlineCpus().length} CPUs online`);
}

function checkPerfClock(): Finding {
  const cpus = onlineCpus();
  const { source } = probePerfClock(cpus[0]!);
  return perfClockFinding(source, readClocksource(), cpus.length);
}

/** What it means for stamps that perf's clock is exact or fitted, on `clocksource`. */
export function perfClockFinding(
  source: PerfClock["source"],
  clocksource: string,
  cpuCount: number,
): Finding {
  if (source === "exact") return ok("exact: the ring page converts perf time to TSC");
  if (!hasOldStamps(clocksourceOf(clocksource), cpuCount)) {
    return ok("fitted through CLOCK_MONOTONIC_RAW: the ring page offers no TSC conversion here");
  }
  return {
    severity: "warn",
    detail:
      `fitted; CPUs share readings of ${clocksource}: a stamp may be older than its event, ` +
      "beyond the bound",
    hint: "boot with clocksource=kvm-clock or tsc",
  };
}

function checkTsc(): Finding {
  const flags = /^flags\s*:(.*)$/m.exec(readFileSync("/proc/cpuinfo", "utf8"))?.[1] ?? "";
  const source = readClocksource();
  const has = (flag: string): boolean => flags.split(" ").includes(flag);
  if (has("constant_tsc") && has("nonstop_tsc")) return ok(`invariant, clocksource ${source}`);
  return {
    severity: "warn",
    detail: `not known to be invariant (clocksource ${source}): fits may have to begin anew`,
    hint: "a guest sees the flags with <feature policy='require' name='invtsc'/> or -cpu ...,+invtsc",
  };
}

/**
 * Readings of the clock on each CPU, between two of the first: a fit of its own, of a few
 * milliseconds.
 */
function checkCpus(): Finding {
  const visitor = new CpuVisitor(isolatedCpus());
  const [first, ...others] = onlineCpus().filter((cpu) => visitor.mayVisit(cpu));
  const read = (): ClockReading => clockBracket(CLOCK_MONOTONIC_RAW, ROUNDS);
  if (first === undefined || others.length === 0) return ok("one CPU: nothing to compare");
  const fit = new FittedPerfClock(undefined, clocksourceOf(readClocksource()));
  const skews = new CpuSkews();
  const readings: [number, ClockReading][] = [];
  for (const cpu of others.slice(0, VISITED_MAX)) {
    fit.add(visitor.visit(first, read) ?? read());
    const reading = visitor.visit(cpu, read);
    if (reading !== undefined) readings.push([cpu, reading]);
  }
  fit.add(visitor.visit(first, read) ?? read());
  for (const [cpu, reading] of readings) skews.add(cpu, reading, fit.map);
  const { apart } = skews;
  const hz = fit.frequency?.hz ?? Number.NaN;
  const ns = (cycles: number): number => Math.round((cycles / hz) * 1e9);
  if (apart.length === 0) {
    const within = `within ${ns(skews.resolutionCycles)} ns`;
    return ok(`${readings.length + 1} CPUs in step (${within})`);
  }
  const shown = apart.slice(0, 8).map(({ cpu, lo, hi }) => `CPU ${cpu} by ${ns((lo + hi) / 2)} ns`);
  return {
    severity: "warn",
    detail: `CPUs are apart from CPU ${first}: ${shown.join(", ")}`,
    hint: "bounds include it; on a hypervisor use clocksource=tsc, and no tsc=unstable",
  };
}

function checkBracket(): Finding {
  const { tscBefore, tscAfter } = clockBracket(CLOCK_MONOTONIC_RAW, 64);
  const way = vdsoClockGettime() === 0 ? "by system call: no vDSO" : "through the vDSO";
  return ok(`read within ${tscAfter - tscBefore} cycles, ${way}`);
}

function checkProbes(): Finding {
  const { root } = Tracefs.open();
  const missing = ["uprobe_events", "kprobe_events"].filter(
    (file) => !isPresent(`${root}/${file}`),
  );
  if (missing.length === 0) return ok("kprobes and uprobes");
  return { severity: "warn", detail: `this kernel has no ${missing.join(" and no ")}` };
}

/** The checks that both agents need. */
export const COMMON_CHECKS: readonly Check[] = [
  { name: "tracefs", run: checkTracefs },
  { name: "perf_event_open", run: checkPerf },
  { name: "perf clock", run: checkPerfClock },
  { name: "TSC", run: checkTsc },
  { name: "TSC of each CPU", run: checkCpus },
  { name: "clock reading", run: checkBracket },
  { name: "probes", run: checkProbes },
  { name: "other tracing", run: checkOtherTracing },
];

/** Runs the checks and prints them to stdout. */
export function runDoctor(program: string, checks: readonly Check[]): ExitCode {
  const kernel = readLineOf("/proc/sys/kernel/osrelease");
  const { arch } = process;
  printOut(`${program} ${VERSION} on ${runtimeName}, Linux ${kernel}, ${arch}\n`);
  let exitCode: ExitCode = EXIT.DONE;
  for (const { name, run } of checks) {
    const { severity, detail, hint } = runCheck(run);
    if (severity === "FAIL") exitCode = EXIT.FAILED;
    printOut(`${severity.padEnd(5)} ${name.padEnd(NAME_WIDTH)} ${detail}\n`);
    if (hint !== undefined) printOut(`${" ".repeat(NAME_WIDTH + 7)}HINT: ${hint}\n`);
  }
  return exitCode;
}

function runCheck(run: () => Finding): Finding {
  try {
    return run();
  } catch (error) {
    const { message, hint, exitCode } = failureOf(error);
    if (exitCode === EXIT.BUG) throw error;
    return { severity: "FAIL", detail: message, ...(hint === undefined ? {} : { hint }) };
  }
}
