/**
 * `agent-guest trace` from source, sampling the numbered calls of the test's own thread:
 *
 *   await using trace = await startTrace("push=unix:...");
 *   callGetppid(1000);
 *   expect((await trace.end()).ledger).toEqual({ produced: 1000, ... });
 */
import { existsSync, readFileSync } from "node:fs";
import { connect, createServer } from "node:net";
import { type AgentProcess, startAgent } from "../../agent-host/support/agent_process.ts";
import { OWN_GETPPID } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { DEADLINE_MS } from "./guest_client.ts";
import { StreamReader } from "./stream_reader.ts";

/** What the agent prints at its end. */
export interface PrintedLedger {
  readonly produced: number;
  readonly lostKernel: number;
  readonly dropped: number;
  readonly forwarded: number;
}

export class Trace {
  readonly workspace: Workspace;
  readonly agent: AgentProcess;

  constructor(workspace: Workspace, agent: AgentProcess) {
    this.workspace = workspace;
    this.agent = agent;
  }

  /** The ledger lines that the agent has printed, one for each receiver. */
  ledgers(): PrintedLedger[] {
    const line = /: produced (\d+), lost by the kernel (\d+), dropped (\d+), forwarded (-?\d+)$/gm;
    return [...this.agent.stderr.matchAll(line)].map((match) => {
      const [produced = 0, lostKernel = 0, dropped = 0, forwarded = 0] = match.slice(1).map(Number);
      return { produced, lostKernel, dropped, forwarded };
    });
  }

  /** Stops it with a signal; it must end by itself, with exit code 0. */
  async stop(signal: NodeJS.Signals = "SIGINT"): Promise<PrintedLedger[]> {
    const { code, signal: killedBy } = await this.agent.stop(signal);
    if (code !== 0) {
      throw new Error(`agent-guest ended with ${killedBy ?? code}: ${this.agent.stderr}`);
    }
    return this.ledgers();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.workspace.dispose();
  }
}

/** Starts a trace in a folder of its own, with whatever `-e` events and options. */
export async function startTraceOf(
  events: (workspace: Workspace) => readonly string[],
  args: readonly string[] = [],
  isQuiet = false,
): Promise<Trace> {
  const workspace = new Workspace();
  try {
    const options = events(workspace).flatMap((event) => ["-e", event]);
    const agent = startAgent(workspace, "agent-guest", ["trace", ...options, ...args]);
    if (!isQuiet) await agent.said(/^Pushing /m);
    return new Trace(workspace, agent);
  } catch (error) {
    await workspace.dispose();
    throw error;
  }
}

/** Starts a trace of this thread's numbered calls; `push` may hold FOLDER for the workspace. */
export function startTrace(push: string, args: readonly string[] = []): Promise<Trace> {
  const events = ({ path }: Workspace): string[] => [
    `${OWN_GETPPID()}push="${push.replace("FOLDER", path)}"/`,
  ];
  return startTraceOf(events, args);
}

/** A port that the kernel chose and nobody has. */
export async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The stream that lies in a file of the trace's folder. */
export function readStreamFile(trace: Trace, name: string): StreamReader {
  const reader = new StreamReader();
  const path = trace.workspace.file(name);
  if (existsSync(path)) reader.push(readFileSync(path));
  return reader;
}

/** Waits until events run whose stream goes to these files: Stats follow that moment. */
export async function untilSampling(trace: Trace, ...names: string[]): Promise<void> {
  const isRunning = (name: string): boolean => readStreamFile(trace, name).stats.length > 0;
  await waitUntil(() => names.every(isRunning), DEADLINE_MS, `streams in ${names}`);
}

/** Waits until somebody listens on a port of loopback. */
export async function untilListening(port: number): Promise<void> {
  const tryOnce = (): Promise<boolean> =>
    new Promise((resolve) => {
      const socket = connect(port, "127.0.0.1");
      socket.once("connect", () => {
        socket.destroy();
        resolve(true);
      });
      socket.once("error", () => resolve(false));
    });
  await waitUntil(tryOnce, DEADLINE_MS, `a listener on port ${port}`);
}
