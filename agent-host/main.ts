/**
 * agent-host: pulls guest events, samples host events, puts both on one time line and measures
 * between them. This file is the command line; the work is done by the engine in a Worker.
 */
import process from "node:process";
import type { Command } from "commander";
import {
  printStatus,
  runCommandLine,
  type StopMeans,
  superviseWorker,
} from "../shared/cli/agent.ts";
import { COMMON_CHECKS, runDoctor } from "../shared/cli/doctor.ts";
import { type ExitCode, UsageError } from "../shared/cli/failure.ts";
import {
  addListCommand,
  type ListCommandOptions,
  listLocal,
  printListing,
} from "../shared/cli/list.ts";
import {
  collect,
  parseCallGraph,
  parseCount,
  parseCpuOption,
  parseDurationNs,
  parseRingPages,
  parseTaskId,
  RING_PAGES_DEFAULT,
} from "../shared/cli/option.ts";
import { checkStdout } from "../shared/cli/output.ts";
import { confine } from "../shared/cli/privileges.ts";
import { newProgram } from "../shared/cli/program.ts";
import { VERSION } from "../shared/cli/version.ts";
import { CAP_DAC_READ_SEARCH } from "../shared/sys/capability.ts";
import { addClockCommand } from "./clock/clock_command.ts";
import { parseDetail } from "./detail_option.ts";
import { HOST_CHECKS } from "./doctor.ts";
import { parseHostEvents, parsePullTarget } from "./link/pull_target.ts";
import { sourceEvents } from "./list_source.ts";
import { hostCapabilities } from "./privileges.ts";
import type { ClockOrder, EngineCommand, EngineOrder } from "./protocol.ts";

const PROGRAM = "agent-host";

interface Options {
  readonly event: readonly string[];
  readonly key?: string;
  readonly cpus?: string;
  readonly pid?: string;
  readonly tid?: string;
  readonly mmapPages: string;
  readonly callGraph?: string | true;
  readonly tsc?: true;
  readonly tscOffset?: string;
  readonly vm?: string;
  readonly trustPairs?: true;
  readonly interval?: string;
  readonly exitN?: string;
  readonly than?: string;
  readonly onlyThan?: true;
  readonly dumpOnThan?: string;
  readonly detail?: string | true;
  readonly perins?: true;
  readonly cycle?: true;
  readonly json?: true;
  readonly quiet?: true;
  readonly resume?: string;
  readonly keepPrivileges?: true;
}

/** Finds mistakes in the command line before anything is opened. */
function checkEvents(command: EngineCommand, texts: readonly string[]): void {
  if (texts.length === 0) {
    throw new UsageError(`Cannot ${command}: no event given`, "-e SYSTEM:NAME[/FILTER/ATTR/...]");
  }
  for (const spec of texts.flatMap((text) => parseHostEvents(text))) {
    const { push, pull } = spec.attributes;
    if (push !== undefined) {
      throw new UsageError(
        `Cannot use "${spec.text}": push= is agent-guest's, a host pulls`,
        "pull=PORT, pull=IP:PORT, pull=unix:PATH or pull=FILE",
      );
    }
    if (pull !== undefined) parsePullTarget(pull);
  }
}

function checkStages(options: Options): void {
  const isStage = (text: string): boolean =>
    parseHostEvents(text).some(({ attributes }) => attributes.untraced !== true);
  const stages = options.event.filter(isStage).length;
  if (stages >= (options.cycle ? 1 : 2)) return;
  if (options.event.length >= 2) {
    throw new UsageError(
      `Cannot multi-trace: of ${options.event.length} -e only ${stages} has events to pair, ` +
        "those of the others are untraced",
      "untraced events are not paired: --detail shows them between those of a pair",
    );
  }
  throw new UsageError(
    "Cannot multi-trace: one -e is one stage, and a latency lies between two",
    "give a second -e, or --cycle to measure from each event to the next",
  );
}

/** -C, -p and -t say what is sampled here: with all events pulled they would do nothing. */
function checkSelection({ event, cpus, pid, tid }: Options): void {
  const specs = event.flatMap((text) => parseHostEvents(text));
  const given = [
    ["-C", cpus],
    ["-p", pid],
    ["-t", tid],
  ].find(([, value]) => value !== undefined);
  if (given === undefined || specs.some(({ attributes }) => attributes.pull === undefined)) return;
  throw new UsageError(
    `Cannot use ${given[0]}: it selects what this machine samples, and all events are pulled`,
    given[0] === "-C" ? "cpus=0-3 in -e is about the guest's CPUs" : "/common_pid==N/ in -e",
  );
}

/** Options that would do nothing, or only say so once everything is open. */
function checkThreshold({ than, onlyThan, detail }: Options): void {
  if (typeof detail === "string") parseDetail(detail, 1);
  if (than !== undefined || (onlyThan !== true && detail === undefined)) return;
  const option = onlyThan === true ? "--only-than" : "--detail";
  throw new UsageError(
    `Cannot use ${option}: it is about pairs that took too long, and nothing says how long`,
    "--than 1ms",
  );
}

