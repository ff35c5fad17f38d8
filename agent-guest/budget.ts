/**
 * What the agent may use up in each second: its own CPU time, bytes and events (--max-cpu,
 * --max-rate). When a second's budget is gone, recording pauses until the second is over; what was
 * used beyond it is taken from the next. So load is sampled for a part of each second, all events
 * and CPUs at the same time, which keeps the pairs within that part whole:
 *
 *   recording  ####........####........####........
 *   used       2 %         2 %         2 %             of which each second may have 2 %
 *
 * What was not recorded is counted to the event (shed_count.ts). The host is told at once, and the
 * user here; three seconds in a row within the budget end it.
 */
import process from "node:process";
import type { Capture } from "./capture.ts";
import type { RateLimits } from "./serve/limits.ts";

const PERIOD_MS = 1000;
/** Pause between two looks at what was used: reading it has its cost too. */
const CHECK_MS = 10;
/** Periods within the budget after which the user is told that all is recorded again. */
const CALM_PERIODS = 3;

/** Of a ring: fill at which the kernel wakes the agent. */
const WATERMARK_SHARE = 1 / 4;
/** A second's budget comes in so many parts at least: what is used beyond it is a part at most. */
const PARTS_MIN = 16;
const WATERMARK_BYTES_MIN = 4096;
/** Of one record of a tracepoint. */
const RECORD_BYTES_TYPICAL = 64;

/** The fill of each ring at which the kernel wakes the agent, so that it can keep to `rates`. */
export function watermarkBytesFor(ringBytes: number, rates: RateLimits): number {
  const { bytesPerSecondMax, eventsPerSecondMax } = rates;
  const second = Math.min(bytesPerSecondMax, eventsPerSecondMax * RECORD_BYTES_TYPICAL);
  const wanted = Math.max(WATERMARK_BYTES_MIN, Math.floor(second / PARTS_MIN));
  return Math.min(ringBytes * WATERMARK_SHARE, wanted);
}

/** What one of the limits counts. */
interface Account {
  readonly place: string;
  /** For a whole period. */
  readonly budget: number;
  /** All that was used, ever: CPU ms, bytes, events. */
  readonly read: (captures: readonly Capture[]) => number;
  /** The first period is free: a stream that begins costs more than one that goes on. */
  readonly warmsUp: boolean;
  /** Reading when the period began, less what earlier periods overdrew. */
  base: number;
}

/** Whoever has events that can be paused. */
interface Paused {
  readonly capture: Capture | undefined;
}

export class Budget {
  readonly #accounts: readonly Account[];
  readonly #onStatus: (text: string) => void;
  /** Whose events run: when others do, all counts begin anew. */
  readonly #known = new Set<Capture>();
  #periodEndMs = 0;
  #nextCheckMs = 0;
  /** The place that recording is paused for; empty while it is not. */
  #place = "";
  #isShedding = false;
  #calmPeriods = 0;

  constructor(rates: RateLimits, onStatus: (text: string) => void) {
    this.#onStatus = onStatus;
    const sum = (of: (capture: Capture) => number) => (captures: readonly Capture[]) =>
      captures.reduce((total, capture) => total + of(capture), 0);
    const accounts: Omit<Account, "base">[] = [
      {
        place: "shed by --max-cpu",
        budget: rates.cpuShareMax * PERIOD_MS,
        read: () => cpuMs(),
        warmsUp: true,
      },
      {
        place: "shed by --max-rate",
        budget: (rates.bytesPerSecondMax * PERIOD_MS) / 1000,
        read: sum(recordedBytes),
        warmsUp: false,
      },
      {
        place: "shed by --max-rate",
        budget: (rates.eventsPerSecondMax * PERIOD_MS) / 1000,
        read: sum(recordedEvents),
        warmsUp: false,
      },
    ];
    this.#accounts = accounts
      .filter(({ budget }) => budget < Infinity)
      .map((account) => ({ ...account, base: 0 }));
  }

  /** Milliseconds until it has to look. */
  dueInMs(nowMs: number): number {
    if (this.#accounts.length === 0 || this.#known.size === 0) return Infinity;
    return Math.max(0, this.#periodEndMs - nowMs);
  }

  /** After each round of the loop. */
  check(nowMs: number, streams: readonly Paused[]): void {
    if (this.#accounts.length === 0 || nowMs < this.#nextCheckMs) return;
    this.#nextCheckMs = nowMs + CHECK_MS;
    const captures = streams.map(({ capture }) => capture).filter((c) => c !== undefined);
    if (this.#hasChanged(captures)) this.#beginAnew(nowMs, captures);
    if (captures.length === 0) return;
    if (nowMs >= this.#periodEndMs) this.#nextPeriod(nowMs, captures);
    if (this.#place !== "") return;
    const spent = this.#overdrawn(captures);
    if (spent !== undefined) this.#pause(spent, captures);
  }

  /** Opening events costs CPU time that is not that of forwarding them. */
  #hasChanged(captures: readonly Capture[]): boolean {
    return captures.length !== this.#known.size || captures.some((c) => !this.#known.has(c));
  }

  #beginAnew(nowMs: number, captures: readonly Capture[]): void {
    this.#known.clear();
    for (const capture of captures) this.#known.add(capture);
    for (const capture of captures) capture.resume();
    for (const account of this.#accounts) {
      account.base = account.warmsUp ? Infinity : account.read(captures);
    }
    this.#periodEndMs = nowMs + PERIOD_MS;
    this.#place = "";
    this.#isShedding = false;
  }

  #overdrawn(captures: readonly Capture[]): Account | undefined {
    return this.#accounts.find(({ base, budget, read }) => read(captures) - base >= budget);
  }

  #nextPeriod(nowMs: number, captures: readonly Capture[]): void {
    // A loop that was held up for several periods has their budgets too.
    const periods = 1 + Math.floor((nowMs - this.#periodEndMs) / PERIOD_MS);
    this.#periodEndMs += periods * PERIOD_MS;
    for (const account of this.#accounts) {
      account.base = Math.min(account.read(captures), account.base + periods * account.budget);
    }
    this.#calmPeriods = this.#place === "" ? this.#calmPeriods + 1 : 0;
    if (this.#place !== "" && this.#overdrawn(captures) === undefined) {
      this.#place = "";
      for (const capture of captures) capture.resume();
    }
    if (!this.#isShedding || this.#calmPeriods < CALM_PERIODS) return;
    this.#isShedding = false;
    this.#onStatus("Records all events again");
  }

  #pause({ place }: Account, captures: readonly Capture[]): void {
    this.#place = place;
    for (const capture of captures) capture.pause(place);
    if (this.#isShedding) return;
    this.#isShedding = true;
    this.#onStatus(`Records only a part of each second: ${place}`);
  }
}

/** Bytes that records have taken in the rings, ever. */
function recordedBytes({ rings }: Capture): number {
  return rings.reduce((sum, { ring }) => sum + ring.head, 0);
}

/** Events that were recorded, ever: a system call for each event and CPU. */
function recordedEvents({ rings, set }: Capture): number {
  return rings.reduce((sum, ring) => {
    const { produced, lost } = set.count(ring);
    return sum + Number(produced - lost);
  }, 0);
}

/** CPU time of this process, of all its threads. */
function cpuMs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) / 1000;
}
