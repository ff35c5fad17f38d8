/**
 * What the main threads of both agents share: start the Worker with its order, pass signals on to
 * it, print what it says, end with its exit code.
 */
import process from "node:process";
import type { Command } from "commander";
import { CommanderError } from "commander";
import { meantEvents } from "../event/meant_events.ts";
import { EventSyntaxError } from "../event/spec.ts";
import { openEventFd, wakeEventFd } from "../sys/fd.ts";
import { Tracefs, TracefsError } from "../tracefs/tracefs.ts";
import {
  EXIT,
  type ExitCode,
  type Failure,
  failureOf,
  formatFailure,
  toLines,
  UsageError,
} from "./failure.ts";

/** What a Worker may say to its main thread. */
export type WorkerNews<Done> =
  | { readonly kind: "status"; readonly text: string }
  | ({ readonly kind: "done" } & Done)
  | { readonly kind: "failed"; readonly failure: Failure };

/** The means to stop a worker: a flag that it reads, and a descriptor that it polls. */
export interface StopMeans {
  /** Int32Array of two: not zero means stop; how often SIGUSR2 came. */
  readonly stopFlag: SharedArrayBuffer;
  readonly eventFdNumber: number;
}

/**
 * Signals this close to the first one are the same request: timeout(1) signals the process and then
 * its group, and the second would cost the user the results.
 */
const SAME_REQUEST_MS = 300;

/** Prints a failure and exits with its code. */
export function exitWith(program: string, failure: Failure): never {
  process.stderr.write(formatFailure(program, failure));
  process.exit(failure.exitCode);
}

/** Prints what an agent says of its work: one line, or some that are all its own. */
export function printStatus(text: string): void {
  process.stderr.write(`${toLines(text)}\n`);
}

/**
 * Runs `worker` until it ends. The first signal asks it to stop, a later one does not ask. One that
 * `isAskable` is told of SIGUSR2, which would end it otherwise.
 */
export function superviseWorker<Order extends StopMeans, Done>(
  program: string,
  worker: Worker,
  orderOf: (stop: StopMeans) => Order,
  isQuiet: boolean,
  onDone: (done: Done) => ExitCode,
  isAskable = false,
): void {
  const eventFd = openEventFd();
  const stopFlag = new SharedArrayBuffer(8);
  const order = orderOf({ stopFlag, eventFdNumber: eventFd.number });
  let askedMs: number | undefined;
  const stop = (): void => {
    const nowMs = performance.now();
    askedMs ??= nowMs;
    if (nowMs - askedMs > SAME_REQUEST_MS) process.exit(EXIT.FAILED);
    Atomics.store(new Int32Array(stopFlag), 0, 1);
    wakeEventFd(eventFd.number);
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) process.on(signal, stop);
  if (isAskable) {
    process.on("SIGUSR2", () => {
      Atomics.add(new Int32Array(stopFlag), 1, 1);
      wakeEventFd(eventFd.number);
    });
  }
  worker.onerror = (event) => {
    const { error, message } = event as ErrorEvent;
    exitWith(program, failureOf(error ?? new Error(`Worker failed: ${message}`)));
  };
  worker.onmessage = ({ data }: { data: WorkerNews<Done> }) => {
    if (data.kind === "failed") exitWith(program, data.failure);
    else if (data.kind === "done") process.exit(onDone(data));
    else if (!isQuiet) printStatus(data.text);
  };
  worker.postMessage(order);
}

/** Parses the command line and runs what it says; every mistake in it exits with code 2. */
export async function runCommandLine(
  program: string,
  command: Command,
  checkMachine: () => void = () => {},
): Promise<void> {
  try {
    checkMachine();
    await command.parseAsync(process.argv);
  } catch (error) {
    if (!(error instanceof CommanderError)) {
      const failure = failureOf(error);
      exitWith(program, { ...failure, hint: failure.hint ?? meantHint(error) });
    }
    // Help and version have been printed; anything else is a wrong command line.
    if (error.exitCode === 0) process.exit(EXIT.DONE);
    // No command given: the help has been printed, which says more than a line could.
    if (error.code === "commander.help") process.exit(EXIT.USAGE);
    const message = error.message.replace(/^error: /, "");
    const usage = new UsageError(`Cannot understand the command line: ${message}`);
    const typed = process.argv[2] ?? "";
    const isCommand = command.commands.some((each) => each.name() === typed);
    const help = isCommand ? `${program} ${typed} --help` : `${program} --help`;
    exitWith(program, { ...failureOf(usage), hint: help });
  }
}

/** Events of this machine that a word without a system may mean; undefined where there are none. */
function meantHint(error: unknown): string | undefined {
  if (!(error instanceof EventSyntaxError) || error.word === undefined) return undefined;
  try {
    const meant = meantEvents(error.word, Tracefs.open().find("*:*"));
    return meant.length === 0 ? undefined : `did you mean ${meant.join(" or ")}?`;
  } catch (reason) {
    // Without tracefs nothing can be proposed; the mistake has been found without it.
    if (reason instanceof TracefsError) return undefined;
    throw reason;
  }
}
