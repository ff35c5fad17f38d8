/**
 * A real Linux guest under QEMU, emulated (TCG): needs no KVM, boots in seconds.
 *
 *   await using guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
 *   await guest.shell.output("uname -r");
 *   guest.startInGuest("agent-guest trace -e ...");
 *
 * Nothing outlives it: neither QEMU nor a file, see workspace.ts.
 */

import type { ChildProcess } from "node:child_process";
import { existsSync } from "node:fs";
import type { Socket } from "node:net";
import { DeadlineError, waitUntil, withDeadline } from "./deadline.ts";
import { GuestShell } from "./guest_shell.ts";
import { LineLog } from "./line_log.ts";
import type { Prerequisites } from "./prerequisites.ts";
import {
  DEFAULT_GUEST_CONFIG,
  type GuestConfig,
  type GuestPaths,
  PERF_PORT_NAME,
  POKE_PORT_NAME,
  qemuArgs,
} from "./qemu_args.ts";
import { connectUnix, QmpClient } from "./qmp.ts";
import { ended, Workspace } from "./workspace.ts";

const QEMU_START_DEADLINE_MS = 15_000;
const QEMU_LAST_WORDS_MS = 500;
const QUIT_DEADLINE_MS = 5_000;
const PORT_DEADLINE_MS = 10_000;
const CONSOLE_TAIL_LINES = 25;

export interface BootOptions {
  readonly prerequisites: Prerequisites;
  readonly initramfsPath: string;
  readonly config?: Partial<GuestConfig>;
  /** From QEMU's start to the guest taking commands; the machine may be busy. */
  readonly bootDeadlineMs?: number;
}

/** QEMU or the guest failed; the message ends with the guest's last console lines. */
export class GuestError extends Error {
  override readonly name = "GuestError";
}

export class QemuGuest {
  readonly config: GuestConfig;
  readonly console: LineLog;
  readonly qmp: QmpClient;
  readonly shell: GuestShell;
  /** The host's end of org.vmspan.poke0. */
  readonly poke: Socket;
  /** What agent-host takes as pull=: "127.0.0.1:PORT" or "unix:/PATH". */
  readonly channel: string;
  readonly #process: ChildProcess;
  readonly #workspace: Workspace;

  constructor(
    parts: Pick<QemuGuest, "config" | "console" | "qmp" | "shell" | "poke" | "channel">,
    process: ChildProcess,
    workspace: Workspace,
  ) {
    this.config = parts.config;
    this.console = parts.console;
    this.qmp = parts.qmp;
    this.shell = parts.shell;
    this.poke = parts.poke;
    this.channel = parts.channel;
    this.#process = process;
    this.#workspace = workspace;
  }

  /** Boots a guest and returns when it takes commands and both ports are there. */
  static async boot(options: BootOptions): Promise<QemuGuest> {
    const workspace = new Workspace();
    const console = new LineLog("guest console", workspace.file("console.log"));
    try {
      return await bootInto(workspace, console, options);
    } catch (error) {
      await workspace.dispose();
      throw withConsole(error, console);
    }
  }

  /** The process id of QEMU: its main thread, the one that handles the devices here. */
  get pid(): number {
    return this.#process.pid!;
  }

  /** Adds the guest's last console lines to an error. */
  explain(error: unknown): GuestError {
    return withConsole(error, this.console);
  }

  /** Starts a command in the guest, its output goes to the console. @returns its pid there */
  async startInGuest(command: string): Promise<number> {
    const output = await this.shell.output(`${command} >/dev/console 2>&1 </dev/null & echo $!`);
    return Number(output.trim());
  }

  async isRunningInGuest(pid: number): Promise<boolean> {
    return (await this.shell.run(`kill -0 ${pid}`)).exitCode === 0;
  }

  /** Resolves when the guest has made the character device of a port, with its path. */
  async waitForPort(name: string, deadlineMs = PORT_DEADLINE_MS): Promise<string> {
    return await findPort(this.shell, this.config, name, deadlineMs);
  }

  /**
   * Resolves when the guest knows that the host has opened a port. Before that, reads from it end
   * at once, and closing it discards what the host has sent: cat would exit and lose the bytes.
   */
  async waitForHostEnd(device: string, deadlineMs = PORT_DEADLINE_MS): Promise<void> {
    const file = device.replace("/dev/", "/sys/kernel/debug/virtio-ports/");
    await waitUntil(
      async () => (await this.shell.output(`cat ${file}`)).includes("host_connected: 1"),
      deadlineMs,
      `the host's end of ${device}`,
    );
  }

