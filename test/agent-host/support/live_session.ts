/**
 * The engine's machines without its reports: events of the host and of guests go through rings,
 * links, clocks, decoder and merger as in agent-host, and come out here with their canonical time,
 * which counts from a TSC that is known, and with the bound that was claimed for it.
 */
import type { Doubt } from "../../../agent-host/analyze/doubts.ts";
import { type Machines, openMachines } from "../../../agent-host/machines.ts";
import type { EngineOrder } from "../../../agent-host/protocol.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { waitUntil } from "../../vm/deadline.ts";

const POLL_MS = 5;
const DEADLINE_MS = 20_000;

const ORDER: EngineOrder = {
  command: "trace",
  events: [],
  key: undefined,
  cpus: undefined,
  pid: -1,
  wholeProcess: false,
  callChains: false,
  ringBytes: 1024 * 1024,
  isTscDisplay: false,
  tscOffset: undefined,
  vm: undefined,
  trustPairs: false,
  intervalMs: 0,
  eventsMax: 0,
  thanNs: 0,
  onlyThan: false,
  detail: undefined,
  isPerInstance: false,
  isCycle: false,
  isJson: false,
  resumePath: undefined,
  agentVersion: "test",
  stopFlag: new SharedArrayBuffer(4),
  eventFdNumber: -1,
};

/** An event as it came out of the merger. */
export interface TimedEvent {
  readonly machine: number;
  readonly cpu: number;
  readonly key: number;
  readonly cycles: number;
  readonly boundCycles: number;
}

export class LiveSession {
  readonly events: TimedEvent[] = [];
  /** What the user would have been told. */
  readonly statuses: string[] = [];
  /** Times that turned out to be off. */
  readonly doubts: Doubt[] = [];
  readonly machines: Machines;
  readonly #session: Session;
  readonly #poll = new PollSet();

  /** Connects and opens; `events` are -e arguments, with key= where the key is of interest. */
  constructor(events: readonly string[], order: Partial<EngineOrder> = {}) {
    this.#session = new Session(undefined);
    this.machines = openMachines({ ...ORDER, ...order, events }, this.#session, (text) => {
      this.statuses.push(text);
    });
    this.#session.onDoubt = (doubt) => this.doubts.push(doubt);
    this.#session.sink = (chunk, from, to) => {
      for (let i = from; i < to; i++) {
        this.events.push({
          machine: chunk.machine,
          cpu: chunk.cpu,
          key: chunk.key[i * 2]!,
          cycles: chunk.timeCycles[i]!,
          boundCycles: chunk.bounds.cycles[chunk.bounds.runOf(i)]!,
        });
      }
    };
  }

  /** The TSC from which cycles count. */
  get anchor(): bigint {
    return this.#session.anchor;
  }

  /** Nanoseconds per cycle, by the host's clock. */
  get nsPerCycle(): number {
    return 1e9 / this.machines.hostClock!.frequency!.hz;
  }

  /** Until all clocks are known and the host's own events run. */
  async start(deadlineMs = DEADLINE_MS): Promise<void> {
    const { guests, hostClock, local } = this.machines;
    const isReady = (): boolean => {
      this.round();
      return hostClock?.isReady !== false && guests.every((guest) => guest.isReady);
    };
    await waitUntil(isReady, deadlineMs, "clocks of all machines");
    local?.start();
  }

  /** One round of the engine: reads, decodes and releases what there is. */
  round(): void {
    const { guests, local, hostClock } = this.machines;
    this.#poll.clear();
    for (const { link } of guests) this.#poll.add(link.source.fd.number, link.source.pollEvents);
    local?.register(this.#poll);
    this.#poll.wait(POLL_MS);
    local?.noteHangUps(this.#poll);
    const nowMs = performance.now();
    hostClock?.tick(nowMs);
    for (const guest of guests) {
      guest.link.receive(nowMs);
      guest.link.tick(nowMs);
      this.machines.tick(guest, nowMs);
    }
    local?.drain(nowMs);
    for (const guest of guests) guest.settle();
    this.#session.merger.release();
  }

  /** Rounds until `count` events have come out. */
  async until(count: number): Promise<void> {
    const hasCome = (): boolean => {
      this.round();
      return this.events.length >= count;
    };
    await waitUntil(hasCome, DEADLINE_MS, `${count} events`);
  }

  close(): void {
    this.machines.close();
    this.#poll.close();
  }
}
