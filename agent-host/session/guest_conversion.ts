/**
 * A guest's perf times as canonical time: its clock, its TSC against the host's, and both chained
 * for each of its CPUs.
 *
 *   ClockSample -> GuestClock \
 *   Pong, debugfs -> GuestTime       > one TimeMap per CPU: guest perf ns -> canonical cycles
 */
import { clocksourceOf, hasOldStamps } from "../../shared/tsc/clocksource.ts";
import type { CpuSkews } from "../../shared/tsc/cpu_skews.ts";
import { convert } from "../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
import type { ClockSample, Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { causalBound } from "../align/causality.ts";
import { type ClockStep, ClockSteps, joinSteps } from "../align/clock_step.ts";
import { GuestTimeMap } from "../align/guest_time_map.ts";
import type { ClosePair } from "../analyze/closest_pairs.ts";
import type { TimeSegments } from "../analyze/decode.ts";
import type { TimeLine } from "./clock_doubts.ts";
import { GuestClock } from "./guest_clock.ts";
import type { GuestTime } from "./guest_time.ts";
import type { Session } from "./session.ts";

/** TSCs that are further apart than this are worth a word; less is noise of the guest's clock. */
const APART_CYCLES_WARN = 3_000;
const APART_CPUS_SHOWN = 8;

/** What of a session a conversion needs. */
export type Anchored = Pick<Session, "anchor" | "setAnchorOnce">;

type StepListener = (step: ClockStep, timeLine: TimeLine) => void;

export class GuestConversion {
  clock: GuestClock | undefined;
  /** Its TSC against the host's. Undefined: canonical time is this guest's own TSC. */
  readonly time: GuestTime | undefined;
  readonly #session: Anchored;
  /** By CPU, made of the readings of these versions. */
  readonly #chains = new Map<number, GuestTimeMap>();
  /** Of the clock, where it is the whole conversion. */
  #steps = new ClockSteps();
  #clockVersion = -1;
  #timeVersion = -1;
  readonly #onStep: StepListener;
  #hasWarnedApart = false;
  #hasWarnedOld = false;

  /** `onStep` hears what a step has made of times that were converted before it was known. */
  constructor(session: Anchored, time: GuestTime | undefined, onStep: StepListener = () => {}) {
    this.#session = session;
    this.time = time;
    this.#onStep = onStep;
  }

  /** A reading of its clock, and the Hello of the stream that it came with. */
  addSample(sample: ClockSample, hello: Hello | undefined): void {
    if (this.clock === undefined) {
      // Without a host clock in play the guest's own TSC is the time line, from here on.
      this.#session.setAnchorOnce(sample.realtimeTsc);
      const anchor = this.time === undefined ? this.#session.anchor : undefined;
      const name = hello?.clock?.clocksource ?? "";
      const clocksource = clocksourceOf(name);
      this.clock = new GuestClock(anchor, clocksource);
      const isFitted = sample.conversion?.$case === "fitted";
      if (isFitted && hasOldStamps(clocksource, hello?.cpus.length ?? 0)) this.#warnOld(name);
    }
    const { epoch } = this.clock;
    this.clock.add(sample);
    // Suspend, restore, another clocksource: what else holds has to be asked again.
    if (this.clock.epoch !== epoch) this.time?.onClockStep();
    const step = this.time === undefined ? this.#steps.note(this.clock) : undefined;
    if (step !== undefined) this.#onStep(step, this.timeLine);
    this.#warnApart(this.clock.skews);
  }

  /** Once, however many streams follow: no bound covers a stamp that was read before its event. */
  #warnOld(clocksource: string): void {
    if (this.#hasWarnedOld) return;
    this.#hasWarnedOld = true;
    this.time?.warn(
      `its CPUs share readings of its clocksource ${clocksource}: while one of them stands still, ` +
        "stamps of the others may be older than their events, beyond the bound " +
        "(clocksource=kvm-clock or tsc has no such readings)",
    );
  }

  /** Once: relations that are measured for one TSC hold for the others only as far as this. */
  #warnApart({ apart, spreadCycles }: CpuSkews): void {
    const { time } = this;
    if (this.#hasWarnedApart || time === undefined || spreadCycles < APART_CYCLES_WARN) return;
    this.#hasWarnedApart = true;
    const consequence = time.alignment.isPerVcpu
      ? "each is converted with its own relation"
      : "bounds are wider by as much";
    const cpus = apart.slice(0, APART_CPUS_SHOWN).map(({ cpu }) => cpu);
    time.warn(
      `the TSCs of its CPUs are up to ${Math.round(spreadCycles)} cycles apart ` +
        `(CPU ${cpus.join(", ")} from CPU ${this.clock?.referenceCpu}): ${consequence}`,
    );
  }

  /** Another stream follows, with a clock of its own. */
  reset(): void {
    this.clock = undefined;
    this.#steps = new ClockSteps();
    this.#chains.clear();
  }

  /** Guest perf ns to canonical cycles on a CPU; undefined until known. */
  mapFor(cpu: number): TimeSegments | undefined {
    const { clock, time } = this;
    if (clock === undefined) return undefined;
    if (time === undefined) return clock.map;
    if (clock.map === undefined) return undefined;
    const chain = this.#chainOf(cpu, clock, time);
    if (clock.version !== this.#clockVersion || time.version !== this.#timeVersion) {
      this.#renew(clock, time);
    }
    return chain.map.newest === undefined ? undefined : chain.map;
  }

  get timeLine(): TimeLine {
    const { clock, time } = this;
    if (time === undefined) return { hz: clock?.frequency?.hz, kind: "recorded" };
    return { hz: time.hostFrequency?.hz, kind: "guest" };
  }

  /** Readings of its clock that round trips contradict by more than a double counts. */
  get refused(): number {
    let refused = 0;
    for (const chain of this.#chains.values()) refused += chain.refused;
    return refused;
  }

  /** What is new holds for the CPUs that send nothing, too: their times may have been used. */
  refresh(): void {
    const [cpu] = this.#chains.keys();
    if (cpu !== undefined) this.mapFor(cpu);
  }

  /**
   * |error| of this guest's times in canonical cycles, at guest TSC `nowTsc`, of `cpu` and every
   * CPU that has been asked for.
   */
  boundCycles(cpu: number, nowTsc: bigint): number {
    const { clock, time } = this;
    if (clock === undefined) return Infinity;
    if (time === undefined) return clock.boundCycles;
    // One relation for all CPUs is one conversion for all.
    let worst = this.boundOf(cpu, nowTsc);
    if (!time.alignment.isPerVcpu) return worst;
    for (const known of this.#chains.keys()) worst = Math.max(worst, this.boundOf(known, nowTsc));
    return worst;
  }

  /** The same of one CPU; Infinity until its conversion is known. */
  boundOf(cpu: number, nowTsc: bigint): number {
    const { clock, time } = this;
    if (clock === undefined) return Infinity;
    if (time === undefined) return clock.boundCycles;
    // Of the conversion that is in force, which follows what is known of the clocks with a delay.
    const map = this.mapFor(cpu) && this.#chains.get(cpu)?.map;
    if (map === undefined) return Infinity;
    const { lastNs, wall, frequency } = clock;
    const sinceReading = Number(BigInt.asIntN(64, nowTsc - (wall?.tsc ?? 0n)));
    const aheadNs = (Math.max(0, sinceReading) / (frequency?.hz ?? 1e9)) * 1e9;
    return map.boundOver(lastNs, lastNs + BigInt(Math.ceil(aheadNs)));
  }

  /** A pair of one of its events and one of the host's: what it says of the clocks. */
  addPair(pair: ClosePair): void {
    const { clock, time } = this;
    if (time?.alignment.method !== "ping" || clock?.sharedMap === undefined) return;
    const bound = causalBound(pair, clock.sharedMap, time.alignment.hostAnchor);
    if (bound !== undefined) time.addPair(bound);
  }

  /**
   * The canonical cycles before which no event will be put that happens after a guest TSC: events
   * are converted by what is in force for their CPU, which follows what is known with a delay.
   */
  canonical(tsc: bigint, cpu: number): number {
    const segment = this.time?.segmentFor(cpu);
    if (segment === undefined) return Number(BigInt.asIntN(64, tsc - this.#session.anchor));
    let least = convert(segment, lowHalf(tsc), highHalf(tsc));
    for (const chain of this.#chains.values()) {
      const inForce = chain.alignmentInForce;
      if (inForce === undefined) continue;
      least = Math.min(least, convert(inForce, lowHalf(tsc), highHalf(tsc)));
    }
    return least;
  }

  /** Takes what is new into the chains of all CPUs: a step that several of them find is one. */
  #renew(clock: GuestClock, time: GuestTime): void {
    this.#clockVersion = clock.version;
    this.#timeVersion = time.version;
    let found: ClockStep | undefined;
    for (const [cpu, chain] of this.#chains) {
      updateChain(chain, cpu, clock, time);
      const step = chain.takeStep();
      if (step !== undefined) found = found === undefined ? step : joinSteps(found, step);
    }
    if (found !== undefined) this.#onStep(found, this.timeLine);
  }

  #chainOf(cpu: number, clock: GuestClock, time: GuestTime): GuestTimeMap {
    const known = this.#chains.get(cpu);
    if (known !== undefined) return known;
    const made = new GuestTimeMap();
    this.#chains.set(cpu, made);
    updateChain(made, cpu, clock, time);
    return made;
  }
}

function updateChain(chain: GuestTimeMap, cpu: number, clock: GuestClock, time: GuestTime): void {
  const { alignment } = time;
  const clockMap = alignment.isPerVcpu ? clock.mapFor(cpu) : clock.sharedMap;
  if (clockMap === undefined) return;
  chain.update({
    clock: clockMap,
    isClockExact: clock.isExact,
    clockReadings: clock.readingCount,
    clockNs: clock.lastNs,
    alignment: alignment.mapFor(cpu),
    alignmentMethod: alignment.method,
    alignmentReadings: alignment.readingCount,
  });
}
