/**
 * How a guest's TSC becomes canonical time while a session runs: the policy of align/alignment.ts,
 * fed by this thin shell, which pings, reads KVM's debugfs or an emulator's clock, and finds out
 * whose guest it is.
 */

import { readTsc } from "../../shared/sys/clock.ts";
import { peerPid, tcpEnds } from "../../shared/sys/socket.ts";
import type { TscFrequency } from "../../shared/tsc/perf_clock_fit.ts";
import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import { guestTsc, hostTsc, joinHalves } from "../../shared/tsc/tsc.ts";
import type { Hello } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { PongView } from "../../shared/wire/ping_frame.ts";
import { type AlignmentFinding, GuestAlignment } from "../align/alignment.ts";
import { formatCycles, formatOffset } from "../align/alignment_description.ts";
import type { CausalBound } from "../align/causality.ts";
import { KvmLookupError, type KvmVm, readVcpus, vmOfPid } from "../align/kvm_debugfs.ts";
import { pidOfTcpPeer } from "../align/peer_lookup.ts";
import { offsetOfTrip, RATE_EQUAL, RATE_UNKNOWN, type RoundTrip } from "../align/ping.ts";
import { VmLookupError } from "../align/vm_lookup_error.ts";
import { emulatesAtHostRate } from "../align/vmm_clock.ts";
import type { GuestLink } from "../link/guest_link.ts";
import { type Source, SourceError } from "../link/source.ts";
import { EmulatorProbe, EmulatorProbeError } from "./emulator_probe.ts";
import type { HostClock } from "./host_clock.ts";
import { KvmWatch, KvmWatchError } from "./kvm_watch.ts";
import { machineName } from "./machine_name.ts";
import { PingBurst, type Pinger } from "./ping_burst.ts";

/** How often KVM's offsets are read again. */
const KVM_POLL_MS = 1000;
/** A manual offset that is further off puts events where no number tells cycles apart (2^53). */
const MANUAL_EXCESS_CYCLES_MAX = 2 ** 52;
/** Pings that may wait for their answer. */
const PINGS_WAITING_MAX = 64;

export interface GuestTimeOptions {
  readonly anchor: bigint;
  readonly machine: number;
  /** --tsc-offset. */
  readonly manualOffset: bigint | undefined;
  /** The process that --vm means. */
  readonly vmPid: number | undefined;
  /** --trust-pairs. */
  readonly trustPairs: boolean;
  readonly source: Source;
  readonly hostClock: HostClock;
  readonly onStatus: (text: string) => void;
}

export class GuestTime {
  readonly alignment: GuestAlignment;
  /** Grows with each renewal. */
  version = 0;
  /** Answers to pings that were not sent, or not waiting for one. */
  unaskedPongs = 0;
  readonly #options: GuestTimeOptions;
  /** The process at the other end, or why it is not known. */
  readonly owner: number | VmLookupError;
  /** Why changes of KVM's offset are seen by reading debugfs alone; "" while they are followed. */
  watchFailure = "";
  readonly #isEmulated: boolean;
  #vm: KvmVm | undefined;
  #watch: KvmWatch | undefined;
  #emulator: EmulatorProbe | undefined;
  #nextKvmMs = 0;
  #nextPingMs = 0;
  #sequence = 0;
  /** Stamps of pings that wait for their answer, by sequence number. */
  readonly #sent = new Map<number, bigint>();
  readonly #burst = new PingBurst();
  #hasComplained = false;

