/**
 * Processes of this machine, as the file system shows them: their mappings out of /proc/PID/maps,
 * names out of the files that they have mapped, and out of the maps that compilers write.
 */
import { readFileSync } from "node:fs";
import type { SymbolHit } from "../tracefs/symbols.ts";
import { ElfCache, VDSO } from "./elf_cache.ts";
import { PERF_MAP_BYTES_MAX, PerfMap } from "./perf_map.ts";
import { type CodeMapping, parseCodeMappings } from "./process_maps.ts";

/** Compilers' maps that are kept. */
const PERF_MAPS_MAX = 64;

/** Where UserSymbols asks. An answer that is still on its way is "pending". */
export interface ProcessSource {
  /** What a process has mapped now; undefined when that cannot be told. */
  mappingsOf(pid: number): CodeMapping[] | undefined | "pending";
  /** The function at an address of a mapping; undefined when it has no name. */
  symbolAt(pid: number, mapping: CodeMapping, address: number): SymbolHit | undefined | "pending";
}

export class LocalProcesses implements ProcessSource {
  readonly #elves: ElfCache;
  readonly #maps = new Map<number, PerfMap>();

  constructor(elves: ElfCache = new ElfCache()) {
    this.#elves = elves;
  }

  mappingsOf(pid: number): CodeMapping[] | undefined {
    const text = readText(`/proc/${pid}/maps`);
    const mappings = text === undefined ? [] : parseCodeMappings(text);
    // A process that has ended and waits for its parent has a file without a line.
    return mappings.length === 0 ? undefined : mappings;
  }

  symbolAt(pid: number, mapping: CodeMapping, address: number): SymbolHit | undefined {
    if (mapping.file === "" && mapping.path !== VDSO) return this.#jitted(pid, address);
    const fileOffset = address - mapping.start + mapping.fileOffset;
    return this.#elves.symbolsOf(pid, mapping)?.lookup(fileOffset);
  }

  #jitted(pid: number, address: number): SymbolHit | undefined {
    const path = `/tmp/perf-${pid}.map`;
    let map = this.#maps.get(pid);
    if (map === undefined) {
      map = PerfMap.parse(readText(path) ?? "");
      if (this.#maps.size >= PERF_MAPS_MAX) this.#maps.clear();
      this.#maps.set(pid, map);
    }
    const hit = map.lookup(address);
    return hit && { ...hit, module: path };
  }
}

/** The text of a file; undefined when there is none, or it is too long. */
function readText(path: string): string | undefined {
  try {
    const bytes = readFileSync(path);
    return bytes.length > PERF_MAP_BYTES_MAX ? undefined : bytes.toString("utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ESRCH" || code === "EACCES" || code === "EPERM") {
      return undefined;
    }
    throw error;
  }
}
