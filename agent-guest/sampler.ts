/**
 * The sampler: one loop that blocks in poll() over rings, sinks and the wake-up descriptor, and
 * forwards what came. It runs in a Worker and returns when it is told to stop.
 */
import { failureOf } from "../shared/cli/failure.ts";
import { EventSet } from "../shared/event/event_set.ts";
import { readMachineInfo, selectCpus } from "../shared/event/machine.ts";
import { type ResolvedEvent, resolveEvents } from "../shared/event/resolve.ts";
import { type EventSpec, namesProcessId, parseEventSpecs } from "../shared/event/spec.ts";
import { POLLIN } from "../shared/sys/abi.ts";
import { resetEventFd } from "../shared/sys/fd.ts";
import { Garbage } from "../shared/sys/garbage.ts";
import { PollSet } from "../shared/sys/poll.ts";
import { Tracefs } from "../shared/tracefs/tracefs.ts";
import type { CpuStats } from "../shared/wire/gen/vmspan/v1/channel.ts";
import { Budget, watermarkBytesFor } from "./budget.ts";
import { Capture, FLUSH_MS } from "./capture.ts";
import { FlightCapture } from "./flight/flight_capture.ts";
import { FlightRecorder } from "./flight/recorder.ts";
import type { LedgerReport, LedgerRow, SamplerOrder, SamplerResult } from "./protocol.ts";
import type { ReceiverLedger } from "./receiver.ts";
import { idlePatterns, type Limits } from "./serve/limits.ts";
import { Server } from "./serve/server.ts";
import { BroadcastSink } from "./sink/broadcast_sink.ts";
import { FileSink } from "./sink/file_sink.ts";
import { HostSocketSink } from "./sink/host_socket_sink.ts";
import { PortSink } from "./sink/port_sink.ts";
import { type PushTarget, parsePushTarget, pushOfEach } from "./sink/push_target.ts";
import type { HostSink, Sink, SinkHost } from "./sink/sink.ts";
import { limitedStatus } from "./status_limit.ts";

/** Longest wait of the loop: to look at ports without a host, and at the flag that says stop. */
export const POLL_MS_MAX = FLUSH_MS;
/** The same of flight recorders, which say when they want to be looked at. */
const FLIGHT_POLL_MS_MAX = 10_000;
/** Pause between two rounds of the end, while receivers take what is left. */
const FINISH_POLL_MS = 20;
/** Growth of the process that is worth a collection: some minutes of work. */
const GARBAGE_BYTES = 4 * 1024 * 1024;
/** How long the end waits for receivers to take what the rings hold. */
export const FINISH_MS_MAX = 2000;

function openSink(
  target: PushTarget,
  capture: SinkHost,
  recordings: ReadonlyMap<string, number>,
): Sink {
  switch (target.kind) {
    case "tcp":
      return new BroadcastSink(target, capture);
    case "unix":
      return new HostSocketSink(target, capture);
    case "device":
      return new PortSink(target.path, capture);
    case "file":
      return new FileSink(target.path, capture, recordings.get(target.path));
  }
}

interface SinkOrder {
  readonly target: PushTarget;
  readonly specs: EventSpec[];
}

/** Specs by the sink that they push to, in the order given, however that sink is written. */
function groupByTarget(specs: readonly EventSpec[]): SinkOrder[] {
  const groups = new Map<string, SinkOrder>();
  pushOfEach(specs).forEach((push, i) => {
    const target = parsePushTarget(push);
    const key = JSON.stringify(target);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, { target, specs: [specs[i]!] });
    else group.specs.push(specs[i]!);
  });
  return [...groups.values()];
}

