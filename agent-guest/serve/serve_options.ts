/**
 * The options of `agent-guest serve`: the settings of the configuration file, one by one, and where
 * that file is. What is given here overrules the file.
 */
import type { Command } from "commander";
import { UsageError } from "../../shared/cli/failure.ts";
import { collect } from "../../shared/cli/option.ts";
import { type PushTarget, PushTargetError, parsePushTarget } from "../sink/push_target.ts";
import { CONFIG_PATH, type LimitSettings, readConfig } from "./config.ts";

export interface ServeOptions {
  readonly config?: string;
  readonly maxCpu?: string;
  readonly maxRate?: string;
  readonly maxEvents?: string;
  readonly maxRing?: string;
  readonly allow: readonly string[];
  readonly deny: readonly string[];
  readonly allowProbes?: true;
  readonly grace?: string;
  readonly quiet?: true;
  readonly keepPrivileges?: true;
}

export const MAX_CPU_HELP =
  "of one CPU that the agent may use, as 2%; beyond it, it records a part of each second";
export const MAX_RATE_HELP =
  "the same for what it sends: 50MB/s, 200k/s (events), or both by comma";
const SINK_HINT = "a port in /dev/virtio-ports, unix:PATH or [IP:]PORT";

const HELP = `
Sinks (default: /dev/virtio-ports/org.qemu.perf0):
  /dev/virtio-ports/NAME   virtio-serial port
  unix:PATH                unix socket, one host at a time
  [IP:]PORT                tcp, one host at a time; loopback unless IP is given

The host names the events, as in
  agent-host trace -e 'irq:irq_handler_entry/name~"virtio*"/pull=9900/'
and nothing needs to be typed here. What it may ask is limited by these options and by the
configuration file, ${CONFIG_PATH}, which has the same names:
  max-cpu = "2%"
  allow = ["irq:*", "sched:*"]`;

export function addServeOptions(command: Command): Command {
  return command
    .description("Wait for hosts, and push the events that they ask for.")
    .argument("[SINK...]", "where hosts come")
    .option("--config <FILE>", `configuration file, instead of ${CONFIG_PATH}`)
    .option("--max-cpu <SHARE>", MAX_CPU_HELP)
    .option("--max-rate <RATE>", MAX_RATE_HELP)
    .option("--max-events <N>", "events that a host may have open")
    .option("--max-ring <SIZE>", "ring of each CPU that a host may ask for, as 4MB")
    .option("--allow <EVENTS>", "events that a host may open, as 'irq:*,sched:*'", collect, [])
    .option("--deny <EVENTS>", "events that it may not, whatever is allowed", collect, [])
    .option("--allow-probes", "let a host make kprobes and uprobes: they read any memory")
    .option("--grace <TIME>", "keep events so long for a host that vanished (default: 10s)")
    .option("-q, --quiet", "print errors and ledgers only")
    .option("--keep-privileges", "give no capability up; else only those needed are kept")
    .addHelpText("after", HELP);
}

/** Where a host can come. Throws UsageError, PushTargetError. */
export function serveTarget(text: string): PushTarget {
  let target: PushTarget;
  try {
    target = parsePushTarget(text);
  } catch (error) {
    if (!(error instanceof PushTargetError)) throw error;
    throw new UsageError(error.message.replace(/^Cannot push to/, "Cannot serve at"), SINK_HINT);
  }
  if (target.kind !== "file") return target;
  throw new UsageError(`Cannot serve at "${text}": no host can answer there`, SINK_HINT);
}

/** The file's settings, overruled by the options. Throws UsageError. */
export function settingsOf(sinks: readonly string[], options: ServeOptions): LimitSettings {
  const { config, maxCpu, maxRate, maxEvents, maxRing, allow, deny, allowProbes, grace } = options;
  return {
    ...readConfig(config),
    ...(sinks.length === 0 ? {} : { sinks: [...sinks] }),
    ...(maxCpu === undefined ? {} : { "max-cpu": maxCpu }),
    ...(maxRate === undefined ? {} : { "max-rate": maxRate }),
    ...(maxEvents === undefined ? {} : { "max-events": maxEvents }),
    ...(maxRing === undefined ? {} : { "max-ring": maxRing }),
    ...(allow.length === 0 ? {} : { allow: [...allow] }),
    ...(deny.length === 0 ? {} : { deny: [...deny] }),
    ...(allowProbes === true ? { "allow-probes": true } : {}),
    ...(grace === undefined ? {} : { grace }),
  };
}