/** The -e that takes all events of a flight recorder, and pairs none. */
function recorderEvents(source: string): string {
  parsePullTarget(source);
  return `*:*//pull="${source.replace(/["\\]/g, "\\$&")}"/untraced/`;
}

/** `agent-host dump`: all that the flight recorder holds. */
function dump(options: Options & { readonly pull?: string }): void {
  if (options.pull === undefined) {
    throw new UsageError("Cannot dump: no flight recorder is named", "--pull 9900");
  }
  if (parsePullTarget(options.pull).kind === "file") {
    throw new UsageError(
      `Cannot dump "${options.pull}": a recording holds what was dumped already`,
      `agent-host trace -e 'SYSTEM:NAME//pull="${options.pull}"/'`,
    );
  }
  run("dump", { ...options, event: [recorderEvents(options.pull)] });
}

function run(command: EngineCommand, typed: Options): void {
  checkEvents(command, typed.event);
  const options = withRecorder(typed);
  if (command === "multi-trace") checkStages(options);
  checkThreshold(options);
  checkSelection(options);
  const { pid, tid, interval, exitN, than, detail } = options;
  const processId = parseTaskId("-p", pid);
  const threadId = parseTaskId("-t", tid);
  if (processId > 0 && threadId > 0) {
    throw new UsageError("Cannot use -p and -t together: each says whom to sample", "give one");
  }
  const settings = {
    command,
    events: options.event,
    key: options.key,
    cpus: parseCpuOption(options.cpus),
    pid: Math.max(processId, threadId),
    wholeProcess: processId > 0,
    ringBytes: parseRingPages(options.mmapPages),
    callChains: parseCallGraph(options.callGraph),
    isTscDisplay: options.tsc === true,
    tscOffset: options.tscOffset,
    vm: options.vm,
    trustPairs: options.trustPairs === true,
    intervalMs: interval === undefined ? 0 : parseCount("-i", interval),
    eventsMax: exitN === undefined ? 0 : parseCount("-N", exitN),
    thanNs: than === undefined ? 0 : parseDurationNs("--than", than),
    onlyThan: options.onlyThan === true,
    dumpsOnThan: options.dumpOnThan !== undefined,
    detail: detail === true ? "" : detail,
    isPerInstance: options.perins === true,
    isCycle: options.cycle === true,
    isJson: options.json === true,
    resumePath: options.resume,
    agentVersion: VERSION,
  };
  confine({
    keepAll: options.keepPrivileges === true,
    capabilities: hostCapabilities(
      options.event,
      options.tscOffset !== undefined,
      settings.callChains,
    ),
  });
  startEngine((stop): EngineOrder => ({ ...settings, ...stop }), options.quiet === true);
}

/** Starts the engine's Worker; its main thread keeps signals. */
function startEngine(
  orderOf: (stop: StopMeans) => EngineOrder | ClockOrder,
  isQuiet: boolean,
): void {
  const worker = new Worker(new URL("./engine_worker.ts", import.meta.url), { type: "module" });
  const onDone = ({ exitCode }: { exitCode: ExitCode }): ExitCode => exitCode;
  superviseWorker(PROGRAM, worker, orderOf, isQuiet, onDone);
}

/** With the events of the flight recorder that --dump-on-than names. */
function withRecorder(options: Options): Options {
  const { dumpOnThan, than, event } = options;
  if (dumpOnThan === undefined) return options;
  if (than === undefined) {
    throw new UsageError(
      "Cannot use --dump-on-than: nothing says how long is too long",
      "--than 1ms",
    );
  }
  return { ...options, event: [...event, recorderEvents(dumpOnThan)] };
}

function addCommonOptions(command: Command): Command {
  return command
    .option("-e, --event <EVENT>", "SYSTEM:NAME[/FILTER/ATTR/...], repeatable", collect, [])
    .option("-C, --cpus <LIST>", "sample these host CPUs only, as 0-3,8")
    .option("-p, --pid <PID>", "sample this host process only")
    .option("-t, --tid <TID>", "sample this host thread only")
    .option("-m, --mmap-pages <PAGES>", "ring of each CPU in 4 KiB pages", `${RING_PAGES_DEFAULT}`)
    .option("-g, --call-graph [fp]", "sample the call chain of every host event, as stack does")
    .option("--tsc", "show guest TSC cycles instead of host time")
    .option("--tsc-offset <N>", "guest TSC = host TSC + N, instead of finding it out")
    .option("--vm <VM>", "the guest's VM (PID, NAME or UUID), when the channel does not tell")
    .option("-N, --exit-N <N>", "stop after N events")
    .option("--order", "accepted for perf-prof's sake: events are always in time order")
    .option("--json", "print JSON lines")
    .option("--keep-privileges", "give no capability up; else only those needed are kept")
    .option("-q, --quiet", "print results and errors only");
}