function openCapture(
  target: PushTarget,
  events: readonly ResolvedEvent[],
  cpus: readonly number[],
  order: SamplerOrder,
  onStatus: (text: string) => void,
): Capture | FlightCapture {
  const set = new EventSet(events, {
    cpus,
    ringBytes: order.ringBytes,
    watermarkBytes: watermarkBytesFor(order.ringBytes, order.rates),
    threadIds: order.events.some(namesProcessId),
    taskNames: true,
    pid: order.pid,
    wholeProcess: order.wholeProcess,
    callChains: order.callChains,
    isOverwrite: order.isOverwrite,
  });
  for (const text of set.filterHints("agent-host")) onStatus(text);
  const options = {
    machine: readMachineInfo(),
    isTscDisplay: order.isTscDisplay,
    isTwoWay: target.kind === "unix" || target.kind === "device",
    isServing: false,
    agentVersion: order.agentVersion,
    onStatus: limitedStatus(onStatus),
  };
  const capture = order.isOverwrite
    ? new FlightCapture(openRecorder(set), options)
    : new Capture(set, options);
  try {
    capture.attachSink(openSink(target, capture, order.recordings));
  } catch (error) {
    capture.close();
    throw error;
  }
  return capture;
}

function openRecorder(set: EventSet): FlightRecorder {
  try {
    return new FlightRecorder(set);
  } catch (error) {
    set.close();
    throw error;
  }
}

/** A sink for hosts that ask, by the same names as push=. Throws PushTargetError, SysError. */
function openHostSink(target: PushTarget, server: Server): HostSink {
  if (target.kind === "device") return new PortSink(target.path, server);
  if (target.kind !== "file") return new HostSocketSink(target, server);
  throw new RangeError(`Cannot serve at "${target.path}": no host can answer there`);
}

function openServer(
  target: PushTarget,
  limits: Limits,
  agentVersion: string,
  onStatus: (text: string) => void,
): Server {
  const server = new Server({ limits, agentVersion, onStatus: limitedStatus(onStatus) });
  server.attachSink(openHostSink(target, server));
  onStatus(`Waiting for a host at ${server.sink.name}`);
  return server;
}

/** What the loop serves: a sink with its events. */
interface Stream {
  readonly sink: Sink;
  readonly hasEnded: boolean;
  /** The events that are open; those of a server come and go. */
  readonly capture: Capture | undefined;
  /** Asks for a dump. */
  request?(cause: string): void;
  dueInMs(nowMs: number): number;
  register(poll: PollSet): void;
  pump(poll: PollSet, nowMs: number): void;
  stopEvents(): void;
  finish(exitCode: number): ReceiverLedger[];
  close(): void;
}

function ledgerRow({ cpu, produced, lostKernel, drops }: CpuStats): LedgerRow {
  const dropped = drops.reduce((sum, { events }) => sum + Number(events), 0);
  const places = drops.map(({ place, events }) => `${place}: ${events}`).join(", ");
  return { cpu, produced: Number(produced), lostKernel: Number(lostKernel), dropped, places };
}

export class Sampler {
  readonly #order: SamplerOrder;
  readonly #stop: Int32Array;
  readonly #poll = new PollSet();
  readonly #garbage = new Garbage(GARBAGE_BYTES);
  readonly #streams: Stream[] = [];
  readonly #budget: Budget;
  readonly #pollMsMax: number;
  /** How often a dump was asked for by signal, as far as it was heard. */
  #asked = 0;

  /** Opens everything. Throws typed errors; what was opened is closed then. */
  constructor(order: SamplerOrder, onStatus: (text: string) => void) {
    this.#order = order;
    this.#stop = new Int32Array(order.stopFlag);
    this.#pollMsMax = order.isOverwrite ? FLIGHT_POLL_MS_MAX : POLL_MS_MAX;
    this.#budget = new Budget(order.rates, onStatus);
    try {
      if (order.serve === undefined) this.#openFixed(order, onStatus);
      else {
        const { sinks, limits } = order.serve;
        const idle = idlePatterns(limits, Tracefs.open().find("*:*"));
        for (const text of idle) onStatus(`WARNING: ${text}`);
        for (const target of sinks) {
          this.#streams.push(openServer(target, limits, order.agentVersion, onStatus));
        }
      }
    } catch (error) {
      this.#close();
      throw error;
    }
  }

