/**
 * A scratch folder and child processes that are gone when this process is, however it ends.
 *
 *   normal end, exception, SIGINT, SIGTERM, SIGHUP   the folder is removed, the children
 *                                                    are asked to end, then killed
 *   SIGKILL                                          the kernel kills the children (PDEATHSIG);
 *                                                    the next `Workspace` sweeps the folder
 */

import { type ChildProcess, type SpawnOptions, spawn } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import type { Readable } from "node:stream";
import { withDeadline } from "./deadline.ts";

const PREFIX = "vmspan-";
const END_SIGNALS = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
const TERMINATE_DEADLINE_MS = 3_000;
const KILL_DEADLINE_MS = 5_000;

const live = new Set<Workspace>();
let handlersInstalled = false;

function abandonAll(): void {
  for (const workspace of live) {
    workspace.abandon();
  }
}

/** Children get a moment to clean up after themselves: agent-host removes its probes. */
async function endBySignal(signal: NodeJS.Signals): Promise<void> {
  await Promise.all([...live].map((workspace) => workspace.terminate()));
  abandonAll();
  process.exit(128 + constants.signals[signal]);
}

function installHandlers(): void {
  if (handlersInstalled) {
    return;
  }
  handlersInstalled = true;
  process.on("exit", abandonAll);
  for (const signal of END_SIGNALS) {
    process.once(signal, () => {
      void endBySignal(signal);
    });
  }
}

/** Folders of processes that were killed before they could clean up: vmspan-PID-RANDOM. */
function sweep(parentPath: string): void {
  for (const name of readdirSync(parentPath)) {
    const pid = /^vmspan-(\d+)-[0-9A-Za-z]{6}$/.exec(name)?.[1];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) {
      rmSync(join(parentPath, name), { recursive: true, force: true });
    }
  }
}

/**
 * Resolves when the process has ended and its output has been read: what it wrote last may still be
 * under way when its exit status is known.
 */
export function ended(child: ChildProcess): Promise<void> {
  const isRead = (stream: Readable | null | undefined): boolean => stream?.closed ?? true;
  return new Promise((resolve) => {
    const hasExited = child.exitCode !== null || child.signalCode !== null;
    if (hasExited && isRead(child.stdout) && isRead(child.stderr)) {
      resolve();
    } else {
      child.once("close", () => resolve());
    }
  });
}

export class Workspace {
  /** Absolute path of an empty folder; short, because unix socket paths end at 107 bytes. */
  readonly path: string;
  readonly #children = new Set<ChildProcess>();

  constructor() {
    installHandlers();
    const parentPath = tmpdir();
    mkdirSync(parentPath, { recursive: true });
    sweep(parentPath);
    this.path = mkdtempSync(join(parentPath, `${PREFIX}${process.pid}-`));
    live.add(this);
  }

  file(name: string): string {
    return join(this.path, name);
  }

  /** Starts a program that dies with us. Its pid is the program's own: setpriv only execs. */
  spawn(program: string, args: readonly string[], options: SpawnOptions): ChildProcess {
    const child = spawn("setpriv", ["--pdeathsig", "KILL", "--", program, ...args], options);
    this.#children.add(child);
    child.once("close", () => this.#children.delete(child));
    return child;
  }

  /** Kills what still runs, waits for its end, removes the folder. */
  async dispose(): Promise<void> {
    const children = [...this.#children];
    for (const child of children) {
      child.kill("SIGKILL");
    }
    await withDeadline(
      Promise.all(children.map(ended)),
      KILL_DEADLINE_MS,
      "killed child processes to end",
    );
    this.abandon();
  }

  /** Asks the children to end and waits for them, not for long. */
  async terminate(): Promise<void> {
    const children = [...this.#children];
    for (const child of children) {
      child.kill("SIGTERM");
    }
    const ends = Promise.all(children.map(ended)).then(() => "ended");
    const patience = new Promise((resolve) => setTimeout(resolve, TERMINATE_DEADLINE_MS));
    await Promise.race([ends, patience]);
  }

  /** Kills and removes without waiting, for the end of the process. */
  abandon(): void {
    for (const child of this.#children) {
      child.kill("SIGKILL");
    }
    rmSync(this.path, { recursive: true, force: true });
    live.delete(this);
  }
}
