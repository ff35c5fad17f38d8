/**
 * Collects garbage when the process has grown. The engine's collector waits until a heap has grown
 * by a multiple of itself, and counts the address space of WebAssembly memories as heap: an agent
 * that allocates a little for years would grow by 100 MB and more before it came by on its own.
 *
 *   resident MB   100 .... 116        every few seconds under load; a collection is 25 ms of CPU
 *                         `-> 101
 */
import process from "node:process";

/** How often the size of the process is looked at. */
const LOOK_MS = 50;

/** Where the runtime lets programs ask for a collection; Deno does so only with a flag. */
const runtime = globalThis as {
  readonly Bun?: { gc(isSynchronous: boolean): void };
  readonly gc?: () => void;
};

export class Garbage {
  readonly #growthBytes: number;
  #nextLookMs = 0;
  /** The smallest size since the last collection. */
  #leastBytes = process.memoryUsage.rss();

  /** `growthBytes` since the last collection are worth another one. */
  constructor(growthBytes: number) {
    this.#growthBytes = growthBytes;
  }

  /** To be called in each round of the thread whose garbage it is. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + LOOK_MS;
    const residentBytes = process.memoryUsage.rss();
    // What a collection frees is given back to the kernel bit by bit.
    this.#leastBytes = Math.min(this.#leastBytes, residentBytes);
    if (residentBytes < this.#leastBytes + this.#growthBytes) return;
    if (runtime.Bun !== undefined) runtime.Bun.gc(true);
    else runtime.gc?.();
    this.#leastBytes = process.memoryUsage.rss();
  }
}
