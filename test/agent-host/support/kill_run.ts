/**
 * agent-host with --resume, started, killed by SIGKILL and started again, while numbered calls are
 * made: at any moment from the first millisecond of the process on, and more often than by chance
 * where something is half done.
 *
 *   OUT      {"type":"event",...,"fields":{"args":[0,...]}} ...     lines of all runs
 *   FILE     how far these lines are known to be written
 *   phases   starting 12, attaching 7, tracing 9, lines ahead of FILE 14, FILE half written 3 ...
 */
import { closeSync, existsSync, openSync, readFileSync, statSync, watch } from "node:fs";
import { waitUntil } from "../../vm/deadline.ts";
import type { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "./agent_process.ts";

const DEADLINE_MS = 60_000;
/** From a run's "Tracing" to its death, at most. */
const TRACING_MS_MAX = 400;
/** From the request to end to the death, at most: an end takes some 50 ms. */
const LEAVING_MS_MAX = 60;
/** How long a run is given to write FILE once more, where that is the moment to kill. */
const WRITE_MS_MAX = 2000;

/** What it is to be killed in. */
export type Plan = "early" | "tracing" | "writing" | "leaving";
/** In ten kills. */
export const PLANS: readonly Plan[] = [
  ...(["early", "early", "early", "early", "tracing"] as const),
  ...(["tracing", "tracing", "writing", "leaving", "leaving"] as const),
];

/** When it was killed, by what it had said and left behind. */
type Phase =
  | "starting"
  | "attaching"
  | "tracing"
  | "lines ahead of FILE"
  | "FILE half written"
  | "leaving"
  | "ended, before the signal";

export class KillRun {
  readonly phases = new Map<Phase, number>();
  /** Made while no agent-host was tracing: what only the ring can have kept. */
  callsUnattended = 0;
  readonly #workspace: Workspace;
  readonly #args: readonly string[];
  readonly #out: string;
  readonly #file: string;
  readonly #makeCalls: () => number;
  /** Nobody asks for calls that are made while a run ends: they are before or behind it. */
  #mayCall = false;
  #readyMs = 1000;
  #plan = 0;

  /** `makeCalls` makes some calls, and gives how many. */
  constructor(
    workspace: Workspace,
    args: readonly string[],
    name: string,
    makeCalls: () => number,
  ) {
    this.#workspace = workspace;
    this.#out = workspace.file(`${name}.out`);
    this.#file = workspace.file(`${name}.resume`);
    this.#args = [...args, "--json", "--resume", this.#file];
    this.#makeCalls = makeCalls;
  }

  get hasFile(): boolean {
    return existsSync(this.#file);
  }

  get kills(): number {
    let kills = 0;
    for (const [phase, count] of this.phases) {
      if (phase !== "ended, before the signal") kills += count;
    }
    return kills;
  }

  /** "starting 12, attaching 7, ..." */
  get phaseText(): string {
    return [...this.phases].map(([phase, count]) => `${phase} ${count}`).join(", ");
  }

  output(): string {
    return readFileSync(this.#out, "latin1");
  }

  /** A run that appends to OUT. */
  start(): AgentProcess {
    const stdoutFd = openSync(this.#out, "a");
    const host = startAgent(this.#workspace, "agent-host", this.#args, { stdoutFd });
    closeSync(stdoutFd);
    return host;
  }

  /** Makes calls until the run traces. */
  async untilTracing(host: AgentProcess): Promise<void> {
    const startMs = performance.now();
    await this.#work(host, () => isTracing(host));
    if (!isTracing(host)) throw new Error(`It ended by itself: ${host.stderr}`);
    this.#mayCall = true;
    this.#readyMs = performance.now() - startMs;
  }

  /** Makes calls until the run has printed something. */
  async untilPrinted(host: AgentProcess): Promise<void> {
    const { size } = statSync(this.#out);
    await this.#work(host, () => statSync(this.#out).size > size);
  }

  /** No calls until a run traces again: nobody records them. */
  hold(): void {
    this.#mayCall = false;
  }

  /** Starts a run and kills it. */
  async kill(plan = PLANS[this.#plan++ % PLANS.length]!): Promise<void> {
    const host = this.start();
    if (plan !== "early") await this.untilTracing(host);
    if (plan === "early") await this.pass(host, this.#readyMs);
    else if (plan === "writing") await this.#untilWriting(host);
    else await this.pass(host, TRACING_MS_MAX);
    if (plan === "leaving") {
      this.hold();
      host.kill("SIGINT");
      await this.pass(host, LEAVING_MS_MAX);
    }
    const { code } = await host.stop("SIGKILL");
    if (code !== null && (plan !== "leaving" || code !== 0)) {
      throw new Error(`It ended by itself with code ${code}: ${host.stderr}`);
    }
    const phase = code !== null ? "ended, before the signal" : this.#phaseOf(host, plan);
    this.phases.set(phase, (this.phases.get(phase) ?? 0) + 1);
  }

  #phaseOf(host: AgentProcess, plan: Plan): Phase {
    if (plan === "leaving") return "leaving";
    if (!host.stderr.includes("Connected to ")) return "starting";
    if (existsSync(`${this.#file}.new`)) return "FILE half written";
    if (!isTracing(host)) return "attaching";
    const { output } = JSON.parse(readFileSync(this.#file, "utf8"));
    return statSync(this.#out).size > output.bytes ? "lines ahead of FILE" : "tracing";
  }

  /** Makes calls for a random part of `ms`, or until the run has ended. */
  async pass(host: AgentProcess, ms: number): Promise<void> {
    const endMs = performance.now() + Math.random() * ms;
    await this.#work(host, () => performance.now() >= endMs);
  }

  /** Kills it when it next writes FILE, a moment after that begins. */
  async #untilWriting(host: AgentProcess): Promise<void> {
    const endMs = performance.now() + WRITE_MS_MAX;
    const watcher = watch(this.#workspace.path, (_, name) => {
      if (name?.startsWith(this.#file.split("/").at(-1)!)) host.kill("SIGKILL");
    });
    await this.#work(host, () => performance.now() >= endMs);
    watcher.close();
  }

  /** Makes calls until the condition is true, or the run has ended. */
  async #work(host: AgentProcess, isOver: () => boolean): Promise<void> {
    const isTime = (): boolean => {
      if (this.#mayCall) {
        const calls = this.#makeCalls();
        if (!isTracing(host)) this.callsUnattended += calls;
      }
      return isOver() || host.hasEnded;
    };
    await waitUntil(isTime, DEADLINE_MS, "the moment to kill");
  }
}

function isTracing(host: AgentProcess): boolean {
  return /^Tracing$/m.test(host.stderr);
}
