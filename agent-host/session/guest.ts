/**
 * One guest in the session: its link, its events, rings, names, clock, and the ledger of what came.
 *
 *   frames -> SpanJoiner per CPU -> RingIntake -> merger
 *   ClockSample -> GuestClock \
 *   Pong, debugfs -> GuestTime       > one TimeMap per CPU: guest perf ns -> canonical cycles
 */
import { readTsc } from "../../shared/sys/clock.ts";
import { printableAscii } from "../../shared/text/printable_ascii.ts";
import { convert } from "../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
import { POSITION_MAX } from "../../shared/wire/frame.ts";
import type {
  ClockSample,
  CpuPosition,
  Event,
  Hello,
  Lost,
  Stats,
  Task,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { PongView } from "../../shared/wire/ping_frame.ts";
import type { SamplesView } from "../../shared/wire/samples_reader.ts";
import { SpanCounters, SpanJoiner, type SpanSink } from "../../shared/wire/span_joiner.ts";
import { GuestTimeMap } from "../align/guest_time_map.ts";
import { CHUNK_BYTES } from "../analyze/chunk.ts";
import type { TimeSegments } from "../analyze/decode.ts";
import { GuestLink, type GuestListener } from "../link/guest_link.ts";
import { openRequest, type RequestOptions } from "../link/open_request.ts";
import { type Source, SourceError } from "../link/source.ts";
import { evaluationOf } from "./evaluation.ts";
import { GuestClock } from "./guest_clock.ts";
import { GuestEvents, type WantedEvent } from "./guest_events.ts";
import { GuestLedger } from "./guest_ledger.ts";
import type { GuestTime } from "./guest_time.ts";
import { machineName } from "./machine_name.ts";
import { MachineRings } from "./machine_rings.ts";
import type { RingIntake } from "./ring_intake.ts";
import type { Session } from "./session.ts";

/** CPUs that one guest may have. */
const GUEST_CPUS_MAX = 1024;
/** Places at which a guest may say that it sheds: each is told the user once. */
const SHED_PLACES_MAX = 8;
const PLACE_CHARS_SHOWN = 40;

interface CpuStream {
  readonly joiner: SpanJoiner;
  readonly intake: RingIntake;
  readonly sink: SpanSink;
}

/** One CPU's conversion, and of which readings it is made. */
interface Conversion {
  readonly chain: GuestTimeMap;
  clockVersion: number;
  timeVersion: number;
}

export class Guest implements GuestListener {
  readonly machine: number;
  readonly link: GuestLink;
  readonly rings: MachineRings;
  readonly ledger = new GuestLedger();
  readonly events: GuestEvents;
  clock: GuestClock | undefined;
  /** The guest TSC before which everything has come, as it said last. */
  progressTsc: bigint | undefined;
  /** The same in canonical cycles, the most that it was. */
  progressCycles = Number.NEGATIVE_INFINITY;
  /** Spans of CPUs that its Hello does not name. */
  foreignSpans = 0;
  readonly #session: Session;
  readonly #onStatus: (text: string) => void;
  readonly #shedPlaces = new Set<string>();
  /** Its TSC against the host's. Undefined: canonical time is this guest's own TSC. */
  readonly time: GuestTime | undefined;
  /** By CPU: where its ring begins. */
  #starts = new Map<number, number>();
  #progressMs = performance.now();
  readonly #streams = new Map<number, CpuStream>();
  readonly #maps = new Map<number, Conversion>();
  /** By CPU: its number as a vCPU, which KVM names by its APIC id. */
  #vcpus = new Map<number, number>();

  constructor(
    session: Session,
    machine: number,
    source: Source,
    wanted: readonly WantedEvent[],
    time: GuestTime | undefined,
    options: RequestOptions & {
      readonly agentVersion: string;
      readonly onStatus: (text: string) => void;
    },
  ) {
    this.#session = session;
    this.machine = machine;
    this.time = time;
    const specs = wanted.map(({ spec }) => spec);
    const request = openRequest(specs, options);
    this.link = new GuestLink(source, this, options.agentVersion, request);
    this.#onStatus = options.onStatus;
    this.rings = new MachineRings(session, machine);
    this.events = new GuestEvents(session, machine, wanted, source.name, options.onStatus);
  }

  get hello(): Hello | undefined {
    return this.link.hello;
  }

  /** Events are known, and their stamps can be converted. */
  get isReady(): boolean {
    const cpu = this.hello?.cpus[0]?.cpu;
    return this.link.isStreaming && cpu !== undefined && this.mapFor(cpu) !== undefined;
  }

  /** The stream is over, with or without a goodbye. */
  get hasEnded(): boolean {
    return this.link.bye !== undefined || this.link.source.hasEnded;
  }

  /** Guest perf ns to canonical cycles on a CPU; undefined until known. */
  mapFor(cpu: number): TimeSegments | undefined {
    const { clock, time } = this;
    const clockMap = clock?.map;
    if (clock === undefined || clockMap === undefined) return undefined;
    if (time === undefined) return clockMap;
    const conversion = this.#conversionOf(cpu);
    const { chain, clockVersion, timeVersion } = conversion;
    if (clockVersion !== clock.version || timeVersion !== time.version) {
      conversion.clockVersion = clock.version;
      conversion.timeVersion = time.version;
      chain.update({
        clock: clockMap,
        isClockExact: clock.isExact,
        clockReadings: clock.readingCount,
        clockNs: clock.lastNs,
        alignment: time.alignment.mapFor(cpu),
        alignmentReadings: time.alignment.readingCount,
      });
    }
    return chain.map.newest === undefined ? undefined : chain.map;
  }

  /** |error| of this guest's times in canonical cycles, now. */
  get boundCycles(): number {
    const { clock, time } = this;
    if (clock === undefined) return Infinity;
    if (time === undefined) return clock.boundCycles;
    // Of the conversion that is in force, which follows what is known of the clocks with a delay.
    const cpu = this.hello?.cpus[0]?.cpu ?? 0;
    const map = this.mapFor(cpu) === undefined ? undefined : this.#conversionOf(cpu).chain.map;
    if (map === undefined) return Infinity;
    const { lastNs, wall, frequency } = clock;
    const sinceReading = Number((this.progressTsc ?? 0n) - (wall?.tsc ?? 0n));
    const aheadNs = (Math.max(0, sinceReading) / (frequency?.hz ?? 1e9)) * 1e9;
    return map.boundOver(lastNs, lastNs + BigInt(Math.ceil(aheadNs)));
  }

  /** Decodes what came, and tells the merger how far this guest is. */
  settle(): void {
    this.#decode();
    const tsc = this.progressTsc;
    if (tsc === undefined || !this.isReady) return;
    const cycles = this.#canonical(tsc);
    if (cycles <= this.progressCycles) return;
    this.progressCycles = cycles;
    this.#progressMs = performance.now();
    this.#session.merger.setProgress(this.rings.mergerSource, this.progressCycles);
  }

  onStream(hello: Hello, events: readonly Event[], resumed: boolean): void {
    this.#setCpus(hello);
    if (!resumed) {
      this.#endStream();
      const { names } = this.rings;
      const evaluation = { names, symbols: undefined, architecture: hello.machine };
      this.events.begin(events, this.rings, evaluationOf(evaluation));
    }
    this.time?.begin(hello);
    this.ledger.begin(hello, resumed);
    for (const [cpu, { joiner }] of this.#streams) {
      if (resumed) joiner.resume();
      else joiner.restart(this.#starts.get(cpu));
    }
  }

  onClockSample(sample: ClockSample): void {
    if (this.clock === undefined) {
      // Without a host clock in play the guest's own TSC is the time line, from here on.
      this.#session.setAnchorOnce(sample.realtimeTsc);
      const anchor = this.time === undefined ? this.#session.anchor : sample.realtimeTsc;
      this.clock = new GuestClock(anchor);
    }
    const { epoch } = this.clock;
    this.clock.add(sample);
    // Suspend, restore, another clocksource: what else holds has to be asked again.
    if (this.clock.epoch !== epoch) this.time?.onClockStep();
  }

  onSamples(view: SamplesView, bytes: Uint8Array): void {
    if (!this.#starts.has(view.cpu)) {
      this.foreignSpans++;
      return;
    }
    const stream = this.#streamOf(view.cpu);
    // A full chunk is decoded right here, long before settle() when the host was held up.
    if (this.time !== undefined) {
      const latest = this.rings.latestAt(this.link.source.receivedTsc, this.boundCycles);
      stream.intake.decoder.latestCycles = latest;
    }
    const { spanStart, spanEnd, position, recordStart } = view;
    stream.joiner.push(bytes, spanStart, spanEnd, position, recordStart, stream.sink);
  }

  onProgress(tsc: bigint): void {
    this.progressTsc = tsc;
  }

  /** How long it has not been further: others wait for that. */
  stalledMs(nowMs: number): number {
    return this.link.source.isFile ? 0 : nowMs - this.#progressMs;
  }

  onPong(pong: PongView, receivedTsc: bigint): void {
    const join = (words: Uint32Array): bigint => (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
    const { seq, receivedTsc: guestReceived, sentTsc } = pong;
    this.time?.onPong(seq, join(guestReceived), join(sentTsc), receivedTsc);
  }

  onTask({ tasks }: Task): void {
    for (const { pid, comm } of tasks) this.rings.names.set(pid, comm, 0, comm.length);
  }

  onLost(lost: Lost): void {
    this.ledger.onLost(lost);
    if (lost.bytes === 0n) this.#sayShed(printableAscii(lost.place.slice(0, PLACE_CHARS_SHOWN)));
  }

  /** The guest keeps to its limits, and does not record all the time: said once for each place. */
  #sayShed(place: string): void {
    if (this.#shedPlaces.has(place) || this.#shedPlaces.size === SHED_PLACES_MAX) return;
    this.#shedPlaces.add(place);
    const machine = machineName(this.machine);
    this.#onStatus(`${machine} does not record all the time (${place}): the ledger has the count`);
  }

  onStats(stats: Stats): void {
    this.ledger.onStats(stats);
  }

  positions(): CpuPosition[] {
    const positions: CpuPosition[] = [];
    for (const [cpu, { joiner }] of this.#streams) {
      if (joiner.position < 0 || !joiner.synced) continue;
      positions.push({ cpu, position: BigInt(joiner.position) });
    }
    return positions;
  }

  /** What became of the ring's bytes, of all CPUs. */
  spanCounters(): SpanCounters {
    const total = new SpanCounters();
    for (const { joiner } of this.#streams.values()) {
      for (const name of Object.keys(total) as (keyof SpanCounters)[]) {
        total[name] += joiner.counters[name];
      }
    }
    return total;
  }

  close(): void {
    // A guest that serves keeps its events for a while when a host goes without a goodbye.
    if (this.hello?.serving === true && !this.hasEnded) this.link.leave();
    for (const { intake } of this.#streams.values()) intake.close();
    this.link.source.close();
  }

  /** Which CPUs there are, and where their rings begin: -1 when the guest does not say. */
  #setCpus({ cpus, start }: Hello): void {
    const { name } = this.link.source;
    if (cpus.length === 0) throw new SourceError(`Cannot use ${name}: it names no CPU`);
    if (cpus.length > GUEST_CPUS_MAX) {
      throw new SourceError(
        `Cannot use ${name}: it has ${cpus.length} CPUs, wants at most ${GUEST_CPUS_MAX}`,
      );
    }
    this.#starts = new Map(cpus.map(({ cpu }) => [cpu, -1]));
    this.#vcpus = new Map(cpus.map(({ cpu, apicId }) => [cpu, apicId ?? cpu]));
    for (const { cpu, position } of start) {
      if (this.#starts.has(cpu) && position <= POSITION_MAX)
        this.#starts.set(cpu, Number(position));
    }
  }

  /** Another stream follows: what came is decoded with its own clock and events, or never. */
  #endStream(): void {
    this.#decode();
    for (const { intake } of this.#streams.values()) intake.discardUndecoded();
    this.clock = undefined;
    this.progressTsc = undefined;
    this.#maps.clear();
  }

  #decode(): void {
    if (this.time !== undefined) this.rings.setLatest(readTsc(), this.boundCycles);
    this.rings.decode((cpu) => this.mapFor(cpu));
  }

  #canonical(tsc: bigint): number {
    const segment = this.time?.segmentFor(this.hello!.cpus[0]!.cpu);
    if (segment !== undefined) return convert(segment, lowHalf(tsc), highHalf(tsc));
    return Number(BigInt.asIntN(64, tsc - this.#session.anchor));
  }

  #conversionOf(cpu: number): Conversion {
    const known = this.#maps.get(cpu);
    if (known !== undefined) return known;
    const made = { chain: new GuestTimeMap(), clockVersion: -1, timeVersion: -1 };
    this.#maps.set(cpu, made);
    return made;
  }

  #streamOf(cpu: number): CpuStream {
    const known = this.#streams.get(cpu);
    if (known !== undefined) return known;
    const intake = this.rings.intake(cpu);
    intake.vcpu = this.#vcpus.get(cpu) ?? cpu;
    const joiner = new SpanJoiner(CHUNK_BYTES);
    joiner.restart(this.#starts.get(cpu));
    const sink = {
      span: (bytes: Uint8Array, start: number, end: number): void => {
        const time = this.mapFor(cpu);
        // Rings that wait to be decoded hold chunks that the merger could set free.
        if (!this.#session.hasRoom) this.#decode();
        intake.append(bytes, start, end, time);
      },
      lost: (from: number, to: number): void => {
        const events = this.ledger.onGap(cpu, to - from);
        intake.noteLost(events ?? estimateEvents(to - from, joiner.counters), this.mapFor(cpu));
      },
    };
    const stream = { joiner, intake, sink };
    this.#streams.set(cpu, stream);
    this.ledger.addRing(cpu, {
      counters: intake.decoder.counters,
      position: () => joiner.position,
      dropped: () => intake.droppedEvents,
    });
    return stream;
  }
}

/** How many records a gap of the ring may have held, by the size of those that came: at least 1. */
function estimateEvents(bytes: number, { deliveredBytes, deliveredRecords }: SpanCounters): number {
  const RECORD_BYTES_TYPICAL = 64;
  const each = deliveredRecords === 0 ? RECORD_BYTES_TYPICAL : deliveredBytes / deliveredRecords;
  return Math.max(1, Math.round(bytes / each));
}
