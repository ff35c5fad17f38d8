/**
 * Frames of user space: process, address and time to a function and its file. What is mapped where
 * comes from its maps (this machine's /proc, or a guest's, which takes a while) when somebody first
 * asks, and, where the rings carry MMAP2 records, from those, so that a process which ended long
 * before its events are printed has names too.
 *
 *   pid 4711   until 17:03:05.120400  what its parent had mapped (fork)
 *              from then on           /usr/bin/make, libc, ... (exec)
 */
import type { SymbolHit } from "../tracefs/symbols.ts";
import { LocalProcesses, type ProcessSource } from "./local_processes.ts";
import { ANONYMOUS, type CodeMapping, MAPPINGS_MAX, mappingAt } from "./process_maps.ts";

/** Processes that are known; the ones that ended first are forgotten first. */
export const PROCESSES_MAX = 8192;
/** Address spaces of one process that are kept, newest first: a wrapper may exec seven times. */
const SPACES_PER_PROCESS_MAX = 32;
/** Forks and execs that are followed back to who mapped something. */
const GENERATIONS_MAX = 16;
/** Frames of one address space whose names are kept. */
const FRAMES_MAX = 16384;
/** A process may map more; it is not asked again sooner than this. */
const REREAD_MS = 500;

/** A mapping and when it came to be: -Infinity where the source told of it, and not a record. */
interface TimedMapping extends CodeMapping {
  readonly mappedCycles: number;
}

/** Memory that one program has had mapped since `sinceCycles`. */
interface Space {
  readonly sinceCycles: number;
  mappings: TimedMapping[];
  /**
   * Whose memory it began with: the parent's, or after an exec that of the program before, whose
   * frames are there until the first instruction of the new one. Looked up late: what another CPU's
   * ring says of it may be read after what this one says.
   */
  readonly origin: { readonly pid: number; readonly cycles: number } | undefined;
  nextReadMs: number;
  readonly frames: Map<number, SymbolHit>;
  /** The source has been asked what is mapped, and has yet to say. */
  isAsked: boolean;
}

function newSpace(sinceCycles: number, origin?: Space["origin"]): Space {
  const frames = new Map<number, SymbolHit>();
  return { sinceCycles, mappings: [], origin, nextReadMs: 0, frames, isAsked: false };
}

export class UserSymbols {
  /** Whether the last lookup() gave nothing because the source has yet to answer. */
  isPending = false;
  readonly #source: ProcessSource;
  /** Newest first. */
  readonly #spaces = new Map<number, Space[]>();
  readonly #ended = new Set<number>();

  constructor(source: ProcessSource = new LocalProcesses()) {
    this.#source = source;
  }

  get processCount(): number {
    return this.#spaces.size;
  }

  /**
   * The function that an address lay in at a time; with the name "" when only its file is known.
   * `module` is the file. Undefined when nothing is mapped there.
   */
  lookup(pid: number, address: number, cycles: number = Infinity): SymbolHit | undefined {
    this.isPending = false;
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
    addMapping(this.#spaceAt(pid, cycles), { ...mapping, mappedCycles: cycles });
  }

  /** The source's answer to what a process has mapped; undefined when it could not tell. */
  setMappings(pid: number, mappings: CodeMapping[] | undefined): void {
    const space = this.#spaces.get(pid)?.[0];
    if (space === undefined) return;
    space.isAsked = false;
    if (mappings !== undefined) space.mappings = merged(space.mappings, mappings);
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
    const before = spaces[spaces.indexOf(space) + 1];
    if (before !== undefined) takeLater(before, space);
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
      if (this.isPending || origin === undefined || generations === 0) return undefined;
      const before = this.#spaceAt(origin.pid, origin.cycles);
      if (before === space) return undefined;
      return this.#resolve(origin.pid, before, address, generations - 1);
    }
    const hit = this.#source.symbolAt(pid, mapping, address);
    if (hit === "pending") {
      this.isPending = true;
      return undefined;
    }
    const path = mapping.path === "" ? ANONYMOUS : mapping.path;
    const module = hit?.module ?? path + (mapping.isDeleted ? " (deleted)" : "");
    return { name: hit?.name ?? "", offset: hit?.offset ?? 0, module };
  }

  /** Whether there is something new: only of the program that runs now, and not too often. */
  #reread(pid: number, space: Space): boolean {
    const nowMs = performance.now();
    const isNewest = this.#spaces.get(pid)?.[0] === space;
    if (isNewest && space.isAsked) this.isPending = true;
    if (!isNewest || this.#ended.has(pid) || nowMs < space.nextReadMs) return false;
    space.nextReadMs = nowMs + REREAD_MS;
    const mappings = this.#source.mappingsOf(pid);
    if (mappings === "pending") {
      space.isAsked = true;
      this.isPending = true;
    } else if (mappings !== undefined) space.mappings = merged(space.mappings, mappings);
    return Array.isArray(mappings);
  }
}

function timed(mappings: readonly CodeMapping[]): TimedMapping[] {
  return mappings.map((mapping) => ({ ...mapping, mappedCycles: -Infinity }));
}

/**
 * Gives `space` what was mapped in its time: the ring of the CPU that a task ran on may tell of its
 * mappings before the ring of its parent's CPU tells of its fork.
 */
function takeLater(before: Space, space: Space): void {
  const isLater = ({ mappedCycles }: TimedMapping): boolean => mappedCycles >= space.sinceCycles;
  if (!before.mappings.some(isLater)) return;
  space.mappings = before.mappings.filter(isLater);
  before.mappings = before.mappings.filter((mapping) => !isLater(mapping));
  before.frames.clear();
}

/** What is mapped now, and what was mapped before where that is free now. */
function merged(before: readonly TimedMapping[], now: readonly CodeMapping[]): TimedMapping[] {
  const isFree = ({ start, end }: CodeMapping): boolean =>
    mappingAt(now, start) === undefined && mappingAt(now, end - 1) === undefined;
  const all = [...before.filter(isFree), ...timed(now)].slice(0, MAPPINGS_MAX);
  return all.sort((a, b) => a.start - b.start);
}

/** Puts a mapping in the place of what it covers. */
function addMapping(space: Space, added: TimedMapping): void {
  const { start, end } = added;
  const kept = space.mappings.filter((old) => old.end <= start || old.start >= end);
  if (kept.length >= MAPPINGS_MAX) return;
  // Frames that had no name may have one now.
  space.frames.clear();
  kept.push(added);
  space.mappings = kept.sort((a, b) => a.start - b.start);
}
