/** A process that makes a steady load, as a test that measures under it has it. */
import type { ChildProcess } from "node:child_process";
import { join } from "node:path";
import { waitUntil, withDeadline } from "../../vm/deadline.ts";
import { ended, type Workspace } from "../../vm/workspace.ts";

const PROGRAM = join(import.meta.dirname, "steady_load_program.ts");
const PRIORITY = ["-n", "-10"];
const DEADLINE_MS = 30_000;

/** What a load has made: pairs, some of which lack their end. */
export interface LoadMade {
  readonly starts: number;
  readonly ends: number;
  readonly ms: number;
}

export class SteadyLoad {
  readonly #child: ChildProcess;
  #text = "";
  /** Its thread: what the kernel calls common_pid. */
  tid = 0;

  private constructor(child: ChildProcess) {
    this.#child = child;
    child.stdout?.on("data", (chunk: Uint8Array) => {
      this.#text += chunk.toString();
    });
  }

  /** Starts the process; it makes nothing yet. */
  static async start(workspace: Workspace, pairsPerSecond: number): Promise<SteadyLoad> {
    // It is what is measured with: it goes before whatever else the machine does.
    const args = [...PRIORITY, process.execPath, PROGRAM, String(pairsPerSecond)];
    const child = workspace.spawn("nice", args, { stdio: ["pipe", "pipe", "inherit"] });
    const load = new SteadyLoad(child);
    await waitUntil(() => load.#text.includes("\n"), DEADLINE_MS, "the load to be ready");
    load.tid = JSON.parse(load.#text).tid;
    return load;
  }

  begin(): void {
    this.#child.stdin!.write("\n");
  }

  async end(): Promise<LoadMade> {
    this.#child.stdin!.end("\n");
    await withDeadline(ended(this.#child), DEADLINE_MS, "the load to end");
    return JSON.parse(this.#text.split("\n")[1]!);
  }
}
