/**
 * An agent of this source tree as a child process: what it prints, how it ends, what CPU it burns.
 * It dies with the test, whatever happens to either.
 *
 *   await using workspace = ...;
 *   const host = startAgent(workspace, "agent-host", ["trace", "-e", "irq:*", "-N", "2"]);
 *   expect(await host.end(20_000)).toEqual({ code: 0, signal: null });
 */
import type { ChildProcess } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { agentBinary } from "../../vm/agents.ts";
import { waitUntil, withDeadline } from "../../vm/deadline.ts";
import { ended, type Workspace } from "../../vm/workspace.ts";

const ROOT = join(import.meta.dirname, "../../..");
const BUN = join(ROOT, "node_modules/.bin/bun");
/** What is kept of one output: a trace that runs away must not eat the memory. */
const OUTPUT_BYTES_MAX = 256 * 1024 * 1024;
/** USER_HZ of every Linux that this runs on. */
const TICKS_PER_SECOND = 100;
/** For an agent that has nothing to wait for: start, work and end, on a machine that is busy. */
export const END_DEADLINE_MS = 30_000;

export type AgentName = "agent-guest" | "agent-host";

export interface Ending {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

class Captured {
  readonly #chunks: Uint8Array[] = [];
  #bytes = 0;

  add(chunk: Uint8Array): void {
    if (this.#bytes > OUTPUT_BYTES_MAX) return;
    this.#bytes += chunk.length;
    this.#chunks.push(chunk);
  }

  text(): string {
    return Buffer.concat(this.#chunks).toString("latin1");
  }
}

export class AgentProcess {
  readonly #child: ChildProcess;
  readonly #out = new Captured();
  readonly #err = new Captured();

  constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (chunk: Uint8Array) => this.#out.add(chunk));
    child.stderr?.on("data", (chunk: Uint8Array) => this.#err.add(chunk));
  }

  get pid(): number {
    return this.#child.pid!;
  }

  get hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** What it has written so far, one character for each byte. */
  get stdout(): string {
    return this.#out.text();
  }

  get stderr(): string {
    return this.#err.text();
  }

  kill(signal: NodeJS.Signals): void {
    this.#child.kill(signal);
  }

  /** Waits for text in stderr, where agents say how they fare. */
  async said(pattern: RegExp, deadlineMs = END_DEADLINE_MS): Promise<void> {
    await this.until(() => pattern.test(this.stderr), `${pattern} in its stderr`, deadlineMs);
  }

  /** Waits for text in stdout, where results go. */
  async showed(pattern: RegExp, deadlineMs = END_DEADLINE_MS): Promise<void> {
    await this.until(() => pattern.test(this.stdout), `${pattern} in its stdout`, deadlineMs);
  }

  /** Waits for so many whole lines of results. */
  async printed(lines: number, deadlineMs = END_DEADLINE_MS): Promise<void> {
    const count = (): number => this.stdout.split("\n").length - 1;
    await this.until(() => count() >= lines, `${lines} lines in its stdout`, deadlineMs);
  }

  /** Waits for a condition that only a living agent can bring about. */
  async until(condition: () => boolean, what: string, deadlineMs = END_DEADLINE_MS): Promise<void> {
    const isOver = (): boolean => condition() || this.hasEnded;
    try {
      await waitUntil(isOver, deadlineMs, what);
    } catch (error) {
      throw new Error(`${(error as Error).message}; it said:\n${this.stderr.slice(-2000)}`);
    }
    if (condition()) return;
    // What was written last is still on its way when the process has ended.
    await this.end();
    if (!condition()) {
      throw new Error(`It ended without ${what}; it said:\n${this.stderr.slice(-2000)}`);
    }
  }

  /** Waits for its end. Throws DeadlineError, with what it said. */
  async end(deadlineMs = END_DEADLINE_MS): Promise<Ending> {
    try {
      await withDeadline(ended(this.#child), deadlineMs, `pid ${this.pid} to end`);
    } catch (error) {
      throw new Error(`${(error as Error).message}; it said:\n${this.stderr.slice(-2000)}`);
    }
    return { code: this.#child.exitCode, signal: this.#child.signalCode };
  }

  /** Sends a signal and waits for the end. */
  async stop(signal: NodeJS.Signals = "SIGINT", deadlineMs = END_DEADLINE_MS): Promise<Ending> {
    this.kill(signal);
    return await this.end(deadlineMs);
  }

  /** CPU time of all its threads since it began, in seconds. */
  cpuSeconds(): number {
    const text = readFileSync(`/proc/${this.pid}/stat`, "utf8");
    const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
    return (Number(fields[11]) + Number(fields[12])) / TICKS_PER_SECOND;
  }

  residentBytes(): number {
    const text = readFileSync(`/proc/${this.pid}/status`, "utf8");
    return Number(/^VmRSS:\s+(\d+) kB$/m.exec(text)?.[1]) * 1024;
  }
}

export interface StartOptions {
  /** A program to start it with: ["unshare", "--mount", "--"]. */
  readonly wrapper?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Where stdout goes, instead of being captured. */
  readonly stdoutFd?: number;
  /** The compiled agent, as users run it. */
  readonly isBuilt?: boolean;
}

/** Starts an agent, from source unless told. */
export function startAgent(
  workspace: Workspace,
  name: AgentName,
  args: readonly string[],
  options: StartOptions = {},
): AgentProcess {
  const command = options.isBuilt ? [agentBinary(name)] : [BUN, join(ROOT, name, "main.ts")];
  const [program, ...rest] = [...(options.wrapper ?? []), ...command, ...args];
  const child = workspace.spawn(program!, rest, {
    stdio: ["ignore", options.stdoutFd ?? "pipe", "pipe"],
    env: { ...process.env, ...options.env },
    cwd: workspace.path,
  });
  return new AgentProcess(child);
}

/** Runs an agent to its end. */
export async function runAgent(
  workspace: Workspace,
  name: AgentName,
  args: readonly string[],
  options: StartOptions & { readonly deadlineMs?: number } = {},
): Promise<{ readonly code: number | null; readonly stdout: string; readonly stderr: string }> {
  const agent = startAgent(workspace, name, args, options);
  const { code } = await agent.end(options.deadlineMs);
  return { code, stdout: agent.stdout, stderr: agent.stderr };
}
