/**
 * Dynamic probes through tracefs, under a group name of our own that carries our process id:
 *
 *   p:vmspan_4711/virtio_notify_0 /usr/bin/qemu-system-x86_64:0x733100 vdev=%di:u64
 *
 * They are removed by their owner's close(), and those of a process that was killed by the next one
 * to start, which sees that the process id in the group name is gone.
 */
import { existsSync, readFileSync, realpathSync, writeFileSync } from "node:fs";
import process from "node:process";
import { TracefsError } from "../tracefs/tracefs.ts";
import { functionFileOffset } from "./elf_symbol.ts";
import type { ProbeSpec } from "./spec.ts";

const GROUP = /^[pr]\d*:(vmspan_(\d+)\/\S+)/;

function controlFile(root: string, probe: ProbeSpec): string {
  return `${root}/${probe.kind.startsWith("u") ? "uprobe_events" : "kprobe_events"}`;
}

function locate(probe: ProbeSpec): string {
  if (probe.file === undefined) return probe.target;
  const path = realpathSync(probe.file);
  const [name = "", offset = "0"] = probe.target.split("+");
  const at = /^0x[0-9a-fA-F]+$/.test(name)
    ? Number(name)
    : functionFileOffset(path, name) + Number(offset);
  return `${path}:0x${at.toString(16)}`;
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

  /** Creates the probe; `serial` keeps several probes on one function apart. Throws TracefsError. */
  static create(root: string, probe: ProbeSpec, serial: number): Probe {
    const file = controlFile(root, probe);
    if (!existsSync(file)) {
      throw new TracefsError(
        `Cannot create ${probe.kind} "${probe.target}": this kernel has no ${file}`,
        `boot a kernel with CONFIG_${probe.kind.startsWith("u") ? "UPROBE" : "KPROBE"}_EVENTS`,
      );
    }
    const group = `vmspan_${process.pid}`;
    const name = `${probe.target.replace(/[^A-Za-z0-9_]/g, "_")}_${serial}`;
    const letter = probe.kind.includes("ret") ? "r" : "p";
    const location = locate(probe);
    const definition = `${letter}:${group}/${name} ${location} ${probe.fetchArguments}`.trim();
    try {
      writeFileSync(file, `${definition}\n`, { flag: "a" });
    } catch (error) {
      throw new TracefsError(
        `Cannot create ${probe.kind} "${definition}": ${(error as Error).message}`,
        `the kernel's reason is in ${root}/error_log`,
        { cause: error },
      );
    }
    return new Probe(file, group, name, definition);
  }

  /** Removes the probe. All its events must be closed first, or the kernel answers EBUSY. */
  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    writeFileSync(this.#file, `-:${this.group}/${this.name}\n`, { flag: "a" });
  }
}

/** Removes probes whose process is gone; gives the names of those that it removed. */
export function removeStaleProbes(root: string): string[] {
  const removed: string[] = [];
  for (const file of [`${root}/uprobe_events`, `${root}/kprobe_events`]) {
    if (!existsSync(file)) continue;
    for (const line of readFileSync(file, "utf8").split("\n")) {
      const match = GROUP.exec(line);
      if (match === null || existsSync(`/proc/${match[2]}`)) continue;
      writeFileSync(file, `-:${match[1]}\n`, { flag: "a" });
      removed.push(match[1]!);
    }
  }
  return removed;
}
