/**
 * /tmp/perf-PID.map: where a just-in-time compiler says what lies in the code that it made. Start,
 * size in hexadecimal, and the rest of the line is the name:
 *
 *   7f3b5c001060 5c LazyCompile:~handle server.js:12
 */
import type { SymbolHit } from "../tracefs/symbols.ts";

/** Lines that are read; a map grows as long as its program lives. */
export const PERF_MAP_LINES_MAX = 500_000;
export const PERF_MAP_BYTES_MAX = 64 * 1024 * 1024;
const NAME_CHARS_MAX = 512;

interface Entry {
  readonly start: number;
  readonly size: number;
  readonly name: string;
}

export class PerfMap {
  readonly #entries: readonly Entry[];

  private constructor(entries: readonly Entry[]) {
    this.#entries = entries;
  }

  /** Lines that are none are left out; of two for one address the later is true. */
  static parse(text: string): PerfMap {
    const byStart = new Map<number, Entry>();
    let lines = 0;
    for (const match of text.matchAll(/^(?:0x)?([0-9a-f]{1,16}) (?:0x)?([0-9a-f]{1,8}) (.+)$/gim)) {
      if (++lines > PERF_MAP_LINES_MAX) break;
      const start = Number.parseInt(match[1]!, 16);
      const name = match[3]!.slice(0, NAME_CHARS_MAX);
      byStart.set(start, { start, size: Number.parseInt(match[2]!, 16), name });
    }
    return new PerfMap([...byStart.values()].sort((a, b) => a.start - b.start));
  }

  get count(): number {
    return this.#entries.length;
  }

  lookup(address: number): SymbolHit | undefined {
    let from = 0;
    let to = this.#entries.length;
    while (from < to) {
      const middle = (from + to) >>> 1;
      if (this.#entries[middle]!.start <= address) from = middle + 1;
      else to = middle;
    }
    const entry = this.#entries[from - 1];
    if (entry === undefined || address >= entry.start + entry.size) return undefined;
    return { name: entry.name, offset: address - entry.start };
  }
}
