/**
 * Processes of this machine, as the file system shows them: their mappings out of /proc/PID/maps,
 * names out of the files that they have mapped, and out of the maps that compilers write.
 */
import { statSync } from "node:fs";
import process from "node:process";
import { O_NOFOLLOW } from "../sys/abi.ts";
import { SysError } from "../sys/errno.ts";
import { statusOf } from "../sys/fd.ts";
import { openRegular, readWhole } from "../sys/regular_file.ts";
import type { SymbolHit } from "../tracefs/symbols.ts";
import { ElfCache, VDSO } from "./elf_cache.ts";
import { PERF_MAP_BYTES_MAX, PERF_MAP_LINES_MAX, PerfMap } from "./perf_map.ts";
import { type CodeMapping, parseCodeMappings } from "./process_maps.ts";

/** Compilers' maps that are kept, with as many lines as one of them may have. */
const PERF_MAPS_MAX = 64;
const ROOT_UID = 0;

const utf8 = new TextDecoder();

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
  /** Of all of them. */
  #mapLines = 0;

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
      map = PerfMap.parse(readText(path, mapOwnersOf(pid)) ?? "");
      this.#maps.set(pid, map);
      this.#mapLines += map.count;
      this.#evict();
    }
    const hit = map.lookup(address);
    return hit && { ...hit, module: path };
  }

  /** Forgets the maps that were read longest ago. */
  #evict(): void {
    for (const [pid, { count }] of this.#maps) {
      if (this.#maps.size <= PERF_MAPS_MAX && this.#mapLines <= PERF_MAP_LINES_MAX) return;
      this.#maps.delete(pid);
      this.#mapLines -= count;
    }
  }
}

/**
 * Whose word counts for the code of a process: everybody may write into /tmp, also under a name
 * that is another's. Of a process that has ended its owner is not known any more.
 */
function mapOwnersOf(pid: number): readonly (number | undefined)[] {
  const owner = statSync(`/proc/${pid}`, { throwIfNoEntry: false })?.uid;
  return [ROOT_UID, process.geteuid?.(), owner];
}

/**
 * The text of a regular file; undefined where there is none for us, it is too long, or it is none
 * of `owners`'. Not to have a name is no reason to end.
 */
function readText(path: string, owners?: readonly (number | undefined)[]): string | undefined {
  try {
    using fd = openRegular(path, O_NOFOLLOW);
    if (owners?.includes(statusOf(fd).uid) === false) return undefined;
    const bytes = readWhole(fd, PERF_MAP_BYTES_MAX);
    return bytes && utf8.decode(bytes);
  } catch (error) {
    if (!(error instanceof SysError || error instanceof RangeError)) throw error;
    return undefined;
  }
}
