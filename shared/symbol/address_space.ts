/**
 * The code that one program has had mapped, and what frames in it are called, as far as somebody
 * has asked. Knows about how much memory it takes, so that whoever keeps thousands can bound it.
 *
 *   since 17:03:05.120400   400000-4f5000 /usr/bin/make, 7f33c1428000-7f33c15b6000 libc, ...
 *                           frames: 4012f0 -> main+0x10
 */
import type { SymbolHit } from "../tracefs/symbols.ts";
import { type CodeMapping, MAPPINGS_MAX, mappingAt } from "./process_maps.ts";

/** Frames of one address space whose names are kept. */
const FRAMES_MAX = 16384;
/** About what these take, with their places in tables; a mapping its path beside that. */
const SPACE_BYTES = 512;
const MAPPING_BYTES = 192;
const FRAME_BYTES = 128;

/** A mapping and when it came to be: -Infinity where the source told of it, and not a record. */
export interface TimedMapping extends CodeMapping {
  readonly mappedCycles: number;
}

/** Where memory came from: a process at a time. */
export interface Origin {
  readonly pid: number;
  readonly cycles: number;
}

/** Memory that one program has had mapped since `sinceCycles`. */
export class AddressSpace {
  readonly sinceCycles: number;
  /**
   * Whose memory it began with: the parent's, or after an exec that of the program before, whose
   * frames are there until the first instruction of the new one. Looked up late: what another CPU's
   * ring says of it may be read after what this one says.
   */
  readonly origin: Origin | undefined;
  nextReadMs = 0;
  /** The source has been asked what is mapped, and has yet to say. */
  isAsked = false;
  /** By address, and not overlapping. */
  #mappings: TimedMapping[] = [];
  #mappingBytes = 0;
  readonly #frames = new Map<number, SymbolHit>();

  constructor(sinceCycles: number, origin?: Origin) {
    this.sinceCycles = sinceCycles;
    this.origin = origin;
  }

  /** About what it takes, in bytes. */
  get bytes(): number {
    return SPACE_BYTES + this.#mappingBytes + FRAME_BYTES * this.#frames.size;
  }

  mappingAt(address: number): CodeMapping | undefined {
    return mappingAt(this.#mappings, address);
  }

  frameAt(address: number): SymbolHit | undefined {
    return this.#frames.get(address);
  }

  keepFrame(address: number, frame: SymbolHit): void {
    if (this.#frames.size >= FRAMES_MAX) this.#frames.clear();
    this.#frames.set(address, frame);
  }

  /** Puts a mapping in the place of what it covers. */
  map(added: TimedMapping): void {
    const mappings = this.#mappings;
    const to = firstFrom(mappings, added.end);
    let from = firstFrom(mappings, added.start);
    while (from > 0 && mappings[from - 1]!.end > added.start) from--;
    if (mappings.length - (to - from) >= MAPPINGS_MAX) return;
    // Frames that had no name may have one now.
    this.#frames.clear();
    for (const old of mappings.splice(from, to - from, added)) this.#mappingBytes -= bytesOf(old);
    this.#mappingBytes += bytesOf(added);
  }

  /** Takes what is mapped now; of what was mapped before it keeps what lies where that is free. */
  merge(now: readonly CodeMapping[]): void {
    const isFree = ({ start, end }: CodeMapping): boolean =>
      mappingAt(now, start) === undefined && mappingAt(now, end - 1) === undefined;
    const timed = now.map((mapping) => ({ ...mapping, mappedCycles: -Infinity }));
    const all = [...this.#mappings.filter(isFree), ...timed].slice(0, MAPPINGS_MAX);
    this.#setMappings(all.sort((a, b) => a.start - b.start));
  }

  /**
   * Takes from the space before it what was mapped in its own time: the ring of the CPU that a task
   * ran on may tell of its mappings before the ring of its parent's CPU tells of its fork.
   */
  takeLater(before: AddressSpace): void {
    const isLater = ({ mappedCycles }: TimedMapping): boolean => mappedCycles >= this.sinceCycles;
    const mappings = before.#mappings;
    if (!mappings.some(isLater)) return;
    this.#setMappings(mappings.filter(isLater));
    before.#setMappings(mappings.filter((mapping) => !isLater(mapping)));
    before.#frames.clear();
  }

  #setMappings(mappings: TimedMapping[]): void {
    this.#mappings = mappings;
    this.#mappingBytes = mappings.reduce((sum, mapping) => sum + bytesOf(mapping), 0);
  }
}

function bytesOf({ path, file }: CodeMapping): number {
  return MAPPING_BYTES + path.length + file.length;
}

/** Index of the first mapping that begins at `address` or behind it. */
function firstFrom(mappings: readonly CodeMapping[], address: number): number {
  let from = 0;
  let to = mappings.length;
  while (from < to) {
    const middle = (from + to) >>> 1;
    if (mappings[middle]!.start < address) from = middle + 1;
    else to = middle;
  }
  return from;
}
