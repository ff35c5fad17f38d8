/**
 * What some processes hold and burn, looked at every second, and what of it has grown:
 *
 *     second  agent-guest: MiB  fds  threads  CPU %   agent-host: MiB  fds  threads  CPU %
 *          1                60   17        8    3.0                95   10        7   11.0
 */
import { readdirSync } from "node:fs";
import type { AgentProcess } from "./agent_process.ts";

const LOOK_MS = 1000;
const MIB = 1024 * 1024;

export interface Usage {
  readonly second: number;
  readonly residentBytes: number;
  readonly fds: number;
  readonly threads: number;
  readonly cpuSeconds: number;
}

/** Middle of the values of a number of looks. */
function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >>> 1] ?? Number.NaN;
}

export class UsageLog {
  readonly looks: Usage[] = [];
  readonly #agent: AgentProcess;
  readonly #startMs = performance.now();
  readonly #timer = setInterval(() => this.#look(), LOOK_MS);

  /** Looks every second from now on, while the process lives. */
  constructor(agent: AgentProcess) {
    this.#agent = agent;
  }

  #look(): void {
    if (this.#agent.hasEnded) return;
    const process = `/proc/${this.#agent.pid}`;
    this.looks.push({
      second: Math.round((performance.now() - this.#startMs) / 1000),
      residentBytes: this.#agent.residentBytes(),
      fds: readdirSync(`${process}/fd`).length,
      threads: readdirSync(`${process}/task`).length,
      cpuSeconds: this.#agent.cpuSeconds(),
    });
  }

  stop(): void {
    clearInterval(this.#timer);
  }

  /** Of the looks in [from, to) seconds. */
  between(from: number, to: number): Usage[] {
    return this.looks.filter(({ second }) => second >= from && second < to);
  }

  residentMedian(from: number, to: number): number {
    return median(this.between(from, to).map(({ residentBytes }) => residentBytes));
  }

  /** Descriptors held all the time: looking at itself, a process opens one more for a moment. */
  fdsHeld(from: number, to: number): number {
    return Math.min(...this.between(from, to).map(({ fds }) => fds));
  }

  threadsMax(from: number, to: number): number {
    return Math.max(...this.between(from, to).map(({ threads }) => threads));
  }

  /** Percent of one CPU between two looks. */
  #cpuPercent(from: Usage | undefined, to: Usage): number {
    const [second, cpuSeconds] = [from?.second ?? 0, from?.cpuSeconds ?? 0];
    return (100 * (to.cpuSeconds - cpuSeconds)) / Math.max(1, to.second - second);
  }

  /** One cell of each look at `seconds`. */
  cells(seconds: readonly number[]): string[] {
    const chosen = seconds.flatMap((at) => this.looks.find(({ second }) => second >= at) ?? []);
    return chosen.map((usage, i) => {
      const { residentBytes, fds, threads } = usage;
      const cpu = this.#cpuPercent(chosen[i - 1], usage).toFixed(1);
      const mib = (residentBytes / MIB).toFixed(0);
      return `${mib.padStart(4)} MiB ${fds} fds ${threads} threads ${cpu.padStart(4)} % CPU`;
    });
  }
}

/** A table of some looks at each process. */
export function usageTable(logs: Readonly<Record<string, UsageLog>>, seconds: number): string {
  const LINES = 10;
  const at = Array.from({ length: LINES }, (_, i) => Math.round(((i + 0.9) * seconds) / LINES));
  const columns = Object.entries(logs).map(([name, log]) => ({ name, cells: log.cells(at) }));
  return at
    .map((second, i) => {
      const cells = columns.map(({ name, cells: of }) => `${name}: ${of[i] ?? "-"}`);
      return `${String(second).padStart(6)} s  ${cells.join("   ")}`;
    })
    .join("\n");
}
