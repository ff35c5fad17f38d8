/**
 * The values of limits as they are written, in the configuration file and on the command line:
 *
 *   --max-cpu 2%            --max-rate 50MB/s   --max-rate 200k/s   --max-rate 50MB/s,200k/s
 *   --max-ring 4MB          --grace 10s         --max-events 64     --allow 'irq:*,sched:*'
 *
 * k, M and G are powers of 1000 for events and of 1024 for bytes, as rings are.
 */
import { UsageError } from "../../shared/cli/failure.ts";
import { durationNs } from "../../shared/cli/option.ts";
import { EVENTS_MAX } from "../../shared/event/resolve.ts";
import { RING_BYTES_MAX, RING_BYTES_MIN } from "../../shared/perf/ring.ts";
import { GLOB_PATTERN_MAX } from "../../shared/text/glob.ts";

/** Of one CPU: more than this many is no limit of anything. */
const CPU_PERCENT_MAX = 100_000;
const GRACE_MS_MAX = 3_600_000;
/** Patterns of --allow and --deny. */
const PATTERNS_MAX = 256;

const POWERS: Readonly<Record<string, number>> = { "": 0, k: 1, m: 2, g: 3 };

function refuse(option: string, text: string, wanted: string): never {
  throw new UsageError(`Cannot use ${option} ${text}: wants ${wanted}`);
}

/** "2%", "0.5%": gives the share of one CPU. Throws UsageError, as all of these. */
export function parseCpuShare(option: string, text: string): number {
  const percent = Number(/^(\d+(?:\.\d+)?)%$/.exec(text.trim())?.[1]);
  if (percent > 0 && percent <= CPU_PERCENT_MAX) return percent / 100;
  return refuse(option, text, "a share of one CPU, as 2%");
}

/** "4MB", "512kB", "65536". Gives bytes. */
export function parseBytes(option: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?$/i.exec(text.trim());
  const power = POWERS[match?.[2]?.toLowerCase() ?? ""] ?? 0;
  const bytes = Math.floor(Number(match?.[1]) * 1024 ** power);
  if (bytes >= 1 && Number.isSafeInteger(bytes)) return bytes;
  return refuse(option, text, "a size, as 512kB or 4MB");
}

/** The size of a ring: a power of two of at least a page. */
export function parseRingBytes(option: string, text: string): number {
  const bytes = parseBytes(option, text);
  const isInRange = bytes >= RING_BYTES_MIN && bytes <= RING_BYTES_MAX;
  if (isInRange && (bytes & (bytes - 1)) === 0) return bytes;
  return refuse(option, text, "a power of two from 4kB to 1GB");
}

/** "50MB/s", "200k/s", or both with a comma. */
export function parseRate(
  option: string,
  text: string,
): { readonly bytesPerSecondMax: number; readonly eventsPerSecondMax: number } {
  let bytesPerSecondMax = Infinity;
  let eventsPerSecondMax = Infinity;
  for (const part of text.split(",")) {
    const match = /^(\d+(?:\.\d+)?)\s*([kmg]?)((?:i?b)?)\/s$/i.exec(part.trim());
    if (match === null || !(Number(match[1]) > 0)) {
      return refuse(option, text, "bytes or events per second, as 50MB/s or 200k/s");
    }
    const [, number = "", unit = "", isBytes] = match;
    const power = POWERS[unit.toLowerCase()]!;
    if (isBytes !== "") bytesPerSecondMax = Number(number) * 1024 ** power;
    else eventsPerSecondMax = Number(number) * 1000 ** power;
  }
  return { bytesPerSecondMax, eventsPerSecondMax };
}

/** A number of events, up to what an agent can open at all. */
export function parseEventsMax(option: string, text: string): number {
  const events = Number(text);
  if (Number.isInteger(events) && events >= 1 && events <= EVENTS_MAX) return events;
  return refuse(option, text, `a whole number from 1 to ${EVENTS_MAX}`);
}

/** "10s", "500ms", "0s"; not "10", which is nanoseconds where perf-prof's options are. */
export function parseGraceMs(option: string, text: string): number {
  const trimmed = text.trim();
  const milliseconds = /\d(us|ms|s)$/.test(trimmed) ? durationNs(trimmed) / 1e6 : Number.NaN;
  if (milliseconds <= GRACE_MS_MAX) return milliseconds;
  return refuse(option, text, "a time with its unit, as 10s or 500ms, of at most 3600s");
}

/** "irq:*,sched:*": globs of SYSTEM:NAME, or of SYSTEM for all of it. */
export function parsePatterns(option: string, text: string): string[] {
  const patterns = text.split(",").map((pattern) => pattern.trim());
  const isSound = (pattern: string): boolean =>
    /^[\w*?[\]!^.:-]+$/.test(pattern) && pattern.length <= GLOB_PATTERN_MAX;
  if (patterns.length <= PATTERNS_MAX && patterns.every(isSound)) return patterns;
  return refuse(option, text, "events by name, as 'irq:*,sched:*'");
}
