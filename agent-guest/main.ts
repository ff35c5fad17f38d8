/**
 * agent-guest: samples kernel events in a virtual machine and pushes them to the host.
 * This file is the command line: options, signals, exit codes. The work is done by the sampler in a
 * Worker (sampler.ts).
 */
import process from "node:process";
import type { Command } from "commander";
import { exitWith, runCommandLine, type StopMeans, superviseWorker } from "../shared/cli/agent.ts";
import { COMMON_CHECKS, runDoctor } from "../shared/cli/doctor.ts";
import { EXIT, type ExitCode, UsageError } from "../shared/cli/failure.ts";
import { addListCommand, listLocal } from "../shared/cli/list.ts";
import {
  collect,
  parseCallGraph,
  parseCpuOption,
  parseRingPages,
  parseTaskId,
  RING_PAGES_DEFAULT,
} from "../shared/cli/option.ts";
import { confine } from "../shared/cli/privileges.ts";
import { newProgram } from "../shared/cli/program.ts";
import { VERSION } from "../shared/cli/version.ts";
import { type EventSpec, parseEventSpecs } from "../shared/event/spec.ts";
import { GUEST_CHECKS } from "./doctor.ts";
import { guestCapabilities, openForeignRecordings, serveCapabilities } from "./privileges.ts";
import type { LedgerReport, SamplerOrder, SamplerResult } from "./protocol.ts";
import { limitsOf, ratesOf } from "./serve/config.ts";
import {
  addServeOptions,
  MAX_CPU_HELP,
  MAX_RATE_HELP,
  type ServeOptions,
  serveTarget,
  settingsOf,
} from "./serve/serve_options.ts";
import { parsePushTarget, pushOfEach } from "./sink/push_target.ts";

const PROGRAM = "agent-guest";
const DEFAULT_PORT = "/dev/virtio-ports/org.qemu.perf0";

interface TraceOptions {
  readonly event: readonly string[];
  readonly tsc?: true;
  readonly cpus?: string;
  readonly pid?: string;
  readonly tid?: string;
  readonly mmapPages: string;
  readonly callGraph?: string | true;
  readonly overwrite?: true;
  readonly quiet?: true;
  readonly keepPrivileges?: true;
  readonly maxCpu?: string;
  readonly maxRate?: string;
}

/** Finds mistakes in the command line before anything is opened. */
function checkEvents(texts: readonly string[]): EventSpec[] {
  const specs = texts.flatMap((text) => parseEventSpecs(text));
  for (const { text, attributes } of specs) {
    if (attributes.pull === undefined) continue;
    throw new UsageError(
      `Cannot use "${text}": a guest pushes, and pull= is agent-host's`,
      "push=/dev/virtio-ports/NAME, push=[IP:]PORT, push=unix:PATH or push=FILE",
    );
  }
  for (const push of pushOfEach(specs)) parsePushTarget(push);
  return specs;
}

function printLedger({ name, rows }: LedgerReport): void {
  const sum = (of: (row: (typeof rows)[number]) => number): number =>
    rows.reduce((total, row) => total + of(row), 0);
  if (rows.length === 0) return;
  const produced = sum((row) => row.produced);
  const lost = sum((row) => row.lostKernel);
  const dropped = sum((row) => row.dropped);
  process.stderr.write(
    `${name}: produced ${produced}, lost by the kernel ${lost}, dropped ${dropped}, ` +
      `forwarded ${produced - lost - dropped}\n`,
  );
  for (const row of rows) {
    if (row.lostKernel + row.dropped === 0) continue;
    const places = row.places === "" ? "" : `, ${row.places}`;
    process.stderr.write(`  CPU ${row.cpu}: lost by the kernel ${row.lostKernel}${places}\n`);
  }
}

function onDone({ ledgers, failure }: SamplerResult): ExitCode {
  ledgers.forEach(printLedger);
  if (failure !== undefined) exitWith(PROGRAM, failure);
  return EXIT.DONE;
}

function startSampler(order: Omit<SamplerOrder, keyof StopMeans>, isQuiet: boolean): void {
  const worker = new Worker(new URL("./sampler_worker.ts", import.meta.url), { type: "module" });
  const orderOf = (stop: StopMeans): SamplerOrder => ({ ...order, ...stop });
  superviseWorker(PROGRAM, worker, orderOf, isQuiet, onDone, order.isOverwrite);
}

/** A flight recorder uses nothing up that could be limited: its rings bound it. */
function checkRates({ overwrite, maxCpu, maxRate }: TraceOptions): void {
  if (overwrite !== true || (maxCpu ?? maxRate) === undefined) return;
  throw new UsageError(
    "Cannot use --max-cpu and --max-rate with --overwrite: nothing runs between dumps",
    "-m bounds what a dump holds, and there is one a second at most",
  );
}

/** The attribute trigger is of use to a flight recorder only. */
function checkTriggers(specs: readonly EventSpec[], isOverwrite: boolean): void {
  const trigger = specs.find(({ attributes }) => attributes.trigger === true);
  if (isOverwrite || trigger === undefined) return;
  throw new UsageError(
    `Cannot use "${trigger.text}": trigger dumps a flight recorder, and this is none`,
    "--overwrite",
  );
}

