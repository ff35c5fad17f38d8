/**
 * Frames of user space: process, address and time to a function and its file. What is mapped where
 * comes from /proc/PID/maps when somebody first asks, and, where the rings carry MMAP2 records,
 * from those, so that a process which ended long before its events are printed has names too.
 *
 *   pid 4711   until 17:03:05.120400  what its parent had mapped (fork)
 *              from then on           /usr/bin/make, libc, ... (exec)
 */
import { readFileSync } from "node:fs";
import type { SymbolHit } from "../tracefs/symbols.ts";
import { ElfCache } from "./elf_cache.ts";
import { PERF_MAP_BYTES_MAX, PerfMap } from "./perf_map.ts";
import {
  ANONYMOUS,
  type CodeMapping,
  MAPPINGS_MAX,
  mappingAt,
  parseCodeMappings,
} from "./process_maps.ts";

/** Processes that are known; the ones that ended first are forgotten first. */
export const PROCESSES_MAX = 8192;
/** Address spaces of one process that are kept, newest first: fork and exec follow each other. */
const SPACES_PER_PROCESS_MAX = 4;
/** Forks and execs that are followed back to who mapped something. */
const GENERATIONS_MAX = 16;
/** Frames of one address space whose names are kept. */
const FRAMES_MAX = 16384;
/** A process may map more; it is not asked again sooner than this. */
const REREAD_MS = 500;

/** Memory that one program has had mapped since `sinceCycles`. */
interface Space {
  readonly sinceCycles: number;
  mappings: CodeMapping[];
  /**
   * Whose memory it began with: the parent's, or after an exec that of the program before, whose
   * frames are there until the first instruction of the new one. Looked up late: what another CPU's
   * ring says of it may be read after what this one says.
   */
  readonly origin: { readonly pid: number; readonly cycles: number } | undefined;
  nextReadMs: number;
  readonly frames: Map<number, SymbolHit>;
  jit: PerfMap | undefined;
}

function newSpace(sinceCycles: number, origin?: Space["origin"]): Space {
  const frames = new Map<number, SymbolHit>();
  return { sinceCycles, mappings: [], origin, nextReadMs: 0, frames, jit: undefined };
}

export class UserSymbols {
  readonly #elves: ElfCache;
  /** Newest first. */
  readonly #spaces = new Map<number, Space[]>();
  readonly #ended = new Set<number>();

  constructor(elves: ElfCache = new ElfCache()) {
    this.#elves = elves;
  }

  get processCount(): number {
    return this.#spaces.size;
  }

  /**
   * The function that an address lay in at a time; with the name "" when only its file is known.
   * `module` is the file. Undefined when nothing is mapped there.
   */
  lookup(pid: number, address: number, cycles: number = Infinity): SymbolHit | undefined {
    const space = this.#spaceAt(pid, cycles);
    const known = space.frames.get(address);
    if (known !== undefined) return known;
    const frame = this.#resolve(pid, space, address, GENERATIONS_MAX);
    if (frame === undefined) return undefined;
    if (space.frames.size >= FRAMES_MAX) space.frames.clear();
    space.frames.set(address, frame);
    return frame;
  }

  /** A process begins with the memory of its parent. */
  fork(pid: number, parentPid: number, cycles: number): void {
    this.#insert(pid, newSpace(cycles, { pid: parentPid, cycles }));
  }

  /** A process begins another program: its mappings follow. */
  exec(pid: number, cycles: number): void {
    this.#insert(pid, newSpace(cycles, { pid, cycles: cycles - 1 }));
  }

  /** A process has mapped code. */
  map(pid: number, mapping: CodeMapping, cycles: number): void {
    const space = this.#spaceAt(pid, cycles);
    addMapping(space, mapping);
  }

  exit(pid: number): void {
    if (this.#spaces.has(pid)) this.#ended.add(pid);
  }

  #spaceAt(pid: number, cycles: number): Space {
    const spaces = this.#spaces.get(pid);
    const found = spaces?.find(({ sinceCycles }) => sinceCycles <= cycles) ?? spaces?.at(-1);
    if (found !== undefined) return found;
    const space = newSpace(-Infinity);
    this.#insert(pid, space);
    return space;
  }

  #insert(pid: number, space: Space): void {
    this.#ended.delete(pid);
    const others = this.#spaces.get(pid) ?? [];
    if (others.length === 0 && this.#spaces.size >= PROCESSES_MAX) this.#evict();
    const spaces = [...others, space].sort((a, b) => b.sinceCycles - a.sinceCycles);
    this.#spaces.set(pid, spaces.slice(0, SPACES_PER_PROCESS_MAX));
  }

  /** Forgets the process that ended first, or the one known longest. */
  #evict(): void {
    const pid = this.#ended.values().next().value ?? this.#spaces.keys().next().value!;
    this.#ended.delete(pid);
    this.#spaces.delete(pid);
  }

  #resolve(pid: number, space: Space, address: number, generations: number): SymbolHit | undefined {
    let mapping = mappingAt(space.mappings, address);
    if (mapping === undefined && this.#reread(pid, space)) {
      mapping = mappingAt(space.mappings, address);
    }
    if (mapping === undefined) {
      const { origin } = space;
      if (origin === undefined || generations === 0) return undefined;
      const before = this.#spaceAt(origin.pid, origin.cycles);
      if (before === space) return undefined;
      return this.#resolve(origin.pid, before, address, generations - 1);
    }
    if (mapping.file === "" && !mapping.path.startsWith("[vdso")) {
      return (
        this.#jitted(pid, space, address) ?? {
          name: "",
          offset: 0,
          module: mapping.path || ANONYMOUS,
        }
      );
    }
    const fileOffset = address - mapping.start + mapping.fileOffset;
    const hit = this.#elves.symbolsOf(pid, mapping)?.lookup(fileOffset);
    const module = mapping.path + (mapping.isDeleted ? " (deleted)" : "");
    return { name: hit?.name ?? "", offset: hit?.offset ?? fileOffset, module };
  }

  /** Whether there is something new: only of the program that runs now, and not too often. */
  #reread(pid: number, space: Space): boolean {
    const nowMs = performance.now();
    const isNewest = this.#spaces.get(pid)?.[0] === space;
    if (!isNewest || this.#ended.has(pid) || nowMs < space.nextReadMs) return false;
    space.nextReadMs = nowMs + REREAD_MS;
    const text = readText(`/proc/${pid}/maps`);
    if (text === undefined) return false;
    space.mappings = parseCodeMappings(text);
    return true;
  }

  #jitted(pid: number, space: Space, address: number): SymbolHit | undefined {
    space.jit ??= PerfMap.parse(readText(`/tmp/perf-${pid}.map`) ?? "");
    const hit = space.jit.lookup(address);
    return hit && { ...hit, module: `/tmp/perf-${pid}.map` };
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

/** Puts a mapping in the place of what it covers. */
function addMapping(space: Space, added: CodeMapping): void {
  const { start, end } = added;
  const kept = space.mappings.filter((old) => old.end <= start || old.start >= end);
  if (kept.length >= MAPPINGS_MAX) return;
  // Frames that had no name may have one now.
  space.frames.clear();
  kept.push(added);
  space.mappings = kept.sort((a, b) => a.start - b.start);
}
