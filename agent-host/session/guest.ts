/**
 * One guest in the session: its link, its events, rings, names, clock, and the ledger of what came.
 *
 *   frames -> SpanJoiner per CPU -> RingIntake -> merger
 *   ClockSample -> GuestClock \
 *   Pong, debugfs -> GuestTime       > one TimeMap per CPU: guest perf ns -> canonical cycles
 */
import type { EventSpec } from "../../shared/event/spec.ts";
import { PERF_SAMPLE_IDENTIFIER } from "../../shared/perf/sample_type.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import { composeSegments, convert, type TimeSegment } from "../../shared/tsc/time_segment.ts";
import { highHalf, lowHalf } from "../../shared/tsc/tsc.ts";
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
import { SpanJoiner, type SpanSink } from "../../shared/wire/span_joiner.ts";
import { CHUNK_BYTES } from "../analyze/chunk.ts";
import type { TimeSegments } from "../analyze/decode.ts";
import { sampleLayout } from "../analyze/sample_layout.ts";
import { GuestLink, type GuestListener } from "../link/guest_link.ts";
import { type Source, SourceError } from "../link/source.ts";
import { GuestClock } from "./guest_clock.ts";
import { matchGuestEvents } from "./guest_events.ts";
import { GuestLedger } from "./guest_ledger.ts";
import type { GuestTime } from "./guest_time.ts";
import { MachineRings } from "./machine_rings.ts";
import type { RingIntake } from "./ring_intake.ts";
import type { Session } from "./session.ts";
import type { SessionEvent } from "./session_event.ts";

/** CPUs whose rings one guest may fill. */
const GUEST_CPUS_MAX = 1024;

/** A -e argument's event that is pulled from this guest. */
export interface WantedEvent {
  readonly stage: number;
  readonly spec: EventSpec;
}

interface CpuStream {
  readonly joiner: SpanJoiner;
  readonly intake: RingIntake;
  readonly sink: SpanSink;
}

/** The newest conversion of one CPU, for all that is decoded from now on. */
interface Conversion extends TimeSegments {
  readonly segment: TimeSegment;
  readonly clockVersion: number;
  readonly timeVersion: number;
}

export class Guest implements GuestListener {
  readonly machine: number;
  readonly link: GuestLink;
  readonly rings: MachineRings;
  readonly ledger = new GuestLedger();
  events: SessionEvent[] = [];
  clock: GuestClock | undefined;
  /** The newest guest TSC before which everything has come. */
  progressTsc: bigint | undefined;
  /** The same in canonical cycles. */
  progressCycles = Number.NEGATIVE_INFINITY;
  readonly #session: Session;
  readonly #wanted: readonly WantedEvent[];
  /** Its TSC against the host's. Undefined: canonical time is this guest's own TSC. */
  readonly time: GuestTime | undefined;
  readonly #streams = new Map<number, CpuStream>();
  readonly #maps = new Map<number, Conversion>();

  constructor(
    session: Session,
    machine: number,
    source: Source,
    wanted: readonly WantedEvent[],
    time: GuestTime | undefined,
    agentVersion: string,
  ) {
    this.#session = session;
    this.machine = machine;
    this.#wanted = wanted;
    this.time = time;
    this.link = new GuestLink(source, this, agentVersion);
    this.rings = new MachineRings(session, machine);
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
    const known = this.#maps.get(cpu);
    if (known?.clockVersion === clock.version && known.timeVersion === time.version) return known;
    const inner = clockMap.newest;
    const outer = time.segmentFor(cpu);
    if (inner === undefined || outer === undefined) return undefined;
    // In force everywhere: what was decoded before stays as it was, what comes is best served so.
    const composed = composeSegments(inner, outer);
    const segment = { ...composed, deltaFrom: -Infinity, deltaTo: Infinity };
    const conversion = {
      segment,
      clockVersion: clock.version,
      timeVersion: time.version,
      at: () => segment,
    };
    this.#maps.set(cpu, conversion);
    return conversion;
  }

  /** |error| of this guest's times in canonical cycles, now. */
  get boundCycles(): number {
    const { clock, time } = this;
    if (clock === undefined) return Infinity;
    if (time === undefined) return clock.boundCycles;
    const cpu = this.hello?.cpus[0]?.cpu ?? 0;
    const segment = time.segmentFor(cpu);
    if (segment === undefined) return Infinity;
    const { method, ping } = time.alignment;
    const outer = method === "ping" ? ping.boundCycles : segment.boundCycles;
    return clock.boundCycles * segment.slope + outer;
  }

  /** Decodes what came, and tells the merger how far this guest is. */
  settle(): void {
    if (this.time !== undefined) this.rings.setLatest(readTsc(), this.boundCycles);
    this.rings.decode((cpu) => this.mapFor(cpu));
    const tsc = this.progressTsc;
    if (tsc === undefined || !this.isReady) return;
    this.progressCycles = this.#canonical(tsc);
    this.#session.merger.setProgress(this.rings.mergerSource, this.progressCycles);
  }

