/**
 * The sampler: one loop that blocks in poll() over rings, sinks and the wake-up descriptor, and
 * forwards what came. It runs in a Worker and returns when it is told to stop.
 */
import { failureOf } from "../shared/cli/failure.ts";
import { EventSet } from "../shared/event/event_set.ts";
import { describeRefusals } from "../shared/event/filter_error.ts";
import { readMachineInfo, selectCpus } from "../shared/event/machine.ts";
import { type ResolvedEvent, resolveEvents } from "../shared/event/resolve.ts";
import { type EventSpec, namesProcessId, parseEventSpecs } from "../shared/event/spec.ts";
import { POLLIN } from "../shared/sys/abi.ts";
import { PollSet } from "../shared/sys/poll.ts";
import { Tracefs } from "../shared/tracefs/tracefs.ts";
import type { CpuStats } from "../shared/wire/gen/vmspan/v1/channel.ts";
import { Capture, FLUSH_MS } from "./capture.ts";
import type { LedgerReport, LedgerRow, SamplerOrder, SamplerResult } from "./protocol.ts";
import { BroadcastSink } from "./sink/broadcast_sink.ts";
import { FileSink } from "./sink/file_sink.ts";
import { PortSink } from "./sink/port_sink.ts";
import { type PushTarget, parsePushTarget, pushOfEach } from "./sink/push_target.ts";
import type { Sink } from "./sink/sink.ts";
import { UnixSink } from "./sink/unix_sink.ts";

/** Longest wait of the loop: to look at ports without a host, and at the flag that says stop. */
export const POLL_MS_MAX = FLUSH_MS;
/** Pause between two rounds of the end, while receivers take what is left. */
const FINISH_POLL_MS = 20;
/** How long the end waits for receivers to take what the rings hold. */
export const FINISH_MS_MAX = 2000;
/** Of a ring: fill at which the kernel wakes the sampler. */
const WATERMARK_SHARE = 1 / 4;

function openSink(
  target: PushTarget,
  capture: Capture,
  recordings: ReadonlyMap<string, number>,
): Sink {
  switch (target.kind) {
    case "tcp":
      return new BroadcastSink(target, capture);
    case "unix":
      return new UnixSink(target.path, capture);
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
): Capture {
  const set = new EventSet(events, {
    cpus,
    ringBytes: order.ringBytes,
    watermarkBytes: order.ringBytes * WATERMARK_SHARE,
    threadIds: order.events.some(namesProcessId),
    taskNames: true,
    pid: order.pid,
    wholeProcess: order.wholeProcess,
    callChains: order.callChains,
  });
  for (const text of describeRefusals(set.refusedFilters, "agent-host")) onStatus(text);
  const capture = new Capture(set, {
    machine: readMachineInfo(),
    isTscDisplay: order.isTscDisplay,
    isTwoWay: target.kind === "unix" || target.kind === "device",
    agentVersion: order.agentVersion,
    onStatus,
  });
  try {
    capture.attachSink(openSink(target, capture, order.recordings));
  } catch (error) {
    capture.close();
    throw error;
  }
  return capture;
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
  readonly #captures: Capture[] = [];

  /** Opens everything. Throws typed errors; what was opened is closed then. */
  constructor(order: SamplerOrder, onStatus: (text: string) => void) {
    this.#order = order;
    this.#stop = new Int32Array(order.stopFlag);
    const specs = order.events.flatMap((text) => parseEventSpecs(text));
    const tracefs = Tracefs.open();
    const cpus = selectCpus(order.cpus);
    try {
      for (const { target, specs: group } of groupByTarget(specs)) {
        const events = resolveEvents(group, tracefs);
        this.#captures.push(openCapture(target, events, cpus, order, onStatus));
      }
    } catch (error) {
      this.#close();
      throw error;
    }
    for (const { set, sink } of this.#captures) {
      const names = set.events.map((event) => `${event.system}:${event.name}`);
      const shown = names.length > 3 ? `${names.length} events` : names.join(", ");
      onStatus(`Pushing ${shown} to ${sink.name}`);
    }
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
    return this.#captures.find(({ sink }) => sink.failure !== undefined)?.sink.failure;
  }

  /** Nothing can come any more: the tasks that were to be sampled have ended. */
  get #hasEnded(): boolean {
    return this.#captures.every(({ set }) => set.hasEnded);
  }

  #round(): void {
    const startMs = performance.now();
    const timeoutMs = this.#captures.reduce(
      (least, capture) => Math.min(least, Math.ceil(capture.dueInMs(startMs))),
      POLL_MS_MAX,
    );
    this.#poll.clear();
    this.#poll.add(this.#order.eventFdNumber, POLLIN);
    for (const capture of this.#captures) capture.register(this.#poll);
    this.#poll.wait(timeoutMs);
    const nowMs = performance.now();
    for (const capture of this.#captures) capture.pump(this.#poll, nowMs);
  }

  /** Stops the events, then gives receivers a moment to take what is left. */
  #finish(exitCode: number): LedgerReport[] {
    for (const capture of this.#captures) capture.stopEvents();
    const deadlineMs = performance.now() + FINISH_MS_MAX;
    const isOver = (): boolean =>
      this.#captures.every(({ sink }) => sink.isDrained || sink.failure !== undefined);
    while (performance.now() < deadlineMs && !isOver()) this.#finishRound();
    const reports = this.#captures.flatMap((capture) => capture.finish(exitCode));
    for (let i = 0; i < 10 && this.#hasWaiting(); i++) this.#finishRound();
    return reports.map(({ name, rows }) => ({ name, rows: rows.map(ledgerRow) }));
  }

  #finishRound(): void {
    this.#poll.clear();
    for (const { sink } of this.#captures) sink.register(this.#poll);
    this.#poll.wait(FINISH_POLL_MS);
    for (const { sink } of this.#captures) {
      sink.service(this.#poll);
      sink.send();
    }
  }

  #hasWaiting(): boolean {
    return this.#captures.some(({ sink }) => sink.outlets.some((outlet) => outlet.isBlocked));
  }

  #close(): void {
    for (const capture of this.#captures) capture.close();
    this.#poll.close();
  }
}
