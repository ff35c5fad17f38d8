/**
 * The flight recorder: rings that the kernel overwrites, and what makes it dump them.
 *
 *   request("host")      a Control of the host
 *   request("SIGUSR2")   a signal to the agent
 *   trigger              an event with the attribute trigger has fired: it is opened a second time,
 *                        with a ring of one page, only to wake the agent
 *
 * Between dumps nobody reads, and nothing wakes the agent. What became of each event is known from
 * the kernel's counters and the records found: recorded = dumped + overwritten.
 */
import { EventSet } from "../../shared/event/event_set.ts";
import type { ResolvedEvent } from "../../shared/event/resolve.ts";
import { PAGE_BYTES } from "../../shared/sys/abi.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import type { Counters } from "../ledger.ts";

/** The least time from one dump to the next: a trigger may fire all the time. */
const DUMP_PAUSE_MS = 1000;
/** Of the ring of a trigger: its first record wakes. */
const TRIGGER_WATERMARK_BYTES = 8;

const NOTHING: Counters = { produced: 0n, lost: 0n, overwritten: 0n };

export class FlightRecorder {
  readonly set: EventSet;
  /** Dumps so far. */
  dumps = 0;
  readonly #trigger: EventSet | undefined;
  readonly #triggerNames: string;
  readonly #scratch: Uint8Array;
  /** By ring: samples that dumps have taken, in all. */
  readonly #kept: bigint[];
  readonly #counters: Counters[];
  /** What the next dump is for; empty when none was asked for. */
  #cause = "";
  #readyAtMs = 0;
  #slots = { from: 0, to: 0 };

  /** Opens the triggers' events a second time. Throws the typed errors of opening. */
  constructor(set: EventSet) {
    this.set = set;
    this.#scratch = new Uint8Array(set.options.ringBytes);
    this.#kept = set.rings.map(() => 0n);
    this.#counters = set.rings.map(() => NOTHING);
    const triggers = set.events.filter(({ spec }) => spec.attributes.trigger === true);
    this.#triggerNames = triggers.map(({ system, name }) => `${system}:${name}`).join(", ");
    this.#trigger = triggers.length === 0 ? undefined : openTrigger(triggers, set);
  }

  /** Asks for a dump. One that is asked for before the last is through follows it, once. */
  request(cause: string): void {
    if (this.#cause === "") this.#cause = cause;
  }

  /** Milliseconds until a dump that was asked for may begin; Infinity when none was. */
  dueInMs(nowMs: number): number {
    return this.#cause === "" ? Infinity : Math.max(0, this.#readyAtMs - nowMs);
  }

  start(): void {
    this.set.enable();
    this.#trigger?.enable();
  }

  /** Triggers wake the loop, but for those that come when a dump is due already. */
  register(poll: PollSet): void {
    const from = poll.count;
    if (this.#cause === "") this.#trigger?.register(poll);
    this.#slots = { from, to: poll.count };
    this.set.register(poll);
  }

  /** After each wait that followed register(). */
  notePoll(poll: PollSet): void {
    this.set.noteHangUps(poll);
    for (let slot = this.#slots.from; slot < this.#slots.to; slot++) {
      if (poll.readyEvents(slot) === 0) continue;
      this.request(this.#triggerNames);
      return;
    }
  }

  /**
   * Takes what the rings hold into the rings that are sent, which must be empty. Gives what it was
   * for; empty when none is due.
   */
  dump(nowMs: number): string {
    const cause = this.#cause;
    if (cause === "" || nowMs < this.#readyAtMs) return "";
    this.set.rings.forEach((_, index) => {
      this.#cut(index, true);
    });
    for (const { ring } of this.#trigger?.rings ?? []) ring.setTail(ring.refreshHead());
    this.dumps++;
    this.#cause = "";
    this.#readyAtMs = nowMs + DUMP_PAUSE_MS;
    return cause;
  }

  /** Stops recording. Gives by ring how many samples lie there that nobody asked for. */
  stop(): number[] {
    this.#trigger?.disable();
    this.set.disable();
    return this.set.rings.map((_, index) => this.#cut(index, false));
  }

  /** Of ring `index` at the last dump. */
  countersOf(index: number): Counters {
    return this.#counters[index]!;
  }

  close(): void {
    this.#trigger?.close();
    this.set.close();
  }

  #cut(index: number, isKept: boolean): number {
    const ring = this.set.rings[index]!;
    const { count, samples } = this.set.cut(ring, this.#scratch, isKept);
    this.#kept[index]! += BigInt(samples);
    const { produced, lost } = count;
    this.#counters[index] = { produced, lost, overwritten: produced - lost - this.#kept[index]! };
    return samples;
  }
}

function openTrigger(events: readonly ResolvedEvent[], set: EventSet): EventSet {
  return new EventSet(events, {
    ...set.options,
    ringBytes: PAGE_BYTES,
    watermarkBytes: TRIGGER_WATERMARK_BYTES,
    taskNames: false,
    isOverwrite: false,
    borrowsProbes: true,
  });
}