  /** The events of the command line. */
  #openFixed(order: SamplerOrder, onStatus: (text: string) => void): void {
    const specs = order.events.flatMap((text) => parseEventSpecs(text));
    const tracefs = Tracefs.open();
    const cpus = selectCpus(order.cpus);
    const begun: string[] = [];
    for (const { target, specs: group } of groupByTarget(specs)) {
      const events = resolveEvents(group, tracefs);
      const capture = openCapture(target, events, cpus, order, onStatus);
      this.#streams.push(capture);
      const names = events.map(({ system, name }) => `${system}:${name}`);
      const shown = names.length > 3 ? `${names.length} events` : names.join(", ");
      const what = order.isOverwrite ? "Recording" : "Pushing";
      begun.push(`${what} ${shown} ${order.isOverwrite ? "for" : "to"} ${capture.sink.name}`);
    }
    begun.forEach(onStatus);
  }

  /** Runs until told to stop, or until a sink fails; gives the ledgers in either case. */
  run(): SamplerResult {
    try {
      while (Atomics.load(this.#stop, 0) === 0 && !this.#hasEnded && this.#failure === undefined) {
        this.#round();
      }
      const failure = this.#failure && failureOf(this.#failure);
      return { ledgers: this.#finish(failure === undefined ? 0 : failure.exitCode), failure };
    } finally {
      this.#close();
    }
  }

  /** Why a sink can take no more; the others then end with it. */
  get #failure(): Error | undefined {
    return this.#streams.find(({ sink }) => sink.failure !== undefined)?.sink.failure;
  }

  /** Nothing can come any more: the tasks that were to be sampled have ended. */
  get #hasEnded(): boolean {
    return this.#streams.every(({ hasEnded }) => hasEnded);
  }

  #round(): void {
    const startMs = performance.now();
    const timeoutMs = this.#streams.reduce(
      (least, stream) => Math.min(least, Math.ceil(stream.dueInMs(startMs))),
      Math.min(this.#pollMsMax, Math.ceil(this.#budget.dueInMs(startMs))),
    );
    this.#poll.clear();
    this.#poll.add(this.#order.eventFdNumber, POLLIN);
    for (const stream of this.#streams) stream.register(this.#poll);
    this.#poll.wait(timeoutMs);
    const nowMs = performance.now();
    if (this.#order.isOverwrite) this.#noteSignals();
    for (const stream of this.#streams) stream.pump(this.#poll, nowMs);
    this.#budget.check(nowMs, this.#streams);
    this.#garbage.tick(nowMs);
  }

  /** SIGUSR2 asks every recorder for a dump. */
  #noteSignals(): void {
    if (this.#poll.readyEvents(0) !== 0) resetEventFd(this.#order.eventFdNumber);
    const asked = Atomics.load(this.#stop, 1);
    if (asked === this.#asked) return;
    this.#asked = asked;
    for (const stream of this.#streams) stream.request?.("SIGUSR2");
  }

  /** Stops the events, then gives receivers a moment to take what is left. */
  #finish(exitCode: number): LedgerReport[] {
    for (const stream of this.#streams) stream.stopEvents();
    const deadlineMs = performance.now() + FINISH_MS_MAX;
    const isOver = (): boolean =>
      this.#streams.every(({ sink }) => sink.isDrained || sink.failure !== undefined);
    while (performance.now() < deadlineMs && !isOver()) this.#finishRound();
    const reports = this.#streams.flatMap((stream) => stream.finish(exitCode));
    for (let i = 0; i < 10 && this.#hasWaiting(); i++) this.#finishRound();
    return reports.map(({ name, rows }) => ({ name, rows: rows.map(ledgerRow) }));
  }

  #finishRound(): void {
    this.#poll.clear();
    for (const { sink } of this.#streams) sink.register(this.#poll);
    this.#poll.wait(FINISH_POLL_MS);
    for (const { sink } of this.#streams) {
      sink.service(this.#poll);
      sink.send();
    }
  }

  #hasWaiting(): boolean {
    return this.#streams.some(({ sink }) => sink.outlets.some((outlet) => outlet.isBlocked));
  }

  #close(): void {
    for (const stream of this.#streams) stream.close();
    this.#poll.close();
  }
}
