/** Values of command-line options that both agents have: text in, checked values out. */
import { parseCpuList } from "../event/machine.ts";
import { RING_BYTES_MAX } from "../perf/ring.ts";
import { PAGE_BYTES } from "../sys/abi.ts";
import { UsageError } from "./failure.ts";

/** 1 MiB for each CPU. */
export const RING_PAGES_DEFAULT = 256;

/** `-m PAGES`: a power of two, as perf wants it. Gives bytes. */
export function parseRingPages(text: string): number {
  const pages = Number(text);
  const pagesMax = RING_BYTES_MAX / PAGE_BYTES;
  if (Number.isInteger(pages) && pages >= 1 && pages <= pagesMax && (pages & (pages - 1)) === 0) {
    return pages * PAGE_BYTES;
  }
  throw new UsageError(
    `Cannot use -m ${text}: wants a power of two of pages (4 KiB) from 1 to ${pagesMax}`,
    "-m 1024 makes 4 MiB for each CPU",
  );
}

/** `-C LIST`: checks its form and gives it back; which CPUs there are is not looked at. */
export function parseCpuOption(text: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  try {
    parseCpuList(text);
    return text;
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
    throw new UsageError(error.message, "-C 0-3,8");
  }
}

/** `-p PID`, `-t TID`: a number of an existing task, or -1 when not given. */
export function parseTaskId(option: string, text: string | undefined): number {
  if (text === undefined) return -1;
  const id = Number(text);
  if (Number.isInteger(id) && id > 0) return id;
  throw new UsageError(`Cannot use ${option} ${text}: wants a process or thread id`);
}

/** Collects a repeated option in the order given. */
export function collect(value: string, previous: readonly string[]): readonly string[] {
  return [...previous, value];
}

/** A count of at least 1: -N, -i. */
export function parseCount(option: string, text: string): number {
  const count = Number(text);
  if (Number.isSafeInteger(count) && count >= 1) return count;
  throw new UsageError(`Cannot use ${option} ${text}: wants a whole number from 1`);
}

const NS_PER_UNIT: Readonly<Record<string, number>> = {
  "": 1,
  ns: 1,
  us: 1e3,
  ms: 1e6,
  s: 1e9,
};

/** "1ms", "0s", or a bare number of nanoseconds; NaN for what is no duration. */
export function durationNs(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(ns|us|ms|s|)$/.exec(text);
  return Number(match?.[1]) * (NS_PER_UNIT[match?.[2] ?? ""] ?? Number.NaN);
}

/**
 * A duration with its unit: 1ms, 50us, 800ns, 2s; a bare number is nanoseconds, as in perf-prof.
 */
export function parseDurationNs(option: string, text: string): number {
  const ns = durationNs(text);
  if (ns > 0 && Number.isFinite(ns)) return ns;
  throw new UsageError(`Cannot use ${option} ${text}: wants a duration as 1ms, 50us or 800ns`);
}

/**
 * `-g`, `--call-graph [fp]`: whether every event samples its call chain. perf's other ways to walk
 * a stack need the stack's own bytes or a branch recorder; frame pointers are what kernels walk.
 */
export function parseCallGraph(mode: string | true | undefined): boolean {
  if (mode === undefined || mode === true || mode === "fp") return mode !== undefined;
  throw new UsageError(
    `Cannot use --call-graph ${mode}: stacks are walked by frame pointers only`,
    "-g, or --call-graph fp",
  );
}
