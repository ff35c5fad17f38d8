/**
 * One receiver of a capture's stream: its outlet, its ledger, and what it is sent beside samples.
 */
import type { CpuRing } from "../shared/event/event_set.ts";
import { snapshotTaskNames, type TaskName } from "../shared/event/task_names.ts";
import { countSamples } from "../shared/perf/record.ts";
import { FrameType } from "../shared/wire/frame.ts";
import type { CpuStats } from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { Ledger } from "./ledger.ts";
import type { Outlet } from "./sink/outlet.ts";
import { TalkBudget } from "./sink/talk_budget.ts";
import { SymbolSender } from "./symbol_sender.ts";

/** Time that one wake-up may spend on naming tasks. */
const TASK_SLICE_MS = 4;
/** The same for names of addresses, of all receivers. */
const SYMBOL_SLICE_MS = 4;
/**
 * What of that time may be saved up, and what comes in: the kernel's table takes a tenth of a
 * second, in an emulated guest some seconds, and hosts with call chains ask again and again.
 */
export const SYMBOL_MS_MAX = 10_000;
const SYMBOL_SHARE = 0.25;

/** Where the events of one receiver went. */
export interface ReceiverLedger {
  readonly name: string;
  readonly rows: CpuStats[];
}

export class Receiver {
  readonly outlet: Outlet;
  readonly ledger: Ledger;
  readonly symbols: SymbolSender;
  /** Events that it missed since the user was told. */
  missed = 0;
  readonly #onStatus: (text: string) => void;
  #tasks: Generator<TaskName[], void> | undefined = snapshotTaskNames();

  constructor(outlet: Outlet, ledger: Ledger, onStatus: (text: string) => void) {
    this.outlet = outlet;
    this.ledger = ledger;
    this.symbols = new SymbolSender(outlet);
    this.#onStatus = onStatus;
  }

  /** Whether names of tasks are still to be sent. */
  get isNaming(): boolean {
    return this.#tasks !== undefined;
  }

  /** Names all tasks once more: those that have come since then were not named. */
  nameTasksAgain(): void {
    this.#tasks = snapshotTaskNames();
  }

  /** Goes on naming the tasks there are. */
  sendTasks(): void {
    const deadlineMs = performance.now() + TASK_SLICE_MS;
    while (this.#tasks !== undefined && performance.now() < deadlineMs) {
      const next = this.#tasks.next();
      if (next.done) this.#tasks = undefined;
      else this.outlet.send(FrameType.TASK, { tasks: next.value });
    }
  }

  /** Everything before `tsc` has been sent, if that is so; 0 when it is not known yet. */
  sendProgress(rings: readonly CpuRing[], tsc: bigint): void {
    const { positions } = this.outlet;
    const isComplete = rings.every(({ ring }, i) => positions[i] === ring.head);
    if (isComplete && tsc !== 0n) this.outlet.send(FrameType.PROGRESS, { tsc });
  }

  sendStats(cpus: CpuStats[], final: boolean): void {
    const usage = process.cpuUsage();
    this.outlet.send(FrameType.STATS, {
      cpus,
      final,
      agentCpuNs: BigInt(usage.user + usage.system) * 1000n,
      rssBytes: BigInt(process.memoryUsage.rss()),
    });
  }

  /** It was too slow: what lies between is counted as dropped, and it is told so. */
  miss({ cpu, ring }: CpuRing, index: number, from: number, to: number): void {
    const place = "slow client";
    const events = countSamples(ring, from, to);
    this.missed += events;
    this.ledger.drop(index, place, events, to - from);
    this.outlet.send(FrameType.LOST, {
      cpu,
      place,
      events: BigInt(events),
      bytes: BigInt(to - from),
      fromPosition: BigInt(from),
      toPosition: BigInt(to),
    });
  }

  /** Tells of what is not recorded, and how many events that were once it is over. */
  sendShed(rings: readonly CpuRing[], place: string, counts: Float64Array | undefined): void {
    rings.forEach(({ cpu, ring }, index) => {
      if (this.outlet.isCrowded) return;
      const events = BigInt(counts?.[index] ?? 0);
      const at = BigInt(ring.head);
      const lost = { cpu, place, events, bytes: 0n, fromPosition: at, toPosition: at };
      this.outlet.send(FrameType.LOST, lost);
    });
  }

  /** Counts what it was not sent as dropped at `place`. */
  dropUnsent(rings: readonly CpuRing[], place: string): void {
    rings.forEach((ring, index) => {
      const start = (): number => this.outlet.wholeUpTo(index, ring);
      const from = this.#counted(ring, start, this.outlet.positions[index]!);
      this.#dropFrom(ring, index, place, from);
    });
  }

  /** Its host did not come back: counts what that has not acknowledged as dropped, and says so. */
  dropUnacked(rings: readonly CpuRing[], ackedOf: (index: number) => number): void {
    let events = 0;
    rings.forEach((ring, index) => {
      events += this.#dropFrom(ring, index, "host did not come back", ackedOf(index));
    });
    if (events > 0) this.#onStatus(`${events} events waited for a host that did not come back`);
  }

  /** Counts the samples from `from`, a record's start, to the head as dropped. */
  #dropFrom(ring: CpuRing, index: number, place: string, from: number): number {
    const { head } = ring.ring;
    if (from === head) return 0;
    const events = this.#counted(ring, () => countSamples(ring.ring, from, head), 0);
    this.ledger.drop(index, place, events, head - from);
    return events;
  }

  /** What `count` finds in a ring; `otherwise` when a host has acknowledged half a record. */
  #counted({ cpu }: CpuRing, count: () => number, otherwise: number): number {
    try {
      return count();
    } catch (error) {
      if (!(error instanceof RangeError)) throw error;
      this.#onStatus(`Cannot count drops of CPU ${cpu}: the host acknowledged a part of a record`);
      return otherwise;
    }
  }
}

/** Whoever is sent names of addresses. */
interface Asking {
  readonly symbols: SymbolSender;
}

/** Gives one receiver after the other time for names of addresses. */
export class SymbolTurns {
  readonly #budget: TalkBudget;
  #turn = 0;

  constructor(budget = new TalkBudget(SYMBOL_MS_MAX, 0, SYMBOL_SHARE)) {
    this.#budget = budget;
  }

  /** Whether there is work that need not wait. */
  isDue(receivers: readonly Asking[], nowMs: number): boolean {
    return receivers.some(({ symbols }) => symbols.isBusy) && this.#budget.isLeft(nowMs);
  }

  /** A slice of work for one of them. */
  work(receivers: readonly Asking[]): void {
    const fromMs = performance.now();
    if (!this.isDue(receivers, fromMs)) return;
    const busy = receivers.filter(({ symbols }) => symbols.isBusy);
    this.#turn++;
    busy[this.#turn % busy.length]!.symbols.work(fromMs + SYMBOL_SLICE_MS);
    this.#budget.take(fromMs, performance.now());
  }
}
