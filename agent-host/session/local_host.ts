/**
 * The host itself in the session: its events, sampled here, drained from their rings into the same
 * pipeline as a guest's.
 */

import { EventSet } from "../../shared/event/event_set.ts";
import { readMachineInfo, selectCpus } from "../../shared/event/machine.ts";
import { resolveEvents } from "../../shared/event/resolve.ts";
import { snapshotTaskNames } from "../../shared/event/task_names.ts";
import { PERF_SAMPLE_IDENTIFIER } from "../../shared/perf/sample_type.ts";
import { stillOffered } from "../../shared/perf/user_time.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import type { PollSet } from "../../shared/sys/poll.ts";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { ExactPerfClock, perfConversion, perfNsOfTsc } from "../../shared/tsc/perf_to_tsc.ts";
import type { TimeMap } from "../../shared/tsc/time_map.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
import { ClockSteps } from "../align/clock_step.ts";
import { VcpuThreads } from "../align/vcpu_threads.ts";
import type { CpuLedger } from "../analyze/cpu_ledger.ts";
import { sampleLayout } from "../analyze/sample_layout.ts";
import { ClockDoubts } from "./clock_doubts.ts";
import { evaluationOf } from "./evaluation.ts";
import type { WantedEvent } from "./guest_events.ts";
import { lostEvents, NO_ROOM, withNotRecorded } from "./guest_ledger.ts";
import type { HostClock } from "./host_clock.ts";
import { HostSymbols } from "./host_symbols.ts";
import { MachineRings } from "./machine_rings.ts";
import type { Session } from "./session.ts";
import type { SessionEvent } from "./session_event.ts";

/** Of a ring: fill at which the kernel wakes the engine. */
const WATERMARK_SHARE = 1 / 4;
const EXACT_RENEWAL_MS = 1000;

export interface LocalOptions {
  readonly cpus: string | undefined;
  readonly pid: number;
  /** `pid` is a process: all its threads, those to come included. */
  readonly wholeProcess: boolean;
  readonly ringBytes: number;
  /** Sample the call chain of every event. */
  readonly callChains: boolean;
  /** Some expression asks for _pid: samples carry process ids. */
  readonly wantsProcessIds: boolean;
  /** The number of the guest that a process runs, 0 when it is none of this session's. */
  readonly machineOf: (vmmPid: number) => number;
}

/** Told what the user should know. */
type FindingListener = (text: string) => void;

export class LocalHost {
  readonly machine = 0;
  readonly rings: MachineRings;
  readonly events: SessionEvent[] = [];
  readonly set: EventSet;
  readonly symbols: HostSymbols;
  readonly #session: Session;
  readonly #clock: HostClock;
  readonly #vcpus: VcpuThreads;
  readonly #exact: ExactPerfClock | undefined;
  readonly #steps = new ClockSteps();
  readonly #doubts: ClockDoubts;
  #nextExactMs = 0;
  #previousTsc: bigint | undefined;

  /** Opens the events, disabled. Throws the typed errors of opening. */
  constructor(
    session: Session,
    wanted: readonly WantedEvent[],
    clock: HostClock,
    options: LocalOptions,
    onFinding: FindingListener,
  ) {
    this.#session = session;
    this.symbols = new HostSymbols(onFinding);
    this.#clock = clock;
    const resolved = resolveEvents(
      wanted.map(({ spec }) => spec),
      Tracefs.open(),
    );
    this.set = new EventSet(resolved, {
      cpus: selectCpus(options.cpus),
      ringBytes: options.ringBytes,
      watermarkBytes: options.ringBytes * WATERMARK_SHARE,
      threadIds: options.wantsProcessIds,
      taskNames: true,
      pid: options.pid,
      wholeProcess: options.wholeProcess,
      callChains: options.callChains,
    });
    this.rings = new MachineRings(session, this.machine);
    this.#doubts = new ClockDoubts(session, this.machine, this.rings, onFinding);
    this.rings.setLayout(sampleLayout(this.set.sampleType, true));
    if (this.set.hasUserChains) this.rings.users = this.symbols.users;
    if (this.set.clock.source === "exact") this.#exact = new ExactPerfClock(session.anchor);
    for (const text of this.set.filterHints("agent-host")) {
      onFinding(text);
    }
    this.#vcpus = new VcpuThreads(options.machineOf);
    const evaluation = evaluationOf({
      names: this.rings.names,
      symbols: this.symbols,
      architecture: readMachineInfo().architecture,
      placeOf: (tid) => this.#vcpus.place(tid),
    });
    const hasIds = (this.set.sampleType & PERF_SAMPLE_IDENTIFIER) !== 0;
    resolved.forEach((event, i) => {
      const { stage, spec } = wanted[event.specIndex]!;
      const added = session.events.add({
        stage,
        machine: this.machine,
        spec,
        system: event.system,
        name: event.name,
        alias: spec.attributes.alias ?? "",
        formatText: event.formatText,
        userFilters: [this.set.refusal(event)?.filter ?? ""].filter((filter) => filter !== ""),
        evaluation,
      });
      this.events.push(added);
      if (!hasIds) this.rings.lookup.addType(event.id, added.index);
      else {
        for (const id of this.set.identifiers(i)) {
          this.rings.lookup.addIdentifier(lowHalf(id), highHalf(id), added.index);
        }
      }
    });
  }

