/**
 * `make bench`: what vmspan costs, beside the floor and its peers, on this machine.
 *
 *   bun test/bench/bench.ts                      about six minutes
 *   BENCH_EVENTS=200000 bun test/bench/bench.ts  a quick look, too few events to judge by
 *
 * The load and the readers run on CPU 0, the sampler under test on CPU 1. Progress goes to standard
 * error, the table to standard output, all figures to build/bench.json. Wants root, two CPUs and
 * tracefs.
 */
import { existsSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { availableParallelism, cpus, release } from "node:os";
import { join, resolve } from "node:path";
import { readClocksource } from "../../shared/event/machine.ts";
import { AGENT_GUEST } from "./agent.ts";
import { type IdleCost, measureFirstEvent, measureIdle } from "./agent_life.ts";
import { measureFloorsAlone, measureGuestSide, type Plan, type Series } from "./guest_side.ts";
import {
  deleteRecording,
  type HostRun,
  measurePairing,
  measurePrinting,
  recordCalls,
} from "./host_side.ts";
import { pinSelf } from "./kernel.ts";
import { measureKey } from "./key_cost.ts";
import { Load } from "./program.ts";
import { guestRows, hostRows, lifeRows } from "./rows.ts";
import { LOAD_CPU } from "./sampler.ts";
import { renderTable, summarize } from "./table.ts";

const ROOT = resolve(import.meta.dirname, "../..");
const EVENTS_DEFAULT = 2_000_000;
const ROUNDS = 3;
/** The paced total is EVENTS too, in this many rounds. */
const PACED_ROUNDS = 2;
const PACED_PER_SECOND = 100_000;
const FIRST_EVENT_RUNS = 5;
const IDLE_SECONDS = 10;
const HOST_RUNS = 3;

const startedMs = performance.now();

function progress(line: string): void {
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(0);
  console.error(`bench ${seconds.padStart(4)} s  ${line}`);
}

function describeMachine(): Record<string, string | number> {
  return {
    cpu: cpus()[0]?.model.trim() ?? "unknown",
    cpuCount: availableParallelism(),
    kernel: release(),
    clocksource: readClocksource(),
  };
}

/** Why this machine cannot run the bench; undefined when it can. */
function findObstacle(): string | undefined {
  if (process.getuid?.() !== 0) return "Cannot bench: not root, wants root for perf events";
  if (availableParallelism() < 2) return "Cannot bench: one CPU, wants two";
  if (!existsSync("/sys/kernel/tracing/events")) {
    return "Cannot bench: no tracefs, wants 'mount -t tracefs nodev /sys/kernel/tracing'";
  }
  return undefined;
}

/** A part that fails is reported and left out; the others still count. */
async function attempt<T>(what: string, part: () => T | Promise<T>): Promise<T | undefined> {
  try {
    progress(what);
    return await part();
  } catch (error) {
    progress(`  FAILED: ${(error as Error).message}`);
    return undefined;
  }
}

interface Life {
  readonly firstEventMs: readonly number[];
  readonly idle: IdleCost | undefined;
}

async function measureLife({ load, folder }: Plan): Promise<Life> {
  const firstEventMs: number[] = [];
  await attempt(`start to first event, ${FIRST_EVENT_RUNS} times`, async () => {
    for (let i = 0; i < FIRST_EVENT_RUNS; i++) {
      firstEventMs.push(await measureFirstEvent(load, folder));
    }
  });
  const idle = await attempt(`idle, ${IDLE_SECONDS} s`, () =>
    measureIdle(load, folder, IDLE_SECONDS),
  );
  return { firstEventMs, idle };
}

interface HostSide {
  readonly pairing: HostRun[];
  readonly printing: HostRun[];
}

async function measureHostSide({ load, folder, events }: Plan): Promise<HostSide> {
  const runs: HostSide = { pairing: [], printing: [] };
  const recording = await attempt(`recording ${events} calls for the host`, () =>
    recordCalls(load, folder, events),
  );
  if (recording === undefined) return runs;
  await attempt(`pairing ${2 * events} events, ${HOST_RUNS} times`, () => {
    for (let i = 0; i < HOST_RUNS; i++) runs.pairing.push(measurePairing(recording, folder));
  });
  await attempt(`printing ${events} events, ${HOST_RUNS} times`, () => {
    for (let i = 0; i < HOST_RUNS; i++) runs.printing.push(measurePrinting(recording, folder));
  });
  deleteRecording(recording);
  return runs;
}

async function makePlan(folder: string): Promise<Plan> {
  const load = await Load.start(LOAD_CPU);
  const events = Number(process.env.BENCH_EVENTS ?? EVENTS_DEFAULT);
  if (!(events >= 1000)) throw new RangeError(`Cannot bench ${events} events, wants 1000 or more`);
  await load.run(events, 0);
  const { nsPerCall } = await load.run(events, 0);
  progress(`the load alone: ${nsPerCall.toFixed(0)} ns per system call`);
  return {
    load,
    folder,
    events,
    rounds: ROUNDS,
    pacedEvents: Math.round(events / PACED_ROUNDS),
    pacedRounds: PACED_ROUNDS,
    pacedPerSecond: PACED_PER_SECOND,
    hasAgent: existsSync(AGENT_GUEST),
    progress,
  };
}

async function measureAll(plan: Plan): Promise<void> {
  if (!plan.hasAgent) {
    progress(`no ${AGENT_GUEST}: floors and peers only`);
    for (const [kind, ns] of await measureFloorsAlone(plan)) {
      progress(`  floor of a ${kind}: ${ns.toFixed(1)} ns per event`);
    }
  }
  const series: Series[] = await measureGuestSide(plan);
  const noLife: Life = { firstEventMs: [], idle: undefined };
  const noHost: HostSide = { pairing: [], printing: [] };
  const life = plan.hasAgent ? await measureLife(plan) : noLife;
  const host = plan.hasAgent ? await measureHostSide(plan) : noHost;
  const keyNs = await attempt("key expression", measureKey);
  const rows = [
    ...guestRows(series),
    ...lifeRows(life.firstEventMs, life.idle),
    ...hostRows(host.pairing, host.printing, keyNs),
  ];
  const machine = describeMachine();
  const figures = { machine, events: plan.events, rows, series, life, host, keyNs };
  writeFileSync("build/bench.json", `${JSON.stringify(figures, undefined, 2)}\n`);
  const seconds = (performance.now() - startedMs) / 1000;
  console.log(`${machine.cpu}, ${machine.cpuCount} CPUs, Linux ${machine.kernel}`);
  console.log(renderTable(rows));
  console.log(`${summarize(rows)}; ${seconds.toFixed(0)} s; figures in build/bench.json`);
}

async function main(): Promise<number> {
  const obstacle = findObstacle();
  if (obstacle !== undefined) {
    console.error(obstacle);
    return 1;
  }
  process.chdir(ROOT);
  mkdirSync("build/bench", { recursive: true });
  const folder = mkdtempSync(join("build", "bench", "run-"));
  pinSelf(LOAD_CPU);
  const plan = await makePlan(folder);
  try {
    await measureAll(plan);
    return 0;
  } finally {
    plan.load.stop();
    rmSync(folder, { recursive: true, force: true });
  }
}

process.exit(await main());
