/**
 * Dynamic probes through tracefs, under a group name of our own that carries our process id and, as
 * ids are used again, when the process began (in ticks since boot):
 *
 *   p:vmspan_4711_90210/virtio_notify_0 /usr/bin/qemu-system-x86_64:0x733100 vdev=%di:u64
 *
 * They are removed by their owner's close(), and those of a process that was killed by the next one
 * to start, which sees that the process in the group's name is gone.
 */
import { readFileSync, realpathSync, writeFileSync } from "node:fs";
import process from "node:process";
import { TracefsError } from "../tracefs/tracefs.ts";
import { functionFileOffset } from "./elf_symbol.ts";
import { isPresent, readLineOf } from "./machine.ts";
import type { ProbeSpec } from "./spec.ts";

/** Names of the groups that agents' probes are in. */
export const OWN_PROBE_GROUP = /^vmspan_\d+_\d+$/;
const GROUP = /^[pr]\d*:(vmspan_(\d+)_(\d+)\/\S+)/;
/** Of a function's name in its event's name, of which the kernel takes 63 bytes. */
const NAME_CHARS_MAX = 48;
/** Keeps the probes of this process apart, whatever asks for them. */
let serial = 0;

/** When a process began, in ticks since boot; undefined when there is none of this id. */
export function startTicksOf(pid: number | string): string | undefined {
  const stat = readLineOf(`/proc/${pid}/stat`);
  // The name in the second field may hold anything; the 22nd is the 20th behind it.
  return stat === "" ? undefined : stat.slice(stat.lastIndexOf(")") + 2).split(" ")[19];
}

/**
 * The kernel's last word on a definition that it did not take, from tracefs' error_log:
 *
 *   [ 5016.4] trace_uprobe: error: Invalid register name
 *     Command: p:vmspan_4711_90210/x /usr/bin/x:0x1000 a=%nosuch
 *                                                        ^
 */
function reasonOf(root: string, definition: string): string {
  let log: string;
  try {
    log = readFileSync(`${root}/error_log`, "latin1");
  } catch {
    // Older kernels have none, and we may not be allowed to read it.
    return "";
  }
  const at = log.lastIndexOf(`  Command: ${definition}`);
  return /error: ([^\n]+)\n$/.exec(log.slice(0, Math.max(0, at)))?.[1] ?? "";
}

function controlFile(root: string, probe: ProbeSpec): string {
  return `${root}/${probe.kind.startsWith("u") ? "uprobe_events" : "kprobe_events"}`;
}

/** FUNC, FUNC+N or 0xADDRESS as `FILE:0xOFFSET` for a uprobe; the kernel looks up the others. */
function locate(probe: ProbeSpec): string {
  if (probe.file === undefined) return probe.target;
  const [name = "", offset = "0"] = probe.target.split("+");
  const at = /^0x[0-9a-fA-F]+$/.test(name) ? Number(name) : functionFileOffset(probe.file, name);
  return `${realpathSync(probe.file)}:0x${(at + Number(offset)).toString(16)}`;
}

/** The event's name: letters, digits and underscores, a digit not first. */
function eventNameOf(probe: ProbeSpec): string {
  const clean = probe.target.replace(/[^A-Za-z0-9_]/g, "_").slice(0, NAME_CHARS_MAX);
  return `${/^\d/.test(clean) ? "_" : ""}${clean}_${serial++}`;
}

function writeControl(file: string, command: string): void {
  writeFileSync(file, `${command}\n`, { flag: "a" });
}

/** A created probe: event `group:name` exists until close(). */
export class Probe {
  readonly group: string;
  readonly name: string;
  /** What was written to tracefs, for Hello and messages. */
  readonly definition: string;
  readonly #file: string;
  #isOpen = true;

  constructor(file: string, group: string, name: string, definition: string) {
    this.#file = file;
    this.group = group;
    this.name = name;
    this.definition = definition;
  }

  /** Creates the probe. Throws TracefsError, ElfError. */
  static create(root: string, probe: ProbeSpec): Probe {
    const file = controlFile(root, probe);
    if (!isPresent(file)) {
      throw new TracefsError(
        `Cannot create ${probe.kind} "${probe.target}": this kernel has no ${file}`,
        `boot a kernel with CONFIG_${probe.kind.startsWith("u") ? "UPROBE" : "KPROBE"}_EVENTS`,
      );
    }
    const group = `vmspan_${process.pid}_${startTicksOf(process.pid)}`;
    const name = eventNameOf(probe);
    const letter = probe.kind.includes("ret") ? "r" : "p";
    const location = locate(probe);
    const definition = `${letter}:${group}/${name} ${location} ${probe.fetchArguments}`.trim();
    try {
      writeControl(file, definition);
    } catch (error) {
      const { code } = error as NodeJS.ErrnoException;
      const isRefused = code === "EACCES" || code === "EPERM";
      throw new TracefsError(
        `Cannot create ${probe.kind} "${definition}": ` +
          (reasonOf(root, definition) || (error as Error).message),
        isRefused
          ? "probes want root, or CAP_DAC_OVERRIDE: tracefs lets only its files' owner write"
          : `more may be said in ${root}/error_log`,
        { cause: error },
      );
    }
    return new Probe(file, group, name, definition);
  }

  /**
   * Removes the probe; one that is gone already is no error. All its events must be closed first,
   * or the kernel answers EBUSY. Throws TracefsError.
   */
  close(): void {
    if (!this.#isOpen) return;
    try {
      writeControl(this.#file, `-:${this.group}/${this.name}`);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== "ENOENT") {
        throw new TracefsError(
          `Cannot remove probe "${this.group}/${this.name}": ${(error as Error).message}`,
          `write "-:${this.group}/${this.name}" to ${this.#file} once nothing uses it`,
          { cause: error },
        );
      }
    }
    this.#isOpen = false;
  }
}

/** The definitions that there are; none for whoever may not read them. */
function readControl(file: string): string[] {
  try {
    return readFileSync(file, "utf8").split("\n");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code !== "EACCES" && code !== "EPERM") throw error;
    return [];
  }
}

/**
 * Removes probes whose process is gone; gives the names of those that it removed. One that another
 * program has open, or removes at the same time, is left alone.
 */
export function removeStaleProbes(root: string): string[] {
  const removed: string[] = [];
  for (const file of [`${root}/uprobe_events`, `${root}/kprobe_events`]) {
    if (!isPresent(file)) continue;
    for (const line of readControl(file)) {
      const match = GROUP.exec(line);
      if (match === null || startTicksOf(match[2]!) === match[3]) continue;
      try {
        writeControl(file, `-:${match[1]}`);
        removed.push(match[1]!);
      } catch (error) {
        const { code } = error as NodeJS.ErrnoException;
        if (!["EBUSY", "ENOENT", "EACCES", "EPERM"].includes(code ?? "")) throw error;
      }
    }
  }
  return removed;
}
