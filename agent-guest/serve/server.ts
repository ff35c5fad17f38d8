/**
 * One sink of `agent-guest serve`: waits for a host, and opens, changes and closes events as it
 * asks. Behind it a Capture does what it does for fixed events.
 *
 *   host                          guest
 *     Attach           ------>
 *              <------          Hello{serving}                    no events yet
 *     Control{open}    ------>
 *              <------          Hello{events}, ControlReply, Samples ...
 *     Control{open}    ------>                                    other events: a new stream
 *     Bye              ------>
 *              <------          the rest, Stats, Bye              events are closed
 *
 * A host that goes without a goodbye may come back for its stream within the grace period.
 */
import { toLine } from "../../shared/cli/failure.ts";
import type { CpuRing } from "../../shared/event/cpu_ring.ts";
import { EventSet } from "../../shared/event/event_set.ts";
import { type MachineInfo, onlineCpus, readMachineInfo } from "../../shared/event/machine.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import {
  type Attach,
  ByeReason,
  type CloseEvents,
  type Control,
  type CpuStats,
  ErrorCode,
  type Event,
  OpenEvents,
  type SymbolRequest,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { Capture, FLUSH_MS } from "../capture.ts";
import { sendGoodbye } from "../goodbye.ts";
import { buildIdleHello } from "../hello.ts";
import type { ReceiverLedger } from "../receiver.ts";
import type { Outlet } from "../sink/outlet.ts";
import type { HostSink, SinkHost } from "../sink/sink.ts";
import { REQUEST_MS_MAX, REQUEST_OWED_MS_MAX, SLICE_MS, TalkBudget } from "../sink/talk_budget.ts";
import { describeEvents, listEvents } from "./catalog.ts";
import { ControlError, controlErrorOf, isBug } from "./control_error.ts";
import { checkOpenEvents, resolveOrder } from "./event_requests.ts";
import { eventPolicy, type Limits } from "./limits.ts";

/** Requests that may wait: a host asks and waits for the answer. */
const REQUESTS_MAX = 8;

interface Request {
  readonly outlet: Outlet;
  readonly control: Control;
}

/** An answer of many frames, under way. */
interface Answer {
  readonly outlet: Outlet;
  readonly id: number;
  readonly groups: Generator<Event[], void>;
  /** Read already, as the frame before has to say whether there is one. */
  next: Event[] | undefined;
}

export interface ServerOptions {
  readonly limits: Limits;
  readonly agentVersion: string;
  readonly onStatus: (text: string) => void;
  /** Where events are looked up; this machine's unless told. */
  readonly tracefs?: Tracefs;
  /** Time for requests; as SECURITY.md says unless told. */
  readonly budget?: TalkBudget;
}

export class Server implements SinkHost {
  /** Events that are open now, for whom, and the bytes of the request. */
  #capture: Capture | undefined;
  #request = new Uint8Array(0);
  readonly #options: ServerOptions;
  readonly #machine: MachineInfo = readMachineInfo();
  readonly #tracefs: Tracefs;
  #sink: HostSink | undefined;
  #requests: Request[] = [];
  #answer: Answer | undefined;
  readonly #budget: TalkBudget;
  /** By outlet: the Attach that its next Hello answers. */
  readonly #attaches = new WeakMap<Outlet, Attach>();
  /** The host has said goodbye, or closed all its events. */
  #isOver = false;
  /** Until when events are kept for a host that vanished. */
  #graceEndMs = Infinity;
  /** Requests that found the queue full. */
  refusedRequests = 0;

  constructor(options: ServerOptions) {
    this.#options = options;
    this.#tracefs = options.tracefs ?? Tracefs.open();
    this.#budget = options.budget ?? new TalkBudget(REQUEST_MS_MAX, REQUEST_OWED_MS_MAX);
  }

  attachSink(sink: HostSink): void {
    this.#sink = sink;
  }