  /** Reads after we said goodbye: the peer closing its end is no error any more. */
  receiveLast(nowMs: number): void {
    try {
      this.link.receive(nowMs);
    } catch (error) {
      if (!(error instanceof SourceError) || !this.link.source.hasEnded) throw error;
    }
  }

  onStream(hello: Hello, events: readonly Event[], resumed: boolean): void {
    this.time?.begin(hello);
    this.ledger.begin(hello, resumed);
    for (const { joiner } of this.#streams.values()) {
      if (resumed) joiner.resume();
      else joiner.restart();
    }
    if (resumed) return;
    this.clock = undefined;
    this.progressTsc = undefined;
    this.#maps.clear();
    this.#setEvents(events);
  }

  onClockSample(sample: ClockSample): void {
    if (this.clock === undefined) {
      // Without a host clock in play the guest's own TSC is the time line, from here on.
      this.#session.setAnchorOnce(sample.realtimeTsc);
      const anchor = this.time === undefined ? this.#session.anchor : sample.realtimeTsc;
      this.clock = new GuestClock(anchor);
    }
    this.clock.add(sample);
  }

  onSamples(view: SamplesView, bytes: Uint8Array): void {
    const stream = this.#streamOf(view.cpu);
    const { spanStart, spanEnd, position, recordStart } = view;
    stream.joiner.push(bytes, spanStart, spanEnd, position, recordStart, stream.sink);
  }

  onProgress(tsc: bigint): void {
    this.progressTsc = tsc;
  }

  onPong(pong: PongView, receivedTsc: bigint): void {
    const join = (words: Uint32Array): bigint => (BigInt(words[1]!) << 32n) | BigInt(words[0]!);
    const { echoTsc, receivedTsc: guestReceived, sentTsc } = pong;
    this.time?.onPong(join(echoTsc), join(guestReceived), join(sentTsc), receivedTsc);
  }

  onTask({ tasks }: Task): void {
    for (const { pid, comm } of tasks) this.rings.names.set(pid, comm, 0, comm.length);
  }

  onLost(lost: Lost): void {
    this.ledger.onLost(lost);
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

  close(): void {
    for (const { intake } of this.#streams.values()) intake.close();
    this.link.source.close();
  }

  #canonical(tsc: bigint): number {
    const segment = this.time?.segmentFor(this.hello!.cpus[0]!.cpu);
    if (segment !== undefined) return convert(segment, lowHalf(tsc), highHalf(tsc));
    return Number(BigInt.asIntN(64, tsc - this.#session.anchor));
  }

  #streamOf(cpu: number): CpuStream {
    const known = this.#streams.get(cpu);
    if (known !== undefined) return known;
    if (this.#streams.size === GUEST_CPUS_MAX) {
      throw new SourceError(
        `Cannot use ${this.link.source.name}: samples of over ${GUEST_CPUS_MAX} CPUs`,
      );
    }
    const intake = this.rings.intake(cpu);
    const stream = {
      joiner: new SpanJoiner(CHUNK_BYTES),
      intake,
      sink: {
        span: (bytes: Uint8Array, start: number, end: number): void => {
          intake.append(bytes, start, end, this.mapFor(cpu));
        },
        lost: (from: number, to: number): void => this.ledger.onGap(cpu, to - from),
      },
    };
    this.#streams.set(cpu, stream);
    this.ledger.addRing(cpu, intake.decoder.counters, () => stream.joiner.position);
    return stream;
  }

  /** Which of the stream's events were asked for; those that were not are skipped by the decoder. */
  #setEvents(described: readonly Event[]): void {
    const pairs = matchGuestEvents(this.#wanted, described, this.link.source.name);
    const layouts = new Set(described.map((event) => `${event.sampleType} ${event.sampleIdAll}`));
    if (layouts.size > 1) {
      throw new SourceError(`Cannot use ${this.link.source.name}: its events differ in layout`);
    }
    const { sampleType, sampleIdAll } = described[0]!;
    this.rings.setLayout(sampleLayout(Number(sampleType), sampleIdAll));
    this.rings.lookup.clear();
    const hasIds = (Number(sampleType) & PERF_SAMPLE_IDENTIFIER) !== 0;
    const isFirst = this.events.length === 0;
    pairs.forEach(({ wanted, event }, i) => {
      if (isFirst) this.events.push(this.#addEvent(wanted, event));
      const { index, format } = this.events[i]!;
      if (format.id !== event.commonType && !isFirst) {
        throw new SourceError(
          `Cannot go on with ${this.link.source.name}: its kernel has changed`,
          "start agent-host again",
        );
      }
      if (!hasIds) this.rings.lookup.addType(event.commonType, index);
      for (const id of event.ids) this.rings.lookup.addIdentifier(lowHalf(id), highHalf(id), index);
    });
  }

  #addEvent({ stage, spec }: WantedEvent, event: Event): SessionEvent {
    return this.#session.events.add({
      stage,
      machine: this.machine,
      spec,
      system: event.system,
      name: event.name,
      alias: spec.attributes.alias ?? event.alias,
      formatText: new TextDecoder().decode(event.format),
      // The guest has applied its own filter; ours is applied here unless it is the same.
      userFilter: spec.filter === event.filter ? "" : spec.filter,
    });
  }
}
