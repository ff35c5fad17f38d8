/**
 * A campaign against one target: the corpus as it is, then so many changed inputs. Each gives a
 * value or a typed error, costs little, and leaves no memory behind.
 */
import { mutate } from "./mutate.ts";
import { randomFrom } from "./random.ts";

/** What no input may cost, in CPU time. */
export const INPUT_MS_MAX = 50;
/** What the whole process may hold. */
export const RESIDENT_BYTES_MAX = 256 * 1024 * 1024;
/**
 * One that took so long is tried again, and costs what it costs then: garbage was collected too.
 */
const SUSPECT_MS = INPUT_MS_MAX / 2;
const RETRIES = 2;
/** How often the size of the process is looked at. */
const LOOK_INPUTS = 1024;

/** "value": it was taken. "error": it was refused with a typed error, or counted as a fault. */
export type Outcome = "value" | "error";

export interface Target {
  readonly name: string;
  readonly corpus: readonly Uint8Array[];
  /** Throws for whatever is no outcome. `seed` decides what the input leaves open. */
  run(input: Uint8Array, seed: number): Outcome;
  close?(): void;
}

export interface Report {
  readonly target: string;
  readonly corpus: number;
  readonly inputs: number;
  readonly values: number;
  readonly errors: number;
  readonly perSecond: number;
  /** CPU time of the slowest input. */
  readonly slowestMs: number;
  /** The most that the process held. */
  readonly residentBytesMax: number;
}

/** An input that does what none may; the message has it in hex, for the corpus. */
export class FuzzError extends Error {
  override readonly name = "FuzzError";

  constructor(target: string, what: string, input: Uint8Array, seed: number, cause?: unknown) {
    super(`${target}: ${what} of input ${input.toHex()} (seed ${seed})`, { cause });
  }
}

/** CPU time of this process so far, in milliseconds. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}

function runOne(target: Target, input: Uint8Array, seed: number): Outcome {
  try {
    return target.run(input, seed);
  } catch (error) {
    throw new FuzzError(target.name, String(error), input, seed, error);
  }
}

/** What an input costs when nothing else is going on: the least of some tries. */
function costAlone(target: Target, input: Uint8Array, seed: number): number {
  let leastMs = Infinity;
  for (let i = 0; i < RETRIES; i++) {
    Bun.gc(true);
    const startMs = cpuMs();
    runOne(target, input, seed);
    leastMs = Math.min(leastMs, cpuMs() - startMs);
  }
  return leastMs;
}

/** Throws FuzzError for the first input that is neither value nor error, or costs too much. */
export function runCampaign(target: Target, inputs: number, firstSeed: number): Report {
  const counts = { value: 0, error: 0 };
  let [slowestMs, residentBytesMax] = [0, 0];
  const startMs = performance.now();
  const tryOne = (input: Uint8Array, seed: number): void => {
    const fromMs = cpuMs();
    counts[runOne(target, input, seed)]++;
    let ms = cpuMs() - fromMs;
    if (ms > SUSPECT_MS) ms = costAlone(target, input, seed);
    if (ms > INPUT_MS_MAX) throw new FuzzError(target.name, `${ms} ms`, input, seed);
    slowestMs = Math.max(slowestMs, ms);
  };
  target.corpus.forEach((input, i) => {
    tryOne(input, i);
  });
  for (let i = 0; i < inputs; i++) {
    const seed = firstSeed + i;
    tryOne(mutate(target.corpus, randomFrom(seed)), seed);
    if (i % LOOK_INPUTS > 0) continue;
    residentBytesMax = Math.max(residentBytesMax, process.memoryUsage.rss());
  }
  residentBytesMax = Math.max(residentBytesMax, process.memoryUsage.rss());
  return {
    target: target.name,
    corpus: target.corpus.length,
    inputs,
    values: counts.value,
    errors: counts.error,
    perSecond: Math.round((inputs * 1000) / (performance.now() - startMs)),
    slowestMs,
    residentBytesMax,
  };
}