  get sink(): HostSink {
    if (this.#sink === undefined) throw new RangeError("Cannot use a server before its sink");
    return this.#sink;
  }

  get capture(): Capture | undefined {
    return this.#capture;
  }

  /** It waits for hosts as long as it may. */
  readonly hasEnded = false;

  get rings(): readonly CpuRing[] {
    return this.#capture?.rings ?? [];
  }

  status(text: string): void {
    this.#options.onStatus(text);
  }

  register(poll: PollSet): void {
    if (this.#capture !== undefined) this.#capture.register(poll);
    else this.sink.register(poll);
  }

  dueInMs(nowMs: number): number {
    if (this.#hasWork && this.#budget.isLeft(nowMs)) return 0;
    const idleMs = Math.min(FLUSH_MS, Math.max(0, this.#graceEndMs - nowMs));
    return Math.min(idleMs, this.#capture?.dueInMs(nowMs) ?? FLUSH_MS);
  }

  pump(poll: PollSet, nowMs: number): void {
    if (this.#capture !== undefined) this.#capture.pump(poll, nowMs);
    else this.sink.service(poll);
    if (this.#isOver || nowMs >= this.#graceEndMs) this.#closeEvents();
    if (this.#hasWork) this.#work();
  }

  /** Whether there is something to do for a host that has read what it was answered before. */
  get #hasWork(): boolean {
    return (this.#answer ?? this.#requests[0])?.outlet.isBlocked === false;
  }

  /** Does what hosts have asked for, as long as a turn allows. */
  #work(): void {
    const fromMs = performance.now();
    if (!this.#budget.isLeft(fromMs)) return;
    let nowMs = fromMs;
    while (this.#hasWork && nowMs < fromMs + SLICE_MS) {
      if (this.#answer === undefined) this.#obey(this.#requests.shift()!);
      else this.#answerOn(this.#answer);
      nowMs = performance.now();
    }
    this.#budget.take(fromMs, nowMs);
  }

  begin(outlet: Outlet, attach: Attach | undefined): boolean {
    const capture = this.#capture;
    this.#forgetRequests(outlet);
    if (attach === undefined) return false;
    this.#attaches.set(outlet, attach);
    if (capture !== undefined && attach.streamNonce === capture.streamNonce) {
      this.#graceEndMs = Infinity;
      return capture.begin(outlet, attach);
    }
    // Another host behind the same port, and nobody has seen the first one go.
    if (capture?.isStreamingTo(outlet) === true) this.vanish(outlet);
    outlet.restart();
    outlet.send(
      FrameType.HELLO,
      buildIdleHello(this.#machine, this.#options.agentVersion, attach.attachNonce),
    );
    return false;
  }

  control(outlet: Outlet, control: Control): void {
    if (this.#requests.length < REQUESTS_MAX) this.#requests.push({ outlet, control });
    else this.refusedRequests++;
  }

  askSymbols(outlet: Outlet, id: number, request: SymbolRequest): void {
    this.#capture?.askSymbols(outlet, id, request);
  }

  end(outlet: Outlet, keeps: boolean): void {
    this.#forgetRequests(outlet);
    if (this.#capture?.isStreamingTo(outlet) === true) {
      this.#capture.end(outlet, keeps);
      if (keeps) this.#graceEndMs = performance.now() + this.#options.limits.graceMs;
      else this.#isOver = true;
      return;
    }
    if (outlet.failure !== undefined) return;
    sendGoodbye(outlet, ByeReason.DETACHED, 0);
  }

  forget(): void {
    this.#capture?.forget();
    this.#isOver = true;
  }

  vanish(outlet: Outlet): void {
    this.#forgetRequests(outlet);
    if (this.#capture?.isStreamingTo(outlet) !== true) return;
    this.#capture.vanish(outlet);
    this.#graceEndMs = performance.now() + this.#options.limits.graceMs;
  }

  missed(outlet: Outlet, ringIndex: number, from: number, to: number): void {
    this.#capture?.missed(outlet, ringIndex, from, to);
  }

  stopEvents(): void {
    this.#capture?.stopEvents();
  }

  finish(exitCode: number): ReceiverLedger[] {
    return this.#capture?.finish(exitCode) ?? [];
  }

  close(): void {
    this.#sink?.close();
    this.#capture?.closeEvents();
  }

  #forgetRequests(outlet: Outlet): void {
    this.#requests = this.#requests.filter((request) => request.outlet !== outlet);
    if (this.#answer?.outlet === outlet) this.#answer = undefined;
  }

  #obey({ outlet, control: { id, request } }: Request): void {
    try {
      if (request === undefined) {
        const message = "Cannot do what the host asks: this agent knows no such request";
        throw new ControlError(ErrorCode.UNSUPPORTED, message, "use an agent-guest of its version");
      }
      if (request.$case === "dump") {
        const message = "Cannot dump: this agent forwards what happens as it happens";
        const hint = "a flight recorder is started with agent-guest trace --overwrite";
        throw new ControlError(ErrorCode.UNSUPPORTED, message, hint);
      }
      if (request.$case === "open") this.#open(outlet, id, request.value);
      else if (request.$case === "close") this.#closeSome(outlet, id, request.value);
      else {
        const isAllowed = eventPolicy(this.#options.limits);
        const make = request.$case === "list" ? listEvents : describeEvents;
        const groups = make(request.value.pattern, this.#tracefs, isAllowed);
        this.#answer = { outlet, id, groups, next: groups.next().value ?? undefined };
      }
    } catch (error) {
      this.#refuse(outlet, id, error);
    }
  }

  #refuse(outlet: Outlet, id: number, thrown: unknown): void {
    const error = controlErrorOf(thrown);
    this.status(`Refused a request of the host: ${toLine(error.message)}`);
    if (isBug(thrown)) this.status(`BUG: ${(thrown as Error).stack ?? String(thrown)}`);
    outlet.send(FrameType.CONTROL_REPLY, { id, error, events: [], more: false });
  }

  #done(outlet: Outlet, id: number): void {
    outlet.send(FrameType.CONTROL_REPLY, { id, error: undefined, events: [], more: false });
  }

  /** Sends the next frame of a long answer. */
  #answerOn(answer: Answer): void {
    const { outlet, id, groups, next } = answer;
    try {
      answer.next = groups.next().value ?? undefined;
    } catch (error) {
      this.#answer = undefined;
      this.#refuse(outlet, id, error);
      return;
    }
    const more = answer.next !== undefined;
    outlet.send(FrameType.CONTROL_REPLY, { id, error: undefined, events: next ?? [], more });
    if (!more || outlet.failure !== undefined) this.#answer = undefined;
  }

  /** Opens the new events before the old ones go: a request that is refused changes nothing. */
  #open(outlet: Outlet, id: number, request: OpenEvents): void {
    const attach = this.#attaches.get(outlet);
    const bytes = OpenEvents.encode(request).finish();
    if (this.#capture?.isStreamingTo(outlet) === true && isSame(bytes, this.#request)) {
      this.#done(outlet, id);
      return;
    }
    const set = this.#openSet(request);
    for (const text of set.filterHints("agent-host")) this.status(text);
    this.#closeEvents();
    const { agentVersion, limits } = this.#options;
    const capture = new Capture(set, {
      machine: this.#machine,
      isTscDisplay: false,
      isTwoWay: true,
      isServing: true,
      agentVersion,
      onStatus: (text) => this.status(text),
    });
    capture.attachSink(this.sink);
    this.#capture = capture;
    this.#request = bytes;
    // The beginning of a stream forgets what waits to be sent: the reply comes after it.
    capture.begin(outlet, {
      attachNonce: attach?.attachNonce ?? 0n,
      streamNonce: 0n,
      resume: [],
      agentVersion: "",
    });
    this.sink.streamTo(outlet);
    this.#done(outlet, id);
    const names = set.events.map((event) => `${event.system}:${event.name}`);
    const shown = names.length > 3 ? `${names.length} events` : names.join(", ");
    const probes = limits.allowsProbes ? " (probes allowed)" : "";
    this.status(`Opened ${shown} for the host at ${this.sink.name}${probes}`);
  }

  #openSet(request: OpenEvents): EventSet {
    const { limits } = this.#options;
    const order = checkOpenEvents(request, limits);
    return new EventSet(resolveOrder(order, limits, this.#tracefs), {
      cpus: onlineCpus(),
      ringBytes: order.ringBytes,
      watermarkBytes: order.watermarkBytes,
      threadIds: order.threadIds,
      taskNames: true,
      pid: -1,
    });
  }

  #closeSome(outlet: Outlet, id: number, { indexes }: CloseEvents): void {
    const capture = this.#capture;
    if (capture?.isStreamingTo(outlet) !== true) {
      const message = "Cannot close events: none are open for this host";
      throw new ControlError(ErrorCode.BAD_REQUEST, message, "open them first");
    }
    const { events } = capture.set;
    const unknown = indexes.find((index) => index >= events.length);
    if (unknown !== undefined) {
      const message = `Cannot close event ${unknown}: there are ${events.length}`;
      throw new ControlError(ErrorCode.BAD_REQUEST, message, "Hello has their indexes");
    }
    const closing = indexes.length === 0 ? events.map((_, index) => index) : [...new Set(indexes)];
    for (const index of closing) capture.set.retire(index);
    // What was open is no longer what was asked for: the same request again opens it anew.
    this.#request = new Uint8Array(0);
    this.#done(outlet, id);
  }

  /** Closes all events: the host has left, has not come back, or wants others. */
  #closeEvents(): void {
    const capture = this.#capture;
    this.#isOver = false;
    this.#graceEndMs = Infinity;
    if (capture === undefined) return;
    const rows = capture.abandon();
    if (rows.length > 0) this.status(`${this.sink.name}: ${summary(rows)}`);
    this.#capture = undefined;
    this.#request = new Uint8Array(0);
    this.sink.endStream();
    capture.closeEvents();
    this.status(`Closed the events of the host at ${this.sink.name}`);
  }
}

function isSame(a: Uint8Array, b: Uint8Array): boolean {
  return a.length === b.length && a.every((byte, i) => byte === b[i]);
}

function summary(rows: readonly CpuStats[]): string {
  const produced = rows.reduce((sum, row) => sum + row.produced, 0n);
  const lost = rows.reduce((sum, row) => sum + row.lostKernel, 0n);
  return `produced ${produced}, lost by the kernel ${lost}`;
}
