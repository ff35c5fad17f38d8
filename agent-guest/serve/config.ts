/**
 * /etc/vmspan/agent-guest.toml: what a host may ask of this guest. Written by the guest's owner and
 * never by a host; options on the command line overrule it.
 *
 *   sinks = ["/dev/virtio-ports/org.qemu.perf0"]
 *   max-cpu = "2%"
 *   max-rate = "50MB/s,200k/s"
 *   max-events = 64
 *   max-ring = "4MB"
 *   allow = ["irq:*", "sched:*"]
 *   deny = ["sched:sched_stat_*"]
 *   allow-probes = false
 *   grace = "10s"
 */
import { readFileSync } from "node:fs";
import { parse, TomlError } from "smol-toml";
import * as v from "valibot";
import { UsageError } from "../../shared/cli/failure.ts";
import {
  parseCpuShare,
  parseEventsMax,
  parseGraceMs,
  parsePatterns,
  parseRate,
  parseRingBytes,
} from "./limit_values.ts";
import { LIMITS_DEFAULT, type Limits, NO_RATE_LIMITS, type RateLimits } from "./limits.ts";

export const CONFIG_PATH = "/etc/vmspan/agent-guest.toml";
/** A longer file is none of ours. */
const CONFIG_BYTES_MAX = 256 * 1024;

const SCHEMA = v.strictObject({
  sinks: v.optional(v.pipe(v.array(v.string()), v.minLength(1, "none, and no host could come"))),
  "max-cpu": v.optional(v.string()),
  "max-rate": v.optional(v.string()),
  "max-events": v.optional(v.union([v.number(), v.string()])),
  "max-ring": v.optional(v.string()),
  allow: v.optional(v.array(v.string())),
  deny: v.optional(v.array(v.string())),
  "allow-probes": v.optional(v.boolean()),
  grace: v.optional(v.string()),
});

/** What the file and the options can say, in the file's own words. */
export type LimitSettings = v.InferOutput<typeof SCHEMA>;

/** The settings in the text of a file. Throws UsageError that names `path` and the line. */
export function parseConfig(text: string, path: string): LimitSettings {
  let document: unknown;
  try {
    document = parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const why = error.message.split("\n")[0]!.replace(/^Invalid TOML document: /, "");
    throw new UsageError(`Cannot read "${path}": line ${error.line}: ${why}`);
  }
  const result = v.safeParse(SCHEMA, document);
  if (result.success) return result.output;
  const [issue] = result.issues;
  const key = v.getDotPath(issue) ?? "";
  const isUnknown = issue.type === "strict_object";
  throw new UsageError(
    `Cannot use "${path}": ${key}: ${isUnknown ? "no such setting" : issue.message}`,
    `it may have: ${Object.keys(SCHEMA.entries).join(" ")}`,
  );
}

/** Reads `path`; without one, the usual place, where it may be missing. */
export function readConfig(path: string | undefined): LimitSettings {
  const place = path ?? CONFIG_PATH;
  let text: string;
  try {
    text = readFileSync(place, "utf8");
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (path === undefined && (code === "ENOENT" || code === "ENOTDIR")) return {};
    throw new UsageError(`Cannot read "${place}": ${code ?? (error as Error).message}`);
  }
  if (text.length > CONFIG_BYTES_MAX) {
    throw new UsageError(`Cannot read "${place}": over ${CONFIG_BYTES_MAX} bytes`);
  }
  return parseConfig(text, place);
}

/** What --max-cpu and --max-rate say. Throws UsageError that names the option. */
export function ratesOf(options: {
  readonly maxCpu?: string;
  readonly maxRate?: string;
}): RateLimits {
  const { maxCpu, maxRate } = options;
  return {
    ...NO_RATE_LIMITS,
    ...(maxRate === undefined ? {} : parseRate("max-rate", maxRate)),
    ...(maxCpu === undefined ? {} : { cpuShareMax: parseCpuShare("max-cpu", maxCpu) }),
  };
}

/** The limits that the settings make. Throws UsageError that names the setting. */
export function limitsOf(settings: LimitSettings): Limits {
  const { allow, deny, grace } = settings;
  const cpu = settings["max-cpu"];
  const rate = settings["max-rate"];
  const events = settings["max-events"];
  const ring = settings["max-ring"];
  return {
    eventsMax:
      events === undefined ? LIMITS_DEFAULT.eventsMax : parseEventsMax("max-events", `${events}`),
    ringBytesMax:
      ring === undefined ? LIMITS_DEFAULT.ringBytesMax : parseRingBytes("max-ring", ring),
    allow: allow?.flatMap((text) => parsePatterns("allow", text)) ?? LIMITS_DEFAULT.allow,
    deny: deny?.flatMap((text) => parsePatterns("deny", text)) ?? LIMITS_DEFAULT.deny,
    allowsProbes: settings["allow-probes"] ?? LIMITS_DEFAULT.allowsProbes,
    graceMs: grace === undefined ? LIMITS_DEFAULT.graceMs : parseGraceMs("grace", grace),
    rates: ratesOf({
      ...(cpu === undefined ? {} : { maxCpu: cpu }),
      ...(rate === undefined ? {} : { maxRate: rate }),
    }),
  };
}
