/**
 * The command line of `agent-host clock`:
 *
 *   agent-host clock 9900 unix:/run/x.sock          until both have settled
 *   agent-host clock --pull 9900 --watch --json     each second, until Ctrl-C
 */
import process from "node:process";
import { isatty } from "node:tty";
import type { Command } from "commander";
import type { StopMeans } from "../../shared/cli/agent.ts";
import { UsageError } from "../../shared/cli/failure.ts";
import { collect } from "../../shared/cli/option.ts";
import { confine } from "../../shared/cli/privileges.ts";
import { VERSION } from "../../shared/cli/version.ts";
import { parsePullTarget } from "../link/pull_target.ts";
import { clockCapabilities } from "../privileges.ts";
import type { ClockOrder } from "../protocol.ts";
import { canRedraw } from "./clock_screen.ts";

/** Starts the engine's Worker with an order. */
type EngineStarter = (orderOf: (stop: StopMeans) => ClockOrder, isQuiet: boolean) => void;

interface ClockOptions {
  readonly pull: readonly string[];
  readonly watch?: string | true;
  readonly for?: string;
  readonly tscOffset?: string;
  readonly vm?: string;
  readonly json?: true;
  readonly keepPrivileges?: true;
  readonly quiet?: true;
}

/** Less than the port of any channel, so that `--watch 9900` is not taken for seconds. */
const WATCH_SECONDS_MAX = 1000;
/** A month. */
const FOR_SECONDS_MAX = 2_592_000;

/** `--watch SECONDS`, `--for SECONDS`: gives milliseconds. */
function parseSeconds(option: string, text: string, max: number, hint?: string): number {
  const seconds = /^\d+(\.\d+)?s?$/.test(text) ? Number.parseFloat(text) : Number.NaN;
  if (seconds >= 0.1 && seconds <= max) return seconds * 1000;
  throw new UsageError(`Cannot use ${option} ${text}: wants seconds, from 0.1 to ${max}`, hint);
}

/** Milliseconds from picture to picture; 0 without --watch. */
function parseWatch(watch: string | true | undefined): number {
  if (watch === undefined) return 0;
  if (watch === true) return 1000;
  const hint = "a source stands before it: agent-host clock 9900 --watch";
  return parseSeconds("--watch", watch, WATCH_SECONDS_MAX, hint);
}

function runClock(
  positional: readonly string[],
  options: ClockOptions,
  startEngine: EngineStarter,
): void {
  const { watch, tscOffset, vm } = options;
  const sources = [...positional, ...options.pull];
  for (const source of sources) parsePullTarget(source);
  const settings = {
    command: "clock" as const,
    sources,
    tscOffset,
    vm,
    watchMs: parseWatch(watch),
    forMs: options.for === undefined ? 0 : parseSeconds("--for", options.for, FOR_SECONDS_MAX),
    isJson: options.json === true,
    isTerminal: isatty(1) && canRedraw(process.env.TERM),
    agentVersion: VERSION,
  };
  confine({
    keepAll: options.keepPrivileges === true,
    capabilities: clockCapabilities(sources, tscOffset !== undefined),
  });
  startEngine((stop): ClockOrder => ({ ...settings, ...stop }), options.quiet === true);
}

const CLOCK_HELP = `
SOURCE is what pull= takes: 9900, 10.0.0.1:9900, unix:/run/x.sock, a recording; several may be given.
Without any the host's own clocks are shown.
A channel has settled when one method has been in force for two seconds, round trips have checked
it, and its bound has shrunk by less than a tenth meanwhile. Then the command ends, unless --watch
or --for says otherwise. Ctrl-C shows the last state.
Columns: guest TSC = host TSC * ratio + offset; TSC+- bounds that relation, event+- the time of a
guest's event on the host's time line, its perf clock included.
Exit codes: 0 done, 1 failed, 2 wrong usage, 4 a source refused, ended early or did not answer.`;

/** Adds the command to the program; `startEngine` runs its order. */
export function addClockCommand(program: Command, startEngine: EngineStarter): void {
  program
    .command("clock")
    .description("Show how guests' clocks relate to the host's, and how well that is known.")
    .argument("[SOURCE...]", "channels to guests, as pull= takes them")
    .option("--pull <SOURCE>", "the same as an option, repeatable", collect, [])
    .option("--watch [SECONDS]", "show it again and again, each second unless told")
    .option("--for <SECONDS>", "end after so long, settled or not")
    .option("--tsc-offset <N>", "guest TSC = host TSC + N, instead of finding it out")
    .option("--vm <VM>", "the guest's VM (PID, NAME or UUID), when the channel does not tell")
    .option("--json", "print JSON lines")
    .option("--keep-privileges", "give no capability up; else only those needed are kept")
    .option("-q, --quiet", "print results and errors only")
    .addHelpText("after", CLOCK_HELP)
    .action((sources: readonly string[], options: ClockOptions) =>
      runClock(sources, options, startEngine),
    );
}
