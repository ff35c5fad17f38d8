/**
 * Collects garbage when the process has grown. A guest that floods the host with messages makes
 * garbage faster than the engine's collector comes by on its own: its worker blocks in poll().
 */
import process from "node:process";

/** How often the size of the process is looked at. */
const LOOK_MS = 250;
/** Growth since the last collection that is worth another one. */
const GROWTH_BYTES = 64 * 1024 * 1024;

/** Where the runtime lets programs ask for a collection; Deno does so only with a flag. */
const runtime = globalThis as {
  readonly Bun?: { gc(isSynchronous: boolean): void };
  readonly gc?: () => void;
};

export class Garbage {
  #nextLookMs = 0;
  #residentBytes = process.memoryUsage.rss();

  /** To be called in each round. */
  tick(nowMs: number): void {
    if (nowMs < this.#nextLookMs) return;
    this.#nextLookMs = nowMs + LOOK_MS;
    if (process.memoryUsage.rss() < this.#residentBytes + GROWTH_BYTES) return;
    if (runtime.Bun !== undefined) runtime.Bun.gc(true);
    else runtime.gc?.();
    this.#residentBytes = process.memoryUsage.rss();
  }
}