const EVENT_HELP = `
Events, -e 'SYSTEM:NAME/FILTER/ATTRIBUTE/...', several by comma:
  -e kvm:kvm_exit                       host tracepoint; wildcards in either part
  -e 'irq:*//pull=9900/'                guest events from QEMU's tcp chardev on port 9900
  -e 'sched:sched_switch//pull=unix:/run/x.sock/'   ... from a unix socket
  -e 'irq:irq_handler_entry//pull="/tmp/events.vms"/'   ... from a file
  -e 'uprobe:FUNC@"/path" ARG=%di:u64/FILTER/key=ARG/'  probe, with tracefs fetch arguments;
                                        uretprobe: kprobe:FUNC kretprobe:FUNC
Filters go to the kernel; what it refuses runs here, as a C expression.
Attributes:
  pull=SOURCE key=EXPR printkey=EXPR role=EXPR alias=NAME cpus=LIST untraced trigger
  stack[=kernel|user] max-stack=N
Expressions are C on 64 bits over the event's fields (list -v shows them) and
  _cpu _pid _tid _vcpu _vm; text by == != and glob ~; functions ksymbol comm_get syscall_name
  exit_reason_str ntohl ntohs strncmp printf. Quotes and parentheses protect / and ,
Exit codes: 0 done, 1 failed, 2 wrong usage, 3 --than crossed, 4 a source refused, ended early or
broke its word, 70 a bug of ours.`;

const LIST_HELP = `
  agent-host list kvm                    events whose name holds "kvm"
  agent-host list 'sched:sched_wak*'     those that the same -e would select
  agent-host list -v irq:irq_handler_entry
  agent-host list --pull 9900            what the guest behind port 9900 sends`;

function list(patterns: readonly string[], options: ListCommandOptions & { pull?: string }): void {
  confine({ keepAll: false, capabilities: [CAP_DAC_READ_SEARCH] });
  if (options.pull === undefined) {
    listLocal(patterns, options);
    return;
  }
  printListing(sourceEvents(options.pull, VERSION, printStatus), patterns, options);
}

function buildProgram(): Command {
  const program = newProgram(
    PROGRAM,
    "Measures latency across the boundary between KVM guests and their host.",
  );
  addCommonOptions(program.command("trace"))
    .description("Print events of the host and of guests in time order.")
    .option("--resume <FILE>", "go on where a killed run stood: nothing of a guest lost or twice")
    .addHelpText("after", EVENT_HELP)
    .action((options: Options) => run("trace", options));
  addCommonOptions(program.command("multi-trace"))
    .description("Measure from each -e to the next, pairing events with equal keys.")
    .option("-k, --key <EXPR>", "key of events that have no key= of their own")
    .option("-i, --interval <MS>", "print a table every MS milliseconds of event time")
    .option("--than <TIME>", "print pairs that took longer: 1ms, 50us, 800ns")
    .option("--only-than", "print a table only when --than selected a pair")
    .option("--dump-on-than <SOURCE>", "have the flight recorder at SOURCE dump then, and print it")
    .option(
      "--detail [WHAT]",
      "print the two events of a pair and what lies between: samecpu[1|2] samepid sametid samekey " +
        "(as the first, the second event), -TIME +TIME (before, after it), hide<TIME (gaps)",
    )
    .option("--perins", "one row for each key")
    .option("--trust-pairs", "take each pair for cause and effect: tightens bounds of round trips")
    .option("--cycle", "the last stage is also the first of the next round")
    .addHelpText("after", EVENT_HELP)
    .action((options: Options) => run("multi-trace", options));
  program
    .command("dump")
    .description("Print what the flight recorder of a guest holds, in time order.")
    .option("--pull <SOURCE>", "where agent-guest trace --overwrite pushes to, as in pull=")
    .option("--tsc", "show guest TSC cycles instead of host time")
    .option("--tsc-offset <N>", "guest TSC = host TSC + N, instead of finding it out")
    .option("--vm <VM>", "the guest's VM (PID, NAME or UUID), when the channel does not tell")
    .option("--json", "print JSON lines")
    .option("--keep-privileges", "give no capability up; else only those needed are kept")
    .option("-q, --quiet", "print results and errors only")
    .action((options: Options & { readonly pull?: string }) =>
      dump({ ...options, mmapPages: `${RING_PAGES_DEFAULT}` }),
    );
  addListCommand(program)
    .option("--pull <SOURCE>", "the events of a guest's stream or of a recording, as in pull=")
    .addHelpText("after", LIST_HELP)
    .action(list);
  addClockCommand(program, startEngine);
  program
    .command("doctor")
    .description("Tell what works on this machine, and what to do about the rest.")
    .action(() => process.exit(runDoctor(PROGRAM, [...COMMON_CHECKS, ...HOST_CHECKS])));
  return program;
}

await runCommandLine(PROGRAM, buildProgram(), checkStdout);