function trace(options: TraceOptions): void {
  const specs = checkEvents(options.event);
  if (options.event.length === 0) {
    throw new UsageError("Cannot trace: no event given", "-e SYSTEM:NAME/FILTER/push=SINK/");
  }
  checkTriggers(specs, options.overwrite === true);
  checkRates(options);
  const processId = parseTaskId("-p", options.pid);
  const threadId = parseTaskId("-t", options.tid);
  if (processId > 0 && threadId > 0) {
    throw new UsageError("Cannot use -p with -t: wants one of them");
  }
  const cpus = parseCpuOption(options.cpus);
  const ringBytes = parseRingPages(options.mmapPages);
  const callChains = parseCallGraph(options.callGraph);
  const handed = confine({
    keepAll: options.keepPrivileges === true,
    capabilities: guestCapabilities(specs, callChains),
    open: () => openForeignRecordings(specs),
  });
  const order = {
    events: options.event,
    cpus,
    pid: Math.max(processId, threadId),
    wholeProcess: processId > 0,
    ringBytes,
    callChains,
    isTscDisplay: options.tsc === true,
    isOverwrite: options.overwrite === true,
    recordings: handed,
    agentVersion: VERSION,
    rates: ratesOf(options),
    serve: undefined,
  };
  startSampler(order, options.quiet === true);
}

function serve(sinks: readonly string[], options: ServeOptions): void {
  const settings = settingsOf(sinks, options);
  const limits = limitsOf(settings);
  const places = settings.sinks ?? [DEFAULT_PORT];
  const targets = places.map(serveTarget);
  confine({
    keepAll: options.keepPrivileges === true,
    capabilities: serveCapabilities(targets, limits.allowsProbes),
    open: () => new Map(),
  });
  const order = {
    events: [],
    cpus: undefined,
    pid: -1,
    wholeProcess: false,
    ringBytes: 0,
    callChains: false,
    isTscDisplay: false,
    isOverwrite: false,
    recordings: new Map(),
    agentVersion: VERSION,
    rates: limits.rates,
    serve: { sinks: targets, limits },
  };
  startSampler(order, options.quiet === true);
}

function buildProgram(): Command {
  const program = newProgram(
    PROGRAM,
    "Samples kernel events in a virtual machine and pushes them to agent-host.",
  );
  program
    .command("trace")
    .description(
      "Push events until stopped. Prints the ledger (produced, delivered, lost) of each receiver " +
        "that is there at the end.",
    )
    .option("-e, --event <EVENT>", "SYSTEM:NAME[/FILTER/ATTR/...], repeatable", collect, [])
    .option("--tsc", "let the host show these events at guest TSC time")
    .option("-C, --cpus <LIST>", "sample these CPUs only, as 0-3,8")
    .option("-p, --pid <PID>", "sample this process only, with all its threads, until it ends")
    .option("-t, --tid <TID>", "sample this thread only, until it ends")
    .option("-m, --mmap-pages <PAGES>", "ring of each CPU in 4 KiB pages", `${RING_PAGES_DEFAULT}`)
    .option("-g, --call-graph [fp]", "sample the call chain of every event, as attribute stack")
    .option("--max-cpu <SHARE>", MAX_CPU_HELP)
    .option("--max-rate <RATE>", MAX_RATE_HELP)
    .option("--overwrite", "flight recorder: keep the newest events, send them when triggered")
    .option("-q, --quiet", "print errors and the ledger only")
    .option("--keep-privileges", "give no capability up; else only those needed are kept")
    .addHelpText(
      "after",
      `
Events, -e 'SYSTEM:NAME/FILTER/ATTRIBUTE/...', several by comma, wildcards in either part; probes:
  kprobe:FUNC kretprobe:FUNC uprobe:FUNC@"FILE" uretprobe:FUNC@"FILE", with tracefs fetch arguments.
Filters are the kernel's; one that it refuses is run by the host, as a C expression.
Attributes: push=SINK alias=NAME cpus=LIST stack[=kernel|user] max-stack=N; keys are the host's.

With --overwrite the rings keep what -m has room for, and nothing is sent before a dump is asked for:
by agent-host dump --pull SOURCE, by SIGUSR2 to this process, or by an event with attribute trigger.

Sinks (attribute push=):
  push="/dev/virtio-ports/NAME"   virtio-serial port; waits for the host, resumes when it returns
  push=[IP:]PORT                  tcp, broadcast to every client; loopback unless IP is given
  push=unix:PATH                  unix socket, one host at a time, acknowledged
  push=FILE                       file, with checksums

Example:
  agent-guest trace -e 'irq:irq_handler_entry/name~"virtio0-input*"/push="/dev/virtio-ports/org.qemu.perf0"/' --tsc`,
    )
    .action(trace);
  addListCommand(program).action(listLocal);
  addServeOptions(program.command("serve")).action(serve);
  program
    .command("doctor")
    .description("Tell what works on this machine, and what to do about the rest.")
    .action(() => process.exit(runDoctor(PROGRAM, [...COMMON_CHECKS, ...GUEST_CHECKS])));
  return program;
}

await runCommandLine(PROGRAM, buildProgram());
