/**
 * Which source ties a guest's TSC to the host's, and what it gives: the policy over manual offset,
 * KVM debugfs, an emulator's own clock, and ping.
 *
 *   --tsc-offset N      manual   guest = host + N, whatever else is known
 *   auto                kvm      exact, when debugfs has every vCPU of the guest ...
 *                         |      ... and trips do not contradict it over PINGS_REFUTE readings
 *                         v
 *                    emulator    +-2 us, while round trips bear it out (emulator_relation.ts)
 *                         v
 *                       ping     bounded by round trips
 *
 * Pings check the exact sources all the time: a trip that an exact relation cannot explain is a
 * finding, to be printed loudly. Every segment goes from guest TSC to host cycles since the
 * session's anchor. Holds no descriptors and no clocks: what was read is told by the caller.
 */
import { TimeMap } from "../../shared/tsc/time_map.ts";
import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import type { HostTsc } from "../../shared/tsc/tsc.ts";
import {
  type AlignmentDescription,
  type AlignmentMethod,
  type CpuAlignment,
  exactCpu,
  pingCpu,
  type UnavailableMethod,
} from "./alignment_description.ts";
import { Causality } from "./causality.ts";
import { EmulatorRelation } from "./emulator_relation.ts";
import type { VcpuTsc } from "./kvm_debugfs.ts";
import { guestOfHost, guestToHostSegment, tscRelation } from "./kvm_offset.ts";
import { type TscEpoch, TscTimeline } from "./kvm_timeline.ts";
import {
  PingEstimator,
  pingDisagreement,
  RATE_UNKNOWN,
  type RateRange,
  type RoundTrip,
} from "./ping.ts";

/** CPUs of one guest at most; a hostile Hello may claim more. */
export const GUEST_CPUS_MAX = 4096;
/** Readings of debugfs that trips contradict, one after the other, before `auto` gives KVM up. */
export const PINGS_REFUTE = 3;

export interface AlignmentOptions {
  /** What the user wants; "auto" unless told. */
  readonly wanted: AlignmentMethod | "auto";
  /** --tsc-offset; needed for "manual". */
  readonly manualOffset?: bigint;
  /** Host TSC from which all results count. */
  readonly hostAnchor: HostTsc;
  /** Host cycles per guest cycle, where that is known beforehand. */
  readonly rate?: RateRange;
  /** --trust-pairs: pairs of events tighten what round trips give. */
  readonly trustPairs?: boolean;
}

/** An exact relation that a round trip contradicts. */
export interface AlignmentFinding {
  readonly kind: "ping-disagrees";
  readonly method: AlignmentMethod;
  readonly at: HostTsc;
  /** How far beyond its own bound the exact relation is off, at least. */
  readonly excessCycles: number;
}

/** A vCPU known from debugfs; `map` is made anew when an epoch is inserted or corrected. */
interface ExactVcpu {
  readonly timeline: TscTimeline;
  map: TimeMap;
}

/** The relation of one guest's TSCs to the host's. */
export class GuestAlignment {
  readonly #options: AlignmentOptions;
  readonly #manual: TimeMap | undefined;
  readonly #vcpus = new Map<number, ExactVcpu>();
  readonly #apicIds = new Map<number, number>();
  readonly #unavailable = new Map<AlignmentMethod, UnavailableMethod>();
  readonly ping: PingEstimator;
  readonly causality: Causality;
  readonly #emulator: EmulatorRelation;
  #source = "";
  #contradictions = 0;
  #contradictedReading: number | undefined;
  #askedReading: number | undefined;
  #isRefuted = false;
  /** Round trips that contradicted the exact relation in force. */
  disagreementCount = 0;
  excessCyclesMax = 0;
  /** Times that debugfs was read. */
  kvmReadings = 0;

