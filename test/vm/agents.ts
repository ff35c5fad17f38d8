/**
 * The two compiled agents, and the event specifications that make them measure one interrupt of a
 * test guest: from QEMU sending the MSI to the guest's handler starting.
 */

import type { ChildProcess } from "node:child_process";
import { existsSync, realpathSync } from "node:fs";
import { join, resolve } from "node:path";
import { waitUntil, withDeadline } from "./deadline.ts";
import { LineLog } from "./line_log.ts";
import { isLogicalDestination } from "./msi.ts";
import type { PokeInterrupt } from "./poke.ts";
import type { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { ended, type Workspace } from "./workspace.ts";

const DIST_PATH = resolve(import.meta.dirname, "../../dist");
const READY_DEADLINE_MS = 20_000;
const END_DEADLINE_MS = 15_000;

/** The path of a compiled agent. @throws ReferenceError when it was not built */
export function agentBinary(name: "agent-guest" | "agent-host"): string {
  const path = join(DIST_PATH, name);
  if (!existsSync(path)) {
    throw new ReferenceError(`Cannot find "${path}", wanted: make glibc`);
  }
  return path;
}

/** A command line for the guest's shell: handler runs of the poke port's interrupt, pushed out. */
export function guestTraceCommand(interrupt: PokeInterrupt): string {
  const port = `/dev/virtio-ports/${PERF_PORT_NAME}`;
  const filter = `name~"${interrupt.line.name}*"`;
  return `agent-guest trace -e 'irq:irq_handler_entry/${filter}/push="${port}"/' --tsc`;
}

/**
 * The stages of multi-trace: injection in QEMU, then the guest's handler.
 *
 * msi_send_message(dev, {address, data}) is called once for every MSI of every emulated device;
 * address and data together name one interrupt of the guest, common_pid the guest: QEMU handles
 * devices in its main thread here. The key is the CPU that the address names, as a mask of logical
 * CPUs or as an APIC id, which for this guest's CPUs is the CPU's number.
 */
export function multiTraceEvents(
  guest: QemuGuest,
  interrupt: PokeInterrupt,
  qemuPath: string,
): string[] {
  const { address, data } = interrupt.message;
  const filter =
    `common_pid==${guest.pid} && address==0x${address.toString(16)}` +
    ` && data==0x${data.toString(16)}`;
  const probe = `uprobe:msi_send_message@"${realpathSync(qemuPath)}" address=%si:u64 data=%dx:u32`;
  const guestKey = isLogicalDestination(interrupt.message) ? "1<<_cpu" : "_cpu";
  return [
    `${probe}/${filter}/key="(address>>12)&0xff"/`,
    `irq:irq_handler_entry//pull=${guest.channel}/key="${guestKey}"/`,
  ];
}

/** Resolves when a process in the guest holds perf events open. */
export async function waitForGuestPerfEvents(guest: QemuGuest, pid: number): Promise<void> {
  await waitUntil(
    async () => {
      const { output } = await guest.shell.run(`ls -l /proc/${pid}/fd 2>&1 || kill -0 ${pid}`);
      if (output.includes("No such process")) {
        throw new ReferenceError("Cannot wait for agent-guest to open its events: it has ended");
      }
      return output.includes("[perf_event]");
    },
    READY_DEADLINE_MS,
    "agent-guest to open its events",
  );
}

/** An agent-host under way. What it writes to both outputs comes into `log`, line by line. */
export class HostAgent {
  readonly log: LineLog;
  readonly #child: ChildProcess;

  constructor(workspace: Workspace, args: readonly string[], onLine?: (line: string) => void) {
    this.log = new LineLog("output of agent-host");
    this.log.onLine = onLine;
    this.#child = workspace.spawn(agentBinary("agent-host"), args, {
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#child.stdout?.on("data", (bytes: Uint8Array) => this.log.append(bytes));
    this.#child.stderr?.on("data", (bytes: Uint8Array) => this.log.append(bytes));
    this.#child.once("close", () => {
      this.log.end(
        new Error(`agent-host ended: ${this.#status()}, last output:\n${this.log.tail(20)}`),
      );
    });
  }

  get pid(): number {
    return this.#child.pid!;
  }

  /** Resolves when it knows the guest's clock and its own events are enabled. */
  async waitReady(): Promise<void> {
    await this.log.waitForLine(/^Tracing$/, READY_DEADLINE_MS);
  }

  /** Sends a signal and waits for the end. @returns the exit status, or the signal's name */
  async end(signal: "SIGINT" | "SIGKILL"): Promise<number | string> {
    this.#child.kill(signal);
    return await this.waitEnd();
  }

  async waitEnd(): Promise<number | string> {
    await withDeadline(ended(this.#child), END_DEADLINE_MS, "agent-host to end");
    return this.#status();
  }

  #status(): number | string {
    return this.#child.exitCode ?? this.#child.signalCode ?? "?";
  }
}
