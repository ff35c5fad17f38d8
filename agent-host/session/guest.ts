/**
 * One guest in the session: its link, its events, rings, names, clock, and the ledger of what came.
 *
 *   frames -> SpanJoiner per CPU -> RingIntake -> merger
 *   ClockSample, Pong -> GuestConversion: one TimeMap per CPU, guest perf ns -> canonical cycles
 */
import { readTsc } from "../../shared/sys/clock.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import type {
  ClockSample,
  CpuPosition,
  Dump,
  Event,
  Hello,
  Lost,
  Stats,
  Symbols,
  Task,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { PongView } from "../../shared/wire/ping_frame.ts";
import type { SamplesView } from "../../shared/wire/samples_reader.ts";
import type { SpanCounters } from "../../shared/wire/span_joiner.ts";
import type { TimeSegments } from "../analyze/decode.ts";
import { GuestLink } from "../link/guest_link.ts";
import type { GuestListener } from "../link/guest_listener.ts";
import { openQuestion } from "../link/guest_question.ts";
import { openRequest } from "../link/open_request.ts";
import type { Source } from "../link/source.ts";
import { endOf, positionsOf, type SourceResume } from "../resume_file.ts";
import { ClockDoubts } from "./clock_doubts.ts";
import { completeNsOf, EndedStreams, type WallNsOf } from "./ended_streams.ts";
import { evaluationOf } from "./evaluation.ts";
import type { GuestClock } from "./guest_clock.ts";
import { GuestConversion } from "./guest_conversion.ts";
import { checkCpus, ringStarts } from "./guest_cpus.ts";
import { GuestEvents, type WantedEvent } from "./guest_events.ts";
import { GuestLedger } from "./guest_ledger.ts";
import { GuestNotices } from "./guest_notices.ts";
import type { GuestOptions } from "./guest_options.ts";
import { checkResume } from "./guest_stream_rules.ts";
import {
  breakStreams,
  type CpuStream,
  endOfStreams,
  noteMarks,
  openCpuStream,
  receivedUpTo,
  restartStream,
  sumOf,
  usedUpTo,
} from "./guest_streams.ts";
import { GuestSymbols } from "./guest_symbols.ts";
import type { GuestTime } from "./guest_time.ts";
import { machineName } from "./machine_name.ts";
import { MachineRings } from "./machine_rings.ts";
import type { Session } from "./session.ts";

export class Guest implements GuestListener {
  readonly machine: number;
  readonly link: GuestLink;
  readonly rings: MachineRings;
  readonly ledger = new GuestLedger();
  readonly ended = new EndedStreams();
  readonly events: GuestEvents;
  readonly conversion: GuestConversion;
  readonly symbols: GuestSymbols;
  /** The guest TSC before which everything has come, as it said last. */
  progressTsc: bigint | undefined;
  /** The same in canonical cycles, the most that it was. */
  progressCycles = Number.NEGATIVE_INFINITY;
  /** Spans of CPUs that its Hello does not name. */
  foreignSpans = 0;
  /** Progress that it cannot have made yet. */
  futureProgress = 0;
  breakCycles: number | undefined;
  readonly #session: Session;
  readonly #onStatus: (text: string) => void;
  readonly #printsEvents: boolean;
  readonly #notices: GuestNotices;
  /** By CPU: where its ring begins. */
  #starts = new Map<number, number>();
  #progressMs = performance.now();
  readonly #mustResume: boolean;
  readonly #earlier: SourceResume | undefined;
  #hasBegun = false;
  readonly #streams = new Map<number, CpuStream>();
  /** By CPU: its number as a vCPU, which KVM names by its APIC id. */
  #vcpus = new Map<number, number>();