  constructor(options: GuestTimeOptions) {
    this.#options = options;
    const { manualOffset, anchor, source, vmPid, hostClock } = options;
    this.owner = ownerOf(source, vmPid);
    const hostAnchor = hostTsc(anchor);
    this.#isEmulated = typeof this.owner === "number" && emulatesAtHostRate(this.owner);
    const rate = this.#isEmulated ? RATE_EQUAL : RATE_UNKNOWN;
    this.alignment = new GuestAlignment(
      manualOffset === undefined
        ? { wanted: "auto", hostAnchor, rate, trustPairs: options.trustPairs }
        : { wanted: "manual", manualOffset, hostAnchor, rate },
    );
    if (!this.#isEmulated || manualOffset !== undefined || source.isFile) return;
    this.#emulator = new EmulatorProbe(this.owner as number, hostClock);
    this.alignment.expectEmulator();
  }

  /** Guest TSC to canonical cycles; undefined until known. */
  segmentFor(cpu: number): TimeSegment | undefined {
    return this.alignment.segmentFor(cpu);
  }

  /** A stream began: its CPUs are known, and the process behind the link can be looked for. */
  begin(hello: Hello): void {
    if (hello.overwrite) this.alignment.ping.expectPast();
    this.alignment.setCpus(hello.cpus.map(({ cpu, apicId }) => ({ cpu, apicId })));
    this.#vm = this.#findVm();
    this.#openWatch();
    this.#nextKvmMs = 0;
    this.version++;
  }

  /** Does what is due. Throws SourceError: a burst of pings reads what comes meanwhile. */
  tick(link: GuestLink, nowMs: number): void {
    if (!link.isStreaming || link.source.isFile) {
      this.#emulator?.close();
      return;
    }
    if (this.#emulator !== undefined) this.#readEmulator(this.#emulator, nowMs);
    this.#takeWrites();
    const isKvmDue = nowMs >= this.#nextKvmMs || this.alignment.wantsKvmReading;
    if (this.#vm !== undefined && isKvmDue) this.#readKvm(this.#vm, nowMs);
    if (nowMs < this.#nextPingMs) return;
    const { ping } = this.alignment;
    this.#burst.run(link, this.#pingerOf(link), ping.burstPings);
    this.#nextPingMs = nowMs + ping.nextDelayMs();
  }

  /**
   * The answer to a ping; one that was not asked, or is answered again, is passed over. Throws
   * SourceError when --tsc-offset is off by months.
   */
  onPong({ seq, receivedTsc, sentTsc }: PongView, hostReceived: bigint): void {
    const sent = this.#sent.get(seq);
    if (sent === undefined) {
      // One that was given up may still be answered.
      if (seq >= this.#sequence || seq > this.#sequence - PINGS_WAITING_MAX) this.unaskedPongs++;
      return;
    }
    this.#sent.delete(seq);
    const trip = {
      hostSent: hostTsc(sent),
      guestReceived: guestTsc(joinHalves(receivedTsc[0]!, receivedTsc[1]!)),
      guestSent: guestTsc(joinHalves(sentTsc[0]!, sentTsc[1]!)),
      hostReceived: hostTsc(hostReceived),
    };
    const finding = this.alignment.addRoundTrip(trip);
    this.version++;
    if (finding?.method === "emulator") {
      this.#dropEmulator();
      this.warn(
        "round trips contradict QEMU's emulated TSC by at least " +
          `${Math.round(finding.excessCycles)} cycles: it is not used any more, only ping`,
      );
      return;
    }
    if (finding === undefined || this.#hasComplained) return;
    this.#hasComplained = true;
    const said = finding.method === "manual" ? this.#contradictManual(finding, trip) : "";
    this.warn(
      `round trips contradict the TSC offset (${finding.method}) by at least ` +
        `${Math.round(finding.excessCycles)} cycles: latencies across the boundary are off${said}`,
    );
  }

  /** What is to be said beyond that of --tsc-offset. Throws SourceError when it cannot be used. */
  #contradictManual({ excessCycles }: AlignmentFinding, trip: RoundTrip): string {
    const { hostClock, manualOffset = 0n, source } = this.#options;
    const { offset, boundCycles } = offsetOfTrip(trip);
    const hz = hostClock.frequency?.hz;
    const bound = hz === undefined ? `${boundCycles} cycles` : formatCycles(boundCycles, hz);
    const said = `round trips say ${formatOffset(offset)} +-${bound}`;
    const hint = "leave --tsc-offset out: the relation of the clocks is found out without it";
    if (excessCycles <= MANUAL_EXCESS_CYCLES_MAX) return `, ${said}\nHINT: ${hint}`;
    throw new SourceError(
      `Cannot use --tsc-offset ${formatOffset(manualOffset)} with ${source.name}: ${said}`,
      hint,
    );
  }

  /** A pair of events, one of them the host's: see causality.ts. */
  addPair(bound: CausalBound): void {
    const { causality, method } = this.alignment;
    const isUsed = causality.addPair(bound);
    if (isUsed && causality.isTrusted && method === "ping") this.version++;
  }

  /** Tells the user what is wrong with this guest's clocks. */
  warn(text: string): void {
    const { machine, onStatus } = this.#options;
    onStatus(`WARNING: ${machineName(machine)}: ${text}`);
  }

  /** The rate of canonical time; undefined until measured. */
  get hostFrequency(): TscFrequency | undefined {
    return this.#options.hostClock.frequency;
  }

  /** The guest's clock has stepped: its TSC may have, too. */
  onClockStep(): void {
    this.alignment.onClockStep();
    this.version++;
  }

  /** Stops what reads the emulator's clock, and KVM's. */
  close(): void {
    this.#emulator?.close();
    this.#watch?.close();
    this.#watch = undefined;
  }

  /** Sends pings; our own stamps of them are kept here, where no guest can change them. */
  #pingerOf(link: GuestLink): Pinger {
    return {
      send: (awaitUs) => {
        const seq = this.#sequence++;
        const sent = link.ping(seq, awaitUs);
        if (sent === undefined) return undefined;
        this.#sent.set(seq, sent);
        // A guest that does not answer costs no memory: the oldest ping is given up.
        this.#sent.delete(seq - PINGS_WAITING_MAX);
        return seq;
      },
      isWaiting: (seq) => this.#sent.has(seq),
    };
  }

  /** Opened before debugfs is read for the first time: no change can come between. */
  #openWatch(): void {
    const pid = this.#vm?.pid;
    if (this.#watch?.pid === pid) return;
    this.#watch?.close();
    this.#watch = undefined;
    this.watchFailure = "";
    if (pid === undefined) return;
    try {
      this.#watch = new KvmWatch(pid, this.#options.hostClock);
    } catch (error) {
      if (!(error instanceof KvmWatchError)) throw error;
      this.watchFailure = error.message;
    }
  }

  #takeWrites(): void {
    for (const { apicId, previous, next, at } of this.#watch?.poll() ?? []) {
      if (this.alignment.onKvmWrite(apicId, previous, next, at)) this.version++;
    }
  }

  #findVm(): KvmVm | undefined {
    try {
      if (typeof this.owner !== "number") throw this.owner;
      if (this.#isEmulated) {
        throw new KvmLookupError("QEMU emulates this guest's CPUs, without KVM", "");
      }
      return vmOfPid(this.owner);
    } catch (error) {
      if (!(error instanceof VmLookupError)) throw error;
      this.alignment.kvmFailed(error.message, error.hint);
      return undefined;
    }
  }

  #readEmulator(emulator: EmulatorProbe, nowMs: number): void {
    const { alignment } = this;
    try {
      const trips = emulator.tick(nowMs, alignment.wantsEmulatorRound);
      if (trips === undefined) return;
      if (trips.length > 0) alignment.addEmulatorRound(trips);
      else if (!alignment.hasEmulatorRound) {
        alignment.emulatorFailed("the guest's rdtsc was not seen to call it", "");
      }
    } catch (error) {
      if (!(error instanceof EmulatorProbeError)) throw error;
      alignment.emulatorFailed(error.message, error.hint);
      this.#dropEmulator();
    }
    this.version++;
  }

  #dropEmulator(): void {
    this.#emulator?.close();
    this.#emulator = undefined;
  }

  #readKvm(vm: KvmVm, nowMs: number): void {
    this.#nextKvmMs = nowMs + KVM_POLL_MS;
    try {
      const began = hostTsc(readTsc());
      const vcpus = readVcpus(vm);
      this.alignment.setKvm(vm.path, vcpus, hostTsc(readTsc()), began);
    } catch (error) {
      if (!(error instanceof KvmLookupError)) throw error;
      this.alignment.kvmFailed(error.message, error.hint);
    }
    this.version++;
  }
}

/**
 * The process at the other end of a link: QEMU, or whoever listens there; or why it is not known.
 */
function ownerOf(source: Source, vmPid: number | undefined): number | VmLookupError {
  const { fd, address, isFile } = source;
  if (vmPid !== undefined) return vmPid;
  try {
    if (address?.kind === "unix") return peerPid(fd);
    if (address !== undefined) {
      const { own, peer } = tcpEnds(fd);
      return pidOfTcpPeer(own, peer);
    }
  } catch (error) {
    if (error instanceof VmLookupError) return error;
    throw error;
  }
  const what = isFile ? "a recording has no process behind it" : "nothing is connected";
  return new VmLookupError(`Cannot find the guest's VMM: ${what}`, "name it with --vm");
}
