/**
 * Helper programs of the bench: a TypeScript file run by Bun on a CPU of its own, which answers in
 * lines of JSON on its standard output.
 */
import { type ChildProcess, spawn } from "node:child_process";
import { join } from "node:path";

const ANSWER_DEADLINE_MS = 120_000;
const ANSWER_BYTES_MAX = 64 * 1024;
/** Options of chrt(1). */
const ORDINARY = ["-o", "0"];
const REAL_TIME = ["-f", "1"];
/**
 * A reader stands for the host, which has CPUs of its own. Here it shares one with the load, so it
 * goes before the load: else a sampler would be blamed for a reader that does not get to read.
 */
const READER = "reader.ts";

/** A line that did not come: the program ended, or the deadline passed. */
export class ProgramError extends Error {
  override readonly name = "ProgramError";
}

export class Program {
  readonly #child: ChildProcess;
  readonly #name: string;
  #text = "";
  #hasEnded = false;
  #wake: (() => void) | undefined;

  /** Starts `file` of this folder on `cpu`. */
  constructor(cpu: number, file: string, ...args: readonly string[]) {
    this.#name = [file, ...args].join(" ");
    const policy = file === READER ? REAL_TIME : ORDINARY;
    const command = [process.execPath, join(import.meta.dirname, file), ...args];
    this.#child = spawn("chrt", [...policy, "taskset", "-c", String(cpu), ...command], {
      stdio: ["pipe", "pipe", "inherit"],
    });
    this.#child.stdout!.setEncoding("utf8");
    this.#child.stdout!.on("data", (text: string) => {
      this.#text = (this.#text + text).slice(-ANSWER_BYTES_MAX);
      this.#wake?.();
    });
    this.#child.once("close", () => {
      this.#hasEnded = true;
      this.#wake?.();
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  send(line: string): void {
    this.#child.stdin!.write(`${line}\n`);
  }

  /** The next line of its output. Throws ProgramError. */
  async answer(deadlineMs: number = ANSWER_DEADLINE_MS): Promise<Record<string, number | string>> {
    let expired = false;
    const timer = setTimeout(() => {
      expired = true;
      this.#wake?.();
    }, deadlineMs);
    try {
      while (!this.#text.includes("\n")) {
        if (this.#hasEnded) throw new ProgramError(`"${this.#name}" ended without an answer`);
        if (expired) throw new ProgramError(`"${this.#name}" did not answer in ${deadlineMs} ms`);
        await new Promise<void>((resolve) => {
          this.#wake = resolve;
        });
      }
    } finally {
      clearTimeout(timer);
    }
    const end = this.#text.indexOf("\n");
    const line = this.#text.slice(0, end);
    this.#text = this.#text.slice(end + 1);
    return JSON.parse(line);
  }

  stop(): void {
    if (!this.#hasEnded) this.#child.kill("SIGKILL");
  }
}

/** The load generator. */
export class Load {
  readonly #program: Program;
  /** Its thread: what the kernel calls common_pid. */
  readonly tid: number;

  private constructor(program: Program, tid: number) {
    this.#program = program;
    this.tid = tid;
  }

  static async start(cpu: number): Promise<Load> {
    const program = new Program(cpu, "load.ts");
    const { tid } = await program.answer();
    return new Load(program, Number(tid));
  }

  /** Makes `calls` system calls, `callsPerSecond` of them each second, 0 for full speed. */
  async run(calls: number, callsPerSecond: number): Promise<{ readonly nsPerCall: number }> {
    this.#program.send(`${calls} ${callsPerSecond}`);
    const { ns } = await this.#program.answer();
    return { nsPerCall: Number(ns) / calls };
  }

  /** Ends a run at a low rate. */
  interrupt(): void {
    process.kill(this.#program.pid, "SIGUSR1");
  }

  stop(): void {
    this.#program.stop();
  }
}