  constructor(
    session: Session,
    machine: number,
    source: Source,
    wanted: readonly WantedEvent[],
    time: GuestTime | undefined,
    options: GuestOptions,
  ) {
    this.#session = session;
    this.machine = machine;
    this.rings = new MachineRings(session, machine);
    const doubts = new ClockDoubts(session, machine, this.rings, options.onStatus);
    this.conversion = new GuestConversion(session, time, (...step) => doubts.since(...step));
    const specs = wanted.map(({ spec }) => spec);
    const request = openRequest(specs, options);
    const question = options.isDump === true ? undefined : openQuestion(request);
    this.#mustResume = options.resume !== undefined;
    this.#earlier = options.resume?.of(source.name);
    this.link = new GuestLink(source, this, options.agentVersion, question, {
      streamNonce: this.#earlier?.streamNonce ?? 0n,
      acknowledgesItself: options.resume === undefined,
    });
    this.#onStatus = options.onStatus;
    this.#notices = new GuestNotices(machine, options.onStatus);
    this.events = new GuestEvents(session, machine, wanted, source.name, options.onStatus);
    this.symbols = new GuestSymbols(machineName(machine), options.onStatus);
    this.#printsEvents = options.printsEvents === true;
  }

  get hello(): Hello | undefined {
    return this.link.hello;
  }