  /** Ends QEMU, by "quit" or by force, and removes every file. */
  async shutdown(): Promise<void> {
    const end = ended(this.#process);
    try {
      this.qmp.execute("quit").catch(() => undefined); // QEMU may close before it answers
      await withDeadline(end, QUIT_DEADLINE_MS, "QEMU to quit");
    } catch (error) {
      if (!(error instanceof DeadlineError)) {
        throw error;
      }
    } finally {
      this.qmp.close();
      this.shell.close();
      this.poke.destroy();
      await this.#workspace.dispose();
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.shutdown();
  }
}

function withConsole(error: unknown, console: LineLog): GuestError {
  if (error instanceof GuestError) {
    return error;
  }
  const reason = error instanceof Error ? error.message : String(error);
  const tail = console.tail(CONSOLE_TAIL_LINES);
  return new GuestError(
    `${reason}\n--- ${console.name}, last lines ---\n${tail === "" ? "(nothing)" : tail}`,
    { cause: error },
  );
}

/** The device of a port, through sysfs, which works without udev. */
async function findPort(
  shell: GuestShell,
  config: GuestConfig,
  name: string,
  deadlineMs: number,
): Promise<string> {
  const link = config.portLinks ? "link-ports" : ":";
  return await waitUntil(
    async () => {
      const { output } = await shell.run(
        `grep -l -x '${name}' /sys/class/virtio-ports/*/name; ${link}`,
      );
      const device = /\/virtio-ports\/(vport\d+p\d+)\/name/.exec(output)?.[1];
      return device === undefined ? undefined : `/dev/${device}`;
    },
    deadlineMs,
    `port "${name}" in the guest`,
  );
}

/** "disconnected:tcp:127.0.0.1:40123,server=on" of query-chardev gives "127.0.0.1:40123". */
export function channelOfChardev(filename: string): string {
  const address = /^(?:disconnected:)?tcp:([^,]+:\d+)/.exec(filename)?.[1];
  if (address === undefined) {
    throw new SyntaxError(`Cannot find the channel's port in chardev "${filename}"`);
  }
  return address;
}

async function channelOf(qmp: QmpClient, config: GuestConfig, paths: GuestPaths): Promise<string> {
  if (config.transport === "unix") {
    return `unix:${paths.channelSocket}`;
  }
  const chardevs = (await qmp.execute("query-chardev")) as { label: string; filename: string }[];
  return channelOfChardev(chardevs.find(({ label }) => label === "perf0")?.filename ?? "");
}

function startQemu(
  workspace: Workspace,
  console: LineLog,
  qemuPath: string,
  args: readonly string[],
): ChildProcess {
  const child = workspace.spawn(qemuPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  const complaints = new LineLog("output of QEMU");
  child.stdout?.on("data", (bytes: Uint8Array) => console.append(bytes));
  child.stderr?.on("data", (bytes: Uint8Array) => complaints.append(bytes));
  child.once("error", (error) =>
    console.end(new GuestError(`Cannot start QEMU: ${error.message}`)),
  );
  child.once("close", (status, signal) => {
    complaints.end(new GuestError("QEMU ended"));
    const words = complaints.tail(3);
    console.end(new GuestError(`QEMU ended: status ${status ?? signal}${words && `, ${words}`}`));
  });
  return child;
}

async function bootInto(
  workspace: Workspace,
  console: LineLog,
  options: BootOptions,
): Promise<QemuGuest> {
  const config = { ...DEFAULT_GUEST_CONFIG, ...options.config };
  const paths: GuestPaths = {
    kernelImage: options.prerequisites.kernel.imagePath,
    initramfs: options.initramfsPath,
    qmpSocket: workspace.file("qmp"),
    shellSocket: workspace.file("shell"),
    pokeSocket: workspace.file("poke"),
    channelSocket: workspace.file("perf0"),
  };
  const args = qemuArgs(config, paths);
  const child = startQemu(workspace, console, options.prerequisites.qemuPath, args);
  const qemuEnd = console.waitForLine(/(?!)/, 2 ** 31 - 1); // rejects when QEMU ends
  const build = async (): Promise<QemuGuest> => {
    await waitUntil(() => existsSync(paths.pokeSocket), QEMU_START_DEADLINE_MS, "QEMU to start");
    const qmp = await QmpClient.connect(paths.qmpSocket);
    const shell = await GuestShell.connect(paths.shellSocket);
    const poke = await connectUnix(paths.pokeSocket);
    poke.on("error", () => undefined); // it ends with QEMU, whose end is reported elsewhere
    await shell.waitReady(options.bootDeadlineMs ?? 90_000);
    await findPort(shell, config, PERF_PORT_NAME, PORT_DEADLINE_MS);
    await findPort(shell, config, POKE_PORT_NAME, PORT_DEADLINE_MS);
    const channel = await channelOf(qmp, config, paths);
    return new QemuGuest({ config, console, qmp, shell, poke, channel }, child, workspace);
  };
  try {
    return (await Promise.race([build(), qemuEnd])) as QemuGuest;
  } catch (error) {
    // When QEMU ends, its sockets break first; its own last words say more.
    await withDeadline(qemuEnd, QEMU_LAST_WORDS_MS, "QEMU's end").catch((reason: unknown) => {
      throw reason instanceof DeadlineError ? error : reason;
    });
    throw error;
  }
}
