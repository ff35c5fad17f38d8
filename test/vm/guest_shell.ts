/**
 * Runs commands in a test guest over its second serial port; guest_start.sh is the other end and
 * describes the lines.
 */

import type { Socket } from "node:net";
import { DeadlineError, withDeadline } from "./deadline.ts";
import { connectUnix } from "./qmp.ts";

const REPLY_CHARS_MAX = 16 * 1024 * 1024;

export interface CommandResult {
  readonly exitCode: number;
  /** Standard output and standard error, in the order in which they came. */
  readonly output: string;
}

/** A command in the guest failed; the message holds its output. */
export class GuestCommandError extends Error {
  override readonly name = "GuestCommandError";
}

/** An emulated guest beside another one, and busy cores, has been seen to take ten seconds. */
const COMMAND_DEADLINE_MS = 30_000;

export class GuestShell {
  readonly #socket: Socket;
  #buffer = "";
  #nextId = 1;
  #queue: Promise<unknown> = Promise.resolve();
  #onLine: ((line: string) => void) | undefined;
  #closed: Error | undefined;
  #onClosed: ((error: Error) => void) | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.setEncoding("latin1");
    socket.on("data", (text) => this.#receive(String(text)));
    const fail = (reason: string): void => {
      this.#closed ??= new GuestCommandError(`Lost the guest: ${reason}`);
      this.#onClosed?.(this.#closed);
    };
    socket.on("error", (error) => fail(error.message));
    socket.on("close", () => fail("its serial port closed"));
  }

  /** Connects to the socket behind the guest's ttyS1, before the guest is up. */
  static async connect(path: string): Promise<GuestShell> {
    return new GuestShell(await connectUnix(path));
  }

  /** Waits for the guest to say that it takes commands. */
  async waitReady(deadlineMs: number): Promise<void> {
    await this.#nextReply((line) => line === "ready", deadlineMs, "the guest to take commands");
  }

  /** Runs a shell script in the guest; commands run one after the other. */
  run(script: string, deadlineMs = COMMAND_DEADLINE_MS): Promise<CommandResult> {
    const result = this.#queue.then(() => this.#runNow(script, deadlineMs));
    this.#queue = result.catch((error: unknown) => error);
    return result;
  }

  /** Output of a script that has to succeed. @throws GuestCommandError */
  async output(script: string, deadlineMs?: number): Promise<string> {
    const { exitCode, output } = await this.run(script, deadlineMs);
    if (exitCode !== 0) {
      throw new GuestCommandError(
        `Cannot run "${script}" in the guest: exit status ${exitCode}, output "${output.trim()}"`,
      );
    }
    return output;
  }

  close(): void {
    this.#socket.destroy();
  }

  async #runNow(script: string, deadlineMs: number): Promise<CommandResult> {
    const id = String(this.#nextId++);
    this.#socket.write(`${id} ${Buffer.from(script).toString("base64")}\n`);
    const line = await this.#nextReply(
      (candidate) => candidate.startsWith(`${id} `),
      deadlineMs,
      `"${script}" in the guest`,
    );
    const [, status, encoded] = line.split(" ");
    return {
      exitCode: Number(status),
      output: Buffer.from(encoded ?? "", "base64").toString("utf8"),
    };
  }

  /** Replies to commands that were given up on are skipped by their id. */
  async #nextReply(
    matches: (line: string) => boolean,
    deadlineMs: number,
    what: string,
  ): Promise<string> {
    if (this.#closed !== undefined) {
      throw this.#closed;
    }
    const reply = new Promise<string>((resolve, reject) => {
      this.#onClosed = reject;
      this.#onLine = (line) => {
        if (matches(line)) {
          resolve(line);
        }
      };
    });
    try {
      return await withDeadline(reply, deadlineMs, what);
    } catch (error) {
      if (error instanceof DeadlineError) {
        reply.catch(() => undefined);
      }
      throw error;
    } finally {
      this.#onLine = undefined;
      this.#onClosed = undefined;
    }
  }

  #receive(text: string): void {
    const lines = (this.#buffer + text).split("\n");
    this.#buffer = (lines.pop() ?? "").slice(-REPLY_CHARS_MAX);
    for (const line of lines) {
      this.#onLine?.(line.replace(/\r$/, ""));
    }
  }
}
