/**
 * The guest's half of the bench: CPU time per event of every sampler, in interleaved rounds, so
 * that what else the machine does falls on all of them alike.
 *
 * Cost of one run = CPU time from "ready" to the end of the process, with the flush of what is
 * left, less the same of a run without events (printing the ledger, leaving), by the events. Every
 * sampler gets some events before the clock starts: it is the steady cost that is compared, and an
 * engine that compiles as it goes has some 25 ms of that to do once.
 */
import { agentGuest, measureFloor, SINK_TITLES, SINKS, type SinkKind } from "./agent.ts";
import { isInstalled, perfRecord, traceCmdRecord } from "./peers.ts";
import type { Load } from "./program.ts";
import type { Outcome, Sampler } from "./sampler.ts";
import { median } from "./statistics.ts";

/** Events before the measured ones, at full speed and paced. */
const WARM_UP_EVENTS = 1_000_000;
const WARM_UP_SECONDS = 4;
/** Runs without events of each sampler: their median is taken off. */
const END_RUNS = 3;
/** When there is no agent yet to learn them from. */
const BYTES_PER_EVENT_GUESS = 104;
const WRITE_BYTES_GUESS: Readonly<Record<SinkKind, number>> = {
  file: 256 * 1024,
  tcp: 256 * 1024,
  unix: 256 * 1024,
  pty: 32 * 1024,
};

export interface Plan {
  readonly load: Load;
  readonly folder: string;
  readonly events: number;
  readonly rounds: number;
  readonly pacedEvents: number;
  readonly pacedRounds: number;
  readonly pacedPerSecond: number;
  readonly hasAgent: boolean;
  readonly progress: (line: string) => void;
}

/** One run of one sampler. */
export interface Run extends Outcome {
  readonly cpuNsPerEvent: number;
  readonly writeBytes: number;
  /** What one system call of the load took meanwhile: the kernel's share of tracing is in it. */
  readonly loadNsPerCall: number;
}

/** All that is known about one sampler. */
export interface Series {
  readonly name: string;
  readonly sink: SinkKind;
  readonly isAgent: boolean;
  readonly fullSpeed: Run[];
  readonly paced: Run[];
  /** By round, ns per event; empty for peers. */
  readonly floor: number[];
  readonly pacedFloor: number[];
  failure: string | undefined;
}

interface Contender extends Series {
  readonly sampler: Sampler;
  /** CPU time of the end of a run without events. */
  endNs: number;
}

interface RawRun {
  readonly cpuNs: number;
  readonly writeBytes: number;
  readonly loadNsPerCall: number;
  readonly outcome: Outcome;
}

async function runOnce(sampler: Sampler, load: Load, calls: number, rate: number): Promise<RawRun> {
  const running = await sampler.start(load.tid);
  try {
    await running.process.ready(running.hasEvents);
    const warmUp = rate === 0 ? WARM_UP_EVENTS : rate * WARM_UP_SECONDS;
    if (calls > 0) await load.run(warmUp, rate);
    const before = running.process.written;
    const readyNs = running.process.cpuNs;
    const { nsPerCall } = calls > 0 ? await load.run(calls, rate) : { nsPerCall: 0 };
    const after = running.process.written;
    running.beforeStop?.();
    const { cpuNs } = running.process.stop();
    const writes = after.calls - before.calls;
    const writeBytes = writes > 0 ? (after.bytes - before.bytes) / writes : 0;
    const outcome = await running.outcome();
    // Of what went out, the warm-up's share is not the measured events'.
    const sinkBytes = outcome.sinkBytes * (calls > 0 ? calls / (calls + warmUp) : 1);
    const measured = { ...outcome, sinkBytes };
    return { cpuNs: cpuNs - readyNs, writeBytes, loadNsPerCall: nsPerCall, outcome: measured };
  } catch (error) {
    running.abort();
    throw error;
  }
}

function contender(sampler: Sampler, sink: SinkKind, isAgent: boolean): Contender {
  return {
    sampler,
    name: sampler.name,
    sink,
    isAgent,
    fullSpeed: [],
    paced: [],
    floor: [],
    pacedFloor: [],
    failure: undefined,
    endNs: 0,
  };
}

