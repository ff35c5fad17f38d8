/** The rings of one machine: an intake for each CPU, decoded with that CPU's time map. */

import type { UserSymbols } from "../../shared/symbol/user_symbols.ts";
import { RingDecoder, type TimeSegments } from "../analyze/decode.ts";
import type { DecodeCounters } from "../analyze/decode_counters.ts";
import { EventLookup } from "../analyze/event_lookup.ts";
import type { SampleLayout } from "../analyze/sample_layout.ts";
import type { TaskListener } from "../analyze/side_records.ts";
import { RingIntake } from "./ring_intake.ts";
import type { Session } from "./session.ts";
import { TaskNames } from "./task_names.ts";

/**
 * Stamps this far ahead (some 10 ms) hold up nobody for long, and are no sign of a false clock: the
 * bound is that of the conversion, and the relation may just have been measured anew.
 */
const FUTURE_SLACK_CYCLES = 30_000_000;

export class MachineRings {
  readonly names = new TaskNames();
  readonly mergerSource: number;
  readonly intakes = new Map<number, RingIntake>();
  lookup = new EventLookup();
  /**
   * Who wants to know which code processes map, for call chains. Undefined where there are none: of
   * thousands of processes the address spaces would be kept for nothing.
   */
  users: UserSymbols | undefined;
  readonly #session: Session;
  readonly #machine: number;
  #layout: SampleLayout | undefined;

  constructor(session: Session, machine: number) {
    this.#session = session;
    this.#machine = machine;
    this.mergerSource = session.merger.addSource();
  }

  /** Sets how the records of this machine lie; a stream that comes anew may change it. */
  setLayout(layout: SampleLayout): void {
    this.#layout = layout;
  }

  /** The intake of a CPU, made when its first bytes come. */
  intake(cpu: number): RingIntake {
    const known = this.intakes.get(cpu);
    if (known !== undefined) return known;
    if (this.#layout === undefined) throw new RangeError("Cannot decode a ring: no layout yet");
    const { pool, merger, events, losses } = this.#session;
    const intake = new RingIntake(
      this.#machine,
      cpu,
      merger.addRing(this.mergerSource),
      new RingDecoder(this.lookup, this.#layout, this.#tasks),
      { pool, merger, losses, programs: events.programsOf(this.#machine) },
    );
    this.#session.addIntake(intake);
    this.intakes.set(cpu, intake);
    return intake;
  }

  /**
   * Nothing that was read at host TSC `tsc` can be newer than that and the clock's bound: a false
   * stamp beyond it would hold up the merger for good. In canonical cycles, as the bound.
   */
  latestAt(tsc: bigint, boundCycles: number): number {
    const present = Number(BigInt.asIntN(64, tsc - this.#session.anchor));
    return present + boundCycles + FUTURE_SLACK_CYCLES;
  }

  /** The newest time that was converted; -Infinity before the first. */
  get lastCycles(): number {
    let last = Number.NEGATIVE_INFINITY;
    for (const { decoder } of this.intakes.values()) last = Math.max(last, decoder.lastCycles);
    return last;
  }

  /** Sets latestAt() for all rings. */
  setLatest(tsc: bigint, boundCycles: number): void {
    const latest = this.latestAt(tsc, boundCycles);
    for (const { decoder } of this.intakes.values()) decoder.latestCycles = latest;
  }

  /** What has been decoded so far, of all rings. */
  decoded(name: keyof DecodeCounters): number {
    let sum = 0;
    for (const { decoder } of this.intakes.values()) sum += decoder.counters[name];
    return sum;
  }

  /** Decodes all that waits, with the map of each CPU. */
  decode(mapOf: (cpu: number) => TimeSegments | undefined): void {
    for (const intake of this.intakes.values()) {
      if (!intake.hasUndecoded) continue;
      const map = mapOf(intake.cpu);
      if (map !== undefined) intake.decode(map);
    }
  }

  /** Gives up what has no clock by now: nothing more comes. */
  discardUndecoded(): void {
    for (const intake of this.intakes.values()) intake.discardUndecoded();
  }

  readonly #tasks: TaskListener = {
    comm: (_machine, _pid, tid, memory, from, to, cycles) => {
      this.names.set(tid, memory, from, to, cycles);
    },
    fork: (_machine, pid, tid, parentPid, parentTid, cycles) => {
      this.names.fork(tid, parentTid, cycles);
      if (pid !== parentPid) this.users?.fork(pid, parentPid, cycles);
    },
    exit: (_machine, pid, tid, cycles) => {
      this.names.exit(tid, cycles);
      if (pid === tid) this.users?.exit(pid);
    },
    exec: (_machine, pid, cycles) => this.users?.exec(pid, cycles),
    map: (_machine, pid, mapping, cycles) => this.users?.map(pid, mapping, cycles),
  };
}