  /** Throws TypeError for "manual" without an offset. */
  constructor(options: AlignmentOptions) {
    const { wanted, manualOffset, hostAnchor, rate = RATE_UNKNOWN } = options;
    this.#options = options;
    this.ping = new PingEstimator(hostAnchor, rate);
    this.causality = new Causality(this.ping, options.trustPairs === true, hostAnchor, rate);
    this.#emulator = new EmulatorRelation(hostAnchor);
    if (wanted === "manual" && manualOffset === undefined) {
      throw new TypeError("Cannot align by hand: no offset, wants one");
    }
    if (manualOffset !== undefined) {
      this.#manual = this.#exactMap([
        { relation: tscRelation(manualOffset), from: hostAnchor, doubtFrom: hostAnchor },
      ]);
    }
    this.kvmFailed("not looked up yet", "");
  }

  /** Host TSC from which all results count. */
  get hostAnchor(): HostTsc {
    return this.#options.hostAnchor;
  }

  /** The source in force; "ping" also while it is not ready. */
  get method(): AlignmentMethod {
    const { wanted } = this.#options;
    if (wanted !== "auto") return wanted;
    if (this.#manual !== undefined) return "manual";
    if (this.#kvmServesAll() && !this.#isRefuted) return "kvm";
    return this.#emulator.isInForce ? "emulator" : "ping";
  }

  /** Whether each vCPU has a relation of its own; otherwise one serves all of them. */
  get isPerVcpu(): boolean {
    return this.method === "kvm";
  }

  /** Whether guest times can be converted. */
  get isReady(): boolean {
    if (this.method === "manual") return true;
    if (this.method === "kvm") return this.#kvmServesAll();
    if (this.method === "emulator") return this.#emulator.isInForce;
    return this.ping.isReady && (this.#options.wanted === "ping" || !this.#emulator.isAwaited);
  }

  /** The guest's CPUs and their APIC ids, undefined where it does not say. Throws RangeError. */
  setCpus(cpus: Iterable<{ readonly cpu: number; readonly apicId: number | undefined }>): void {
    this.#apicIds.clear();
    for (const { cpu, apicId } of cpus) {
      if (this.#apicIds.size === GUEST_CPUS_MAX) {
        throw new RangeError(`Cannot align a guest: more than ${GUEST_CPUS_MAX} CPUs`);
      }
      // A vCPU's id equals the CPU number unless the topology has gaps.
      this.#apicIds.set(cpu, apicId ?? cpu);
    }
  }

  /** debugfs (`source` says where) was read from host TSC `began` to `at`. Call at every poll. */
  setKvm(source: string, vcpus: readonly VcpuTsc[], at: HostTsc, began = at): void {
    this.#source = source;
    for (const { apicId, relation, isNested } of vcpus) {
      // While a nested guest runs the file shows that one's offset.
      if (isNested) continue;
      const known = this.#vcpus.get(apicId);
      if (known === undefined) {
        if (this.#vcpus.size === GUEST_CPUS_MAX) break;
        const timeline = new TscTimeline(relation, at, began);
        this.#vcpus.set(apicId, { timeline, map: this.#exactMap(timeline.epochs) });
      } else if (known.timeline.poll(relation, at, began)) {
        known.map = this.#exactMap(known.timeline.epochs);
      }
    }
    this.kvmReadings++;
    if (!this.#isRefuted) this.#unavailable.delete("kvm");
  }

  /** KVM's relation cannot be had, and why. */
  kvmFailed(reason: string, hint: string): void {
    this.#unavailable.set("kvm", { method: "kvm", reason, hint });
  }

  /** The emulator's clock is being read: it is waited for, or for why it cannot be had. */
  expectEmulator(): void {
    this.#emulator.expect();
  }

  /** A round of readings of the emulator's clock (emulator_sandwich.ts). */
  addEmulatorRound(trips: readonly RoundTrip[]): void {
    this.#emulator.addRound(trips);
    if (this.#emulator.state === "measured") this.#unavailable.delete("emulator");
  }

  /** The emulator's clock cannot be read, and why. */
  emulatorFailed(reason: string, hint: string): void {
    this.#emulator.stop();
    this.#unavailable.set("emulator", { method: "emulator", reason, hint });
  }

  /** Whether rounds have given anything. */
  get hasEmulatorRound(): boolean {
    return this.#emulator.roundCount > 0;
  }

  /** A round trip says that the emulator's relation may just have changed. */
  get wantsEmulatorRound(): boolean {
    return this.#emulator.wantsRound;
  }

  /**
   * kvm:kvm_write_tsc_offset of this VM, stamped `at`: tells when, debugfs tells whether, so that
   * wantsKvmReading becomes true. Returns whether this corrected a relation already read.
   */
  onKvmWrite(apicId: number, previous: bigint, next: bigint, at: HostTsc): boolean {
    const vcpu = this.#vcpus.get(apicId);
    if (vcpu === undefined) return false;
    this.#askedReading = this.kvmReadings;
    if (!vcpu.timeline.write(previous, next, at)) return false;
    vcpu.map = this.#exactMap(vcpu.timeline.epochs);
    return true;
  }

  /** A round trip came back. Returns a finding when it contradicts the exact relation in force. */
  addRoundTrip(trip: RoundTrip): AlignmentFinding | undefined {
    this.ping.add(trip);
    this.causality.addRoundTrip(trip);
    if (this.#emulator.check(trip)) return this.#refuteEmulator(trip);
    const { method } = this;
    if (method === "ping" || method === "emulator") return undefined;
    const excessCycles = this.#leastDisagreement(trip);
    if (excessCycles === 0) {
      this.#contradictions = 0;
      this.#contradictedReading = undefined;
      return undefined;
    }
    if (method === "kvm" && !this.#outlivesReading()) return undefined;
    this.disagreementCount++;
    this.excessCyclesMax = Math.max(this.excessCyclesMax, excessCycles);
    if (++this.#contradictions >= PINGS_REFUTE) this.#refute();
    return { kind: "ping-disagrees", method, at: trip.hostReceived, excessCycles };
  }

  /**
   * The guest's clock showed a step, which its TSC may have made: what was measured before need not
   * hold any more. An exact source has to be read again.
   */
  onClockStep(): void {
    this.ping.restart();
    this.causality.restart();
    this.#emulator.doubt();
    this.#askedReading = this.kvmReadings;
  }

  /** Guest TSC to host cycles for `cpu`, of the whole session; undefined while not ready. */
  mapFor(cpu: number): TimeMap | undefined {
    const { method } = this;
    if (method === "manual") return this.#manual;
    if (method === "kvm") return this.#vcpuOf(cpu)?.map;
    if (!this.isReady) return undefined;
    return method === "emulator" ? this.#emulator.estimator.map : this.ping.map;
  }

  /** Guest TSC to host cycles for `cpu` as of now; undefined while not ready. */
  segmentFor(cpu: number): TimeSegment | undefined {
    return this.mapFor(cpu)?.newest;
  }

  /** KVM's relation may just have changed (a trip, the guest's clock or an event says so). */
  get wantsKvmReading(): boolean {
    const reading = this.kvmReadings;
    const isAsked = this.#contradictedReading === reading || this.#askedReading === reading;
    return isAsked && this.method === "kvm";
  }

  /** Times that the source in force has been asked, for telling what a later change means. */
  get readingCount(): number {
    const { method } = this;
    if (method === "kvm") return this.kvmReadings;
    // Rounds of the emulator are rare: that nothing has stepped since is what trips tell.
    const rounds = method === "emulator" ? this.#emulator.roundCount : 0;
    return rounds + this.ping.pingCount;
  }

  /** What is in force, for printing. */
  describe(): AlignmentDescription {
    const { method } = this;
    const unavailable = [...this.#unavailable.values()].filter((u) => u.method !== method);
    return {
      method,
      wanted: this.#options.wanted,
      isReady: this.isReady,
      source: method === "kvm" ? this.#source : "",
      cpus: this.#describeCpus(),
      unexplainedWrites: method === "kvm" ? this.#unexplainedWrites() : 0,
      emulatorReadings: this.#emulator.estimator.pingCount,
      causality: this.causality.describe(),
      pingCount: this.ping.pingCount,
      pingBoundCycles: this.ping.boundCycles,
      wireCyclesMin: this.ping.wireCyclesMin,
      disagreementCount: this.disagreementCount,
      excessCyclesMax: this.excessCyclesMax,
      unavailable,
    };
  }

  #describeCpus(): CpuAlignment[] {
    const { method } = this;
    if (method === "ping") return [pingCpu(this.ping)];
    if (method === "emulator") return [pingCpu(this.#emulator.estimator)];
    if (method === "manual") {
      return [exactCpu(undefined, undefined, tscRelation(this.#options.manualOffset!), 0)];
    }
    return [...this.#apicIds]
      .filter(([, apicId]) => this.#vcpus.has(apicId))
      .map(([cpu, apicId]) => {
        const { timeline, map } = this.#vcpus.get(apicId)!;
        const { boundCycles, epoch } = map.newest!;
        return exactCpu(cpu, apicId, timeline.newest.relation, boundCycles, epoch);
      });
  }

  #unexplainedWrites(): number {
    let sum = 0;
    for (const { timeline } of this.#vcpus.values()) sum += timeline.unexplainedWrites;
    return sum;
  }

  #kvmServesAll(): boolean {
    if (this.#unavailable.has("kvm") || this.#apicIds.size === 0) return false;
    for (const apicId of this.#apicIds.values()) if (!this.#vcpus.has(apicId)) return false;
    return true;
  }

  #vcpuOf(cpu: number): ExactVcpu | undefined {
    const apicId = this.#apicIds.get(cpu);
    return apicId === undefined ? undefined : this.#vcpus.get(apicId);
  }

  /** Epochs by host time as a map by guest time: where a TSC stepped back, the later epoch wins. */
  #exactMap(epochs: readonly TscEpoch[]): TimeMap {
    const map = new TimeMap();
    epochs.forEach(({ relation, from, doubtFrom }, i) => {
      const guestFrom = guestOfHost(relation, from);
      const segment = guestToHostSegment(relation, guestFrom, this.hostAnchor, i);
      map.pushStep(segment, guestOfHost(relation, doubtFrom), guestFrom);
    });
    return map;
  }

  /**
   * A contradiction may mean that the offset was just changed. It counts when it is still there
   * after debugfs has been read again, and once per reading.
   */
  #outlivesReading(): boolean {
    const seen = this.#contradictedReading;
    this.#contradictedReading = this.kvmReadings;
    return seen !== undefined && seen !== this.kvmReadings;
  }

  /** The trip does not say which vCPU answered: any of them may explain it. */
  #leastDisagreement(trip: RoundTrip): number {
    const { method } = this;
    if (method === "manual") return pingDisagreement(trip, this.#manual!.newest!);
    let least = Infinity;
    for (const { map } of this.#vcpus.values()) {
      least = Math.min(least, pingDisagreement(trip, map.newest!));
      if (least === 0) return 0;
    }
    return least === Infinity ? 0 : least;
  }

  #refuteEmulator(trip: RoundTrip): AlignmentFinding {
    const { excessCyclesMax: excessCycles } = this.#emulator;
    this.emulatorFailed("round trips contradict it", "has the guest written its TSC?");
    return { kind: "ping-disagrees", method: "emulator", at: trip.hostReceived, excessCycles };
  }

  #refute(): void {
    if (this.#options.wanted !== "auto" || this.method !== "kvm") return;
    this.#isRefuted = true;
    this.#unavailable.set("kvm", {
      method: "kvm",
      reason: `round trips contradict the relation of ${this.#source}`,
      hint: "this may be another guest's: name the right one with --vm",
    });
  }
}
