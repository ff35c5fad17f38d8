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
import { AddressSpace } from "./address_space.ts";
import { LocalProcesses, type ProcessSource } from "./local_processes.ts";
import { ANONYMOUS, type CodeMapping, isPlausible } from "./process_maps.ts";

/** Processes that are known; the ones that ended first are forgotten first. */
export const PROCESSES_MAX = 8192;
/** About what all of them may take: 300,000 mappings with usual paths. */
export const PROCESSES_BYTES_MAX = 64 * 1024 * 1024;
/** Address spaces of one process that are kept, newest first: a wrapper may exec seven times. */
const SPACES_PER_PROCESS_MAX = 32;
/** Forks and execs that are followed back to who mapped something. */
const GENERATIONS_MAX = 16;
/** A process may map more; it is not asked again sooner than this. */
const REREAD_MS = 500;

export class UserSymbols {
  /** Whether the last lookup() gave nothing because the source has yet to answer. */
  isPending = false;
  readonly #source: ProcessSource;
  readonly #bytesMax: number;
  /** Newest first. */
  readonly #spaces = new Map<number, AddressSpace[]>();
  /** What all of #spaces take. */
  #bytes = 0;
  readonly #ended = new Set<number>();

  constructor(source: ProcessSource = new LocalProcesses(), bytesMax = PROCESSES_BYTES_MAX) {
    this.#source = source;
    this.#bytesMax = bytesMax;
  }

  /** About what is kept of all processes takes. */
  get bytes(): number {
    return this.#bytes;
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
    const known = space.frameAt(address);
    if (known !== undefined) return known;
    const frame = this.#resolve(pid, space, address, GENERATIONS_MAX);
    if (frame === undefined) return undefined;
    const before = space.bytes;
    space.keepFrame(address, frame);
    this.#grew(pid, space, before);
    return frame;
  }

  /** A process begins with the memory of its parent. */
  fork(pid: number, parentPid: number, cycles: number): void {
    this.#insert(pid, new AddressSpace(cycles, { pid: parentPid, cycles }));
  }

  /** A process begins another program: its mappings follow. */
  exec(pid: number, cycles: number): void {
    this.#insert(pid, new AddressSpace(cycles, { pid, cycles: cycles - 1 }));
  }

  /** A process has mapped code. */
  map(pid: number, mapping: CodeMapping, cycles: number): void {
    if (!isPlausible(mapping)) return;
    const space = this.#spaceAt(pid, cycles);
    const before = space.bytes;
    space.map({ ...mapping, mappedCycles: cycles });
    this.#grew(pid, space, before);
  }

  /** The source's answer to what a process has mapped; undefined when it could not tell. */
  setMappings(pid: number, mappings: CodeMapping[] | undefined): void {
    const space = this.#spaces.get(pid)?.[0];
    if (space === undefined) return;
    space.isAsked = false;
    if (mappings !== undefined) this.#merge(pid, space, mappings);
  }

  exit(pid: number): void {
    if (this.#spaces.has(pid)) this.#ended.add(pid);
  }

  #spaceAt(pid: number, cycles: number): AddressSpace {
    const spaces = this.#spaces.get(pid);
    const found = spaces?.find(({ sinceCycles }) => sinceCycles <= cycles) ?? spaces?.at(-1);
    if (found !== undefined) return found;
    const space = new AddressSpace(-Infinity);
    this.#insert(pid, space);
    return space;
  }

  #insert(pid: number, space: AddressSpace): void {
    this.#ended.delete(pid);
    const others = this.#spaces.get(pid) ?? [];
    const bytesBefore = bytesOf(others);
    if (others.length === 0 && this.#spaces.size >= PROCESSES_MAX) this.#evict();
    const spaces = [...others, space].sort((a, b) => b.sinceCycles - a.sinceCycles);
    const before = spaces[spaces.indexOf(space) + 1];
    if (before !== undefined) space.takeLater(before);
    const kept = spaces.slice(0, SPACES_PER_PROCESS_MAX);
    this.#spaces.set(pid, kept);
    this.#bytes += bytesOf(kept) - bytesBefore;
    this.#fit();
  }

  #merge(pid: number, space: AddressSpace, mappings: readonly CodeMapping[]): void {
    const before = space.bytes;
    space.merge(mappings);
    this.#grew(pid, space, before);
  }

  /** A space has changed: what it takes now counts, unless it has been forgotten meanwhile. */
  #grew(pid: number, space: AddressSpace, bytesBefore: number): void {
    if (this.#spaces.get(pid)?.includes(space) !== true) return;
    this.#bytes += space.bytes - bytesBefore;
    this.#fit();
  }

  #fit(): void {
    while (this.#bytes > this.#bytesMax && this.#spaces.size > 0) this.#evict();
  }

  /** Forgets the process that ended first, or the one known longest. */
  #evict(): void {
    const pid = this.#ended.values().next().value ?? this.#spaces.keys().next().value!;
    this.#bytes -= bytesOf(this.#spaces.get(pid));
    this.#ended.delete(pid);
    this.#spaces.delete(pid);
  }

  #resolve(
    pid: number,
    space: AddressSpace,
    address: number,
    generations: number,
  ): SymbolHit | undefined {
    let mapping = space.mappingAt(address);
    if (mapping === undefined && this.#reread(pid, space)) mapping = space.mappingAt(address);
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
  #reread(pid: number, space: AddressSpace): boolean {
    const nowMs = performance.now();
    const isNewest = this.#spaces.get(pid)?.[0] === space;
    if (isNewest && space.isAsked) this.isPending = true;
    if (!isNewest || this.#ended.has(pid) || nowMs < space.nextReadMs) return false;
    space.nextReadMs = nowMs + REREAD_MS;
    const mappings = this.#source.mappingsOf(pid);
    if (mappings === "pending") {
      space.isAsked = true;
      this.isPending = true;
    } else if (mappings !== undefined) this.#merge(pid, space, mappings);
    return Array.isArray(mappings);
  }
}

function bytesOf(spaces: readonly AddressSpace[] = []): number {
  return spaces.reduce((sum, { bytes }) => sum + bytes, 0);
}