  /** Events are known, and their stamps can be converted. */
  get isReady(): boolean {
    const hasCpus = this.hello !== undefined && this.hello.cpus.length > 0;
    return this.link.isStreaming && hasCpus && this.mapFor(this.#firstCpu) !== undefined;
  }

  /** The stream is over, with or without a goodbye. */
  get hasEnded(): boolean {
    return this.link.bye !== undefined || this.link.source.hasEnded;
  }

  get clock(): GuestClock | undefined {
    return this.conversion.clock;
  }

  /** Its TSC against the host's. Undefined: canonical time is this guest's own TSC. */
  get time(): GuestTime | undefined {
    return this.conversion.time;
  }

  /** Guest perf ns to canonical cycles on a CPU; undefined until known. */
  mapFor(cpu: number): TimeSegments | undefined {
    // Keys and filters are computed on decoding: what they ask for has to be there by then.
    if (this.events.evaluatesSymbols && this.symbols.isKernelDue) return undefined;
    return this.conversion.mapFor(cpu);
  }

  /** |error| of this guest's times in canonical cycles, now. */
  get boundCycles(): number {
    return this.conversion.boundCycles(this.#firstCpu, this.progressTsc ?? 0n);
  }

  get #firstCpu(): number {
    return this.hello?.cpus[0]?.cpu ?? 0;
  }

  makeRoom(): void {
    if (!this.#session.hasRoom) this.#decode();
  }

  /** Decodes what came, and tells the merger how far this guest is. */
  settle(): void {
    this.#decode();
    const nowMs = performance.now();
    if (this.hasEnded) this.symbols.giveUp();
    else this.symbols.tick(nowMs, (asked) => this.link.source.send(FrameType.SYMBOLS, asked));
    const tsc = this.progressTsc;
    if (tsc === undefined || !this.isReady) return;
    const cycles = this.conversion.canonical(tsc, this.#firstCpu);
    if (cycles > this.progressCycles) {
      if (this.#isFuture(cycles)) {
        this.progressTsc = undefined;
        return;
      }
      this.progressCycles = cycles;
      this.#progressMs = nowMs;
    }
    // What waits for its names is not to be released yet.
    const released = Math.min(this.progressCycles, this.symbols.heldFromCycles);
    this.#session.merger.setProgress(this.rings.mergerSource, released);
  }

  /** With `known`, a stream that an earlier host has read: this one goes on where it stood. */
  onStream(hello: Hello, events: readonly Event[], known: boolean): void {
    this.#setCpus(hello);
    const wasBegun = this.#hasBegun;
    const resumed = known && wasBegun;
    this.#hasBegun = true;
    if (this.#mustResume) checkResume(this, known, this.#earlier, this.#onStatus);
    if (!wasBegun) this.#takeEarlier(known);
    if (hello.overwrite) this.#session.merger.expectPast(this.rings.mergerSource);
    if (!resumed) {
      this.#endStream();
      if (wasBegun) breakStreams(this);
      const named = { names: this.rings.names, symbols: this.symbols, architecture: hello.machine };
      this.events.begin(events, this.rings, evaluationOf(named));
    }
    this.#beginSymbols(hello, events, resumed);
    this.time?.begin(hello);
    const end = wasBegun && !resumed && endOfStreams(this.#streams, this.ledger);
    if (end !== false) this.ended.add({ ...end, completeCycles: this.progressCycles });
    this.ledger.begin(hello, resumed);
    for (const [cpu, stream] of this.#streams) {
      if (resumed) stream.joiner.resume();
      else restartStream(stream, this.#starts.get(cpu) ?? -1);
    }
    if (known && !wasBegun) this.#carryOn();
  }

  onClockSample(sample: ClockSample): void {
    const epoch = this.conversion.clock?.epoch;
    this.conversion.addSample(sample, this.hello);
    // Its TSC may have gone back, and what was said of it before means nothing now.
    if (epoch !== undefined && this.conversion.clock?.epoch !== epoch) this.progressTsc = undefined;
  }

  onSamples(view: SamplesView, bytes: Uint8Array): void {
    if (!this.#starts.has(view.cpu)) {
      this.foreignSpans++;
      return;
    }
    const stream = this.#streamOf(view.cpu);
    // A full chunk is decoded right here, long before settle() when the host was held up.
    const { bytesRead, receivedTsc } = this.link.source;
    if (this.time !== undefined && stream.boundedRead !== bytesRead) {
      // Once for each read, which may bring thousands of spans.
      stream.boundedRead = bytesRead;
      const bound = this.conversion.boundOf(view.cpu, this.progressTsc ?? 0n);
      stream.intake.decoder.latestCycles = this.rings.latestAt(receivedTsc, bound);
    }
    const { spanStart, spanEnd, position, recordStart } = view;
    stream.joiner.push(bytes, spanStart, spanEnd, position, recordStart, stream.sink);
  }

  /** Going back is ignored: what was claimed most is what has to be checked. */
  onProgress(tsc: bigint): void {
    const before = this.progressTsc;
    if (before === undefined || BigInt.asIntN(64, tsc - before) > 0n) this.progressTsc = tsc;
  }

  /** Whether it claims to have sent what cannot have happened yet: counted, and not believed. */
  #isFuture(cycles: number): boolean {
    if (this.time === undefined) return false;
    if (cycles <= this.rings.latestAt(readTsc(), this.boundCycles)) return false;
    this.futureProgress++;
    return true;
  }

  /** A dump begins, or all of it has come: then time is where its rings were read. */
  onDump(mark: Dump): void {
    const { dump } = this.link;
    const isNew = dump.isUnderWay || !mark.complete;
    if (!mark.complete && dump.number > 0 && dump.number !== mark.number) {
      this.settle();
      breakStreams(this);
    }
    dump.onMark(mark);
    this.#progressMs = performance.now();
    if (!mark.complete || !isNew) return;
    this.onProgress(mark.tsc);
    this.#notices.dump(mark, this.#progressMs);
  }

  /** Its rings are overwritten: nothing comes but dumps. */
  get isFlight(): boolean {
    return this.hello?.overwrite === true;
  }

  /** Nobody has to wait for it: it says nothing until it is asked, or triggered. */
  get isIdle(): boolean {
    return this.isFlight && !this.link.dump.isUnderWay;
  }

  /** How long it has not been further: others wait for that. */
  stalledMs(nowMs: number): number {
    return this.isIdle || this.link.source.isFile ? 0 : nowMs - this.#progressMs;
  }

  onPong(pong: PongView, receivedTsc: bigint): void {
    this.time?.onPong(pong, receivedTsc);
  }

  onTask({ tasks }: Task): void {
    for (const { pid, comm } of tasks) this.rings.names.set(pid, comm, 0, comm.length);
  }

  onSymbols(symbols: Symbols): void {
    this.symbols.onSymbols(symbols);
  }

  onLost(lost: Lost): void {
    this.ledger.onLost(lost);
    if (lost.bytes === 0n) this.#notices.shed(lost.place);
  }

  onStats(stats: Stats): void {
    this.ledger.onStats(stats);
  }

  /** Takes over from the run that `earlier` tells of, if the guest still has the same stream. */
  #carryOn(): void {
    for (const { cpu, position, shown, ...counts } of this.#earlier?.cpus ?? []) {
      if (!this.#starts.has(cpu)) continue;
      const { joiner, intake, marks } = this.#streamOf(cpu);
      joiner.restart(position);
      intake.shownBefore = shown;
      marks.start({ records: 0, position, ...counts });
      this.ledger.carry(cpu, counts);
    }
  }

  /** Notes how far the rings have come: call after settle(). */
  mark(): void {
    noteMarks(this.#streams, this.ledger);
  }

  /** Up to where the rings' records have been used up, for a run that takes over; see mark(). */
  usedUp(wallNsOf: WallNsOf): SourceResume {
    // Nothing of it has come in this run: what an earlier one has told still holds.
    if (!this.#hasBegun && this.#earlier !== undefined) return this.#earlier;
    const { source, streamNonce } = this.link;
    const released = Math.min(this.progressCycles, this.#session.merger.watermarkCycles());
    const written = (cpu: number): number => this.#streams.get(cpu)?.intake.shownRecords ?? 0;
    return {
      name: source.name,
      streamNonce,
      cpus: usedUpTo(this.#streams),
      completeNs: completeNsOf(released, wallNsOf),
      ended: this.ended.list(wallNsOf, written),
    };
  }

  /** What an earlier run has told of the streams before this one. */
  #takeEarlier(isKnown: boolean): void {
    const earlier = this.#earlier;
    if (earlier === undefined) return;
    this.ended.carry(isKnown ? earlier.ended : [...earlier.ended, endOf(earlier)]);
  }

  positions(): CpuPosition[] {
    return this.#hasBegun ? receivedUpTo(this.#streams) : positionsOf(this.#earlier?.cpus ?? []);
  }

  /** What became of the ring's bytes, of all CPUs. */
  spanCounters(): SpanCounters {
    return sumOf([...this.#streams.values()].map(({ joiner }) => joiner.counters));
  }

  close(): void {
    // A guest that serves keeps its events for a while when a host goes without a goodbye.
    if (this.hello?.serving === true && !this.hasEnded) this.link.leave();
    for (const { intake } of this.#streams.values()) intake.close();
    this.link.source.close();
  }

  /** Which CPUs there are, and where their rings begin: -1 when the guest does not say. */
  #setCpus(hello: Hello): void {
    checkCpus(hello, this.link.source.name, this.#streams);
    this.#starts = ringStarts(hello);
    this.#vcpus = new Map(hello.cpus.map(({ cpu, apicId }) => [cpu, apicId ?? cpu]));
  }

  #beginSymbols(hello: Hello, events: readonly Event[], resumed: boolean): void {
    const needs = {
      ...this.events.symbolNeeds(this.#printsEvents),
      isTwoWay: hello.twoWay && !this.link.source.isFile,
      isKernelComing: events.some(({ kernelSymbols }) => kernelSymbols),
      isFile: this.link.source.isFile,
    };
    this.rings.users = needs.users ? this.symbols.users : undefined;
    this.symbols.begin(needs, resumed);
    const programs = this.#session.events.programsOf(this.machine);
    if (needs.users && !programs.includes(this.symbols)) programs.push(this.symbols);
  }

  /** Another stream follows: what came is decoded with its own clock and events, or never. */
  #endStream(): void {
    this.#decode();
    for (const { intake } of this.#streams.values()) intake.discardUndecoded();
    this.conversion.reset();
    this.progressTsc = undefined;
  }

  #decode(): void {
    if (this.time !== undefined) this.rings.setLatest(readTsc(), this.boundCycles);
    this.rings.decode((cpu) => this.mapFor(cpu));
  }

  #streamOf(cpu: number): CpuStream {
    const known = this.#streams.get(cpu);
    if (known !== undefined) return known;
    const intake = this.rings.intake(cpu);
    intake.vcpu = this.#vcpus.get(cpu) ?? cpu;
    const stream = openCpuStream(cpu, this.#starts.get(cpu) ?? -1, intake, this.ledger, this);
    this.#streams.set(cpu, stream);
    return stream;
  }
}