  /** Names the tasks there are, and lets events run. */
  start(): void {
    for (const batch of snapshotTaskNames()) {
      for (const { pid, comm } of batch) this.rings.names.set(pid, comm, 0, comm.length);
    }
    this.set.enable();
  }

  register(poll: PollSet): void {
    this.set.register(poll);
  }

  /** After each wait that followed register(). */
  noteHangUps(poll: PollSet): void {
    this.set.noteHangUps(poll);
  }

  /** Whether the process or thread that is sampled has ended. */
  get hasEnded(): boolean {
    return this.set.hasEnded;
  }

  mapFor(): TimeMap | undefined {
    if (this.#exact !== undefined) return this.#exact.map.newest && this.#exact.map;
    return this.#clock.isReady ? this.#clock.map : undefined;
  }

  /** Whether stamps are converted by the ring page, and not by a fitted line. */
  get isExact(): boolean {
    return this.#exact !== undefined;
  }

  /** |error| of this machine's times in canonical cycles, now. */
  get boundCycles(): number {
    return this.#exact?.map.newest?.boundCycles ?? this.#clock.boundCycles;
  }

  /** Drains all rings into the pipeline, as far as there is room; whether there was. */
  drain(nowMs: number): boolean {
    this.#renewExact(nowMs);
    this.#noteStep();
    this.#vcpus.refresh(nowMs);
    const tsc = readTsc();
    const map = this.mapFor();
    let isComplete = true;
    for (const { cpu, ring } of this.set.rings) {
      isComplete = this.#session.hasRoom;
      if (!isComplete) break;
      const head = ring.refreshHead();
      const { tail, bytes, data } = ring;
      if (head === tail) continue;
      const intake = this.rings.intake(cpu);
      const from = ring.offsetOf(tail);
      const first = Math.min(head - tail, bytes - from);
      if (first === head - tail) intake.append(data, from, from + first, map);
      else intake.append(this.#unwrap(data, from, first, head - tail), 0, head - tail, map);
      ring.setTail(head);
    }
    if (map === undefined) return isComplete;
    this.rings.decode(() => map);
    // One round later even a record that was being written when heads were read has been seen.
    if (!isComplete) return false;
    if (this.#previousTsc !== undefined) {
      const cycles = Number(BigInt.asIntN(64, this.#previousTsc - this.#session.anchor));
      this.#session.merger.setProgress(this.rings.mergerSource, cycles);
    }
    this.#previousTsc = tsc;
    return true;
  }

  /** Stops the events; drain() then takes the last of them. */
  stop(): void {
    this.set.disable();
  }

  ledger(): CpuLedger[] {
    return this.set.rings.map((ring) => {
      const { produced, lost } = this.set.count(ring);
      const intake = this.rings.intakes.get(ring.cpu);
      const counters = intake?.decoder.counters;
      const dropped = intake?.droppedEvents ?? 0;
      const counted = {
        cpu: ring.cpu,
        produced: Number(produced),
        delivered: counters?.samples ?? 0,
        lostKernel: 0,
        drops: dropped > 0 ? [{ place: NO_ROOM, events: dropped }] : [],
        gapBytes: 0,
      };
      const lostKernel = lostEvents(Number(lost), counters?.lostEvents ?? 0, counted);
      const row = { ...counted, lostKernel };
      // Events stand still: what a counter has beyond a ring that is drained was never written.
      return ring.ring.refreshHead() === ring.ring.tail ? withNotRecorded(row) : row;
    });
  }

  close(): void {
    for (const intake of this.rings.intakes.values()) intake.close();
    this.set.close();
  }

  /** A ring's bytes that wrap, in one piece: a record may lie across the seam. */
  #unwrap(data: Uint8Array, from: number, first: number, total: number): Uint8Array {
    const joined = new Uint8Array(total);
    joined.set(data.subarray(from, from + first));
    joined.set(data.subarray(0, total - first), first);
    return joined;
  }

  /** A clock that has stepped (suspend): what was converted since its last reading is in doubt. */
  #noteStep(): void {
    const step = this.#steps.note(this.#exact ?? this.#clock.fit);
    if (step === undefined) return;
    this.#doubts.since(step, { hz: this.#clock.frequency?.hz, kind: "host" });
  }

  #renewExact(nowMs: number): void {
    if (this.#exact === undefined || nowMs < this.#nextExactMs) return;
    this.#nextExactMs = nowMs + EXACT_RENEWAL_MS;
    const { timeZero, timeMult, timeShift } = stillOffered(this.set.userTime());
    const conversion = perfConversion(timeZero, timeMult, timeShift);
    this.#exact.update(conversion, perfNsOfTsc(conversion, readTsc()));
  }
}
