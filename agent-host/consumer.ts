/**
 * What a command does with the merged events: print them (trace), pair them (multi-trace). The
 * engine feeds it runs in time order and tells it how far time is.
 */
import type { Chunk } from "./analyze/chunk.ts";

export interface Consumer {
  /** Runs follow: what they are judged by (the clocks' bounds) is brought up to date. */
  prepare(): void;
  /** Records `from` to `to` (exclusive) of a chunk, in canonical time order. */
  run(chunk: Chunk, from: number, to: number): void;
  /** Everything before `watermarkCycles` has been released: intervals may be closed. */
  tick(watermarkCycles: number): void;
  /** Whether it has seen what it was asked for (-N). */
  readonly isDone: boolean;
  /** Whether a threshold was crossed that the exit code reports. */
  readonly hasCrossed: boolean;
  /** The stream has ended: prints what is left. */
  finish(): void;
}