function contenders({ folder, hasAgent, progress }: Plan): Contender[] {
  const list = hasAgent ? SINKS.map((kind) => contender(agentGuest(kind, folder), kind, true)) : [];
  const peers = [
    ["perf", perfRecord, "linux-perf"],
    ["trace-cmd", traceCmdRecord, "trace-cmd"],
  ] as const;
  for (const [program, make, debianPackage] of peers) {
    if (isInstalled(program)) list.push(contender(make(folder), "file", false));
    else
      progress(`${program} is not installed: apt-get install ${debianPackage} to compare with it`);
  }
  return list;
}

async function measureEnd(each: Contender, load: Load): Promise<void> {
  const endsNs: number[] = [];
  for (let i = 0; i < END_RUNS; i++) endsNs.push((await runOnce(each.sampler, load, 0, 0)).cpuNs);
  each.endNs = median(endsNs)!;
}

async function runPart(plan: Plan, each: Contender, isPaced: boolean): Promise<void> {
  const calls = isPaced ? plan.pacedEvents : plan.events;
  const rate = isPaced ? plan.pacedPerSecond : 0;
  const raw = await runOnce(each.sampler, plan.load, calls, rate);
  const cpuNsPerEvent = Math.max(0, raw.cpuNs - each.endNs) / calls;
  const runs = isPaced ? each.paced : each.fullSpeed;
  const { writeBytes: meanWriteBytes, loadNsPerCall } = raw;
  runs.push({ ...raw.outcome, cpuNsPerEvent, writeBytes: meanWriteBytes, loadNsPerCall });
  const lost = raw.outcome.lost === undefined ? "loss unknown" : `${raw.outcome.lost} lost`;
  plan.progress(`  ${each.name}: ${cpuNsPerEvent.toFixed(1)} ns per event, ${lost}`);
  if (!each.isAgent) return;
  const writeBytes = meanWriteBytes > 0 ? meanWriteBytes : WRITE_BYTES_GUESS[each.sink];
  const floorNs = await measureFloor(each.sink, plan.folder, raw.outcome.sinkBytes, writeBytes);
  (isPaced ? each.pacedFloor : each.floor).push(floorNs / calls);
  const bytesEach = Math.round(raw.outcome.sinkBytes / calls);
  plan.progress(
    `  floor of a ${SINK_TITLES[each.sink]}: ${(floorNs / calls).toFixed(1)} ns per event ` +
      `(${bytesEach} bytes each, writes of ${Math.round(writeBytes)})`,
  );
}

/** Runs all samplers. One that fails is left out from then on, with its failure. */
export async function measureGuestSide(plan: Plan): Promise<Series[]> {
  const list = contenders(plan);
  const attempt = async (each: Contender, what: () => Promise<void>): Promise<void> => {
    if (each.failure !== undefined) return;
    try {
      await what();
    } catch (error) {
      each.failure = (error as Error).message;
      plan.progress(`  ${each.name} FAILED: ${each.failure}`);
    }
  };
  plan.progress("runs without events");
  for (const each of list) await attempt(each, () => measureEnd(each, plan.load));
  for (let round = 1; round <= plan.rounds; round++) {
    plan.progress(`full speed, ${plan.events} events, round ${round} of ${plan.rounds}`);
    for (const each of list) await attempt(each, () => runPart(plan, each, false));
  }
  for (let round = 1; round <= plan.pacedRounds; round++) {
    plan.progress(
      `${plan.pacedPerSecond} events per second, ${plan.pacedEvents} events, ` +
        `round ${round} of ${plan.pacedRounds}`,
    );
    for (const each of list) await attempt(each, () => runPart(plan, each, true));
  }
  return list;
}

/** Floors alone, in ns per event of a usual size: what can be measured without an agent. */
export async function measureFloorsAlone(plan: Plan): Promise<Map<SinkKind, number>> {
  const floors = new Map<SinkKind, number>();
  for (const kind of SINKS) {
    const bytes = plan.events * BYTES_PER_EVENT_GUESS;
    const cpuNs = await measureFloor(kind, plan.folder, bytes, WRITE_BYTES_GUESS[kind]);
    floors.set(kind, cpuNs / plan.events);
  }
  return floors;
}
