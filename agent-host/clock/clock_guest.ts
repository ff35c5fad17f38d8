/**
 * A guest whose clocks are looked at and whose events are not: the channel, its clock and its TSC.
 * Samples that come all the same are acknowledged and dropped, so that the guest's rings stay free.
 */
import { parseEventSpecs } from "../../shared/event/spec.ts";
import type {
  ClockSample,
  CpuPosition,
  Event,
  Hello,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import type { PongView } from "../../shared/wire/ping_frame.ts";
import type { SamplesView } from "../../shared/wire/samples_reader.ts";
import { SpanJoiner, type SpanSink } from "../../shared/wire/span_joiner.ts";
import { GuestLink } from "../link/guest_link.ts";
import type { GuestListener } from "../link/guest_listener.ts";
import { openQuestion } from "../link/guest_question.ts";
import { openRequest } from "../link/open_request.ts";
import type { Source } from "../link/source.ts";
import { type Anchored, GuestConversion } from "../session/guest_conversion.ts";
import { checkCpus } from "../session/guest_cpus.ts";
import type { GuestTime } from "../session/guest_time.ts";

/**
 * What a guest that serves is asked for: its clock comes with events, and this one never fires.
 */
const SILENT_EVENT = "sched:sched_process_exec/pid==0/";
/** The least that a guest takes: two pages for each CPU. */
const RING_BYTES = 8192;
const NOWHERE: SpanSink = { span: () => {}, lost: () => {} };

export class ClockGuest implements GuestListener {
  readonly machine: number;
  readonly link: GuestLink;
  readonly conversion: GuestConversion;
  /** The guest TSC before which everything has come, as it said last. */
  progressTsc = 0n;
  readonly #joiners = new Map<number, SpanJoiner>();

  constructor(
    session: Anchored,
    machine: number,
    source: Source,
    time: GuestTime | undefined,
    agentVersion: string,
  ) {
    this.machine = machine;
    const request = openRequest(parseEventSpecs(SILENT_EVENT), {
      ringBytes: RING_BYTES,
      callChains: false,
      key: undefined,
    });
    this.link = new GuestLink(source, this, agentVersion, openQuestion(request));
    this.conversion = new GuestConversion(session, time);
  }

  get hello(): Hello | undefined {
    return this.link.hello;
  }

  /** Its CPUs' times can be converted. */
  get isReady(): boolean {
    const cpu = this.hello?.cpus[0]?.cpu;
    return this.link.isStreaming && cpu !== undefined && this.conversion.mapFor(cpu) !== undefined;
  }

  /** The stream is over, with or without a goodbye. */
  get hasEnded(): boolean {
    return this.link.bye !== undefined || this.link.source.hasEnded;
  }

  /** |error| of a CPU's event times in canonical cycles, now. */
  boundOf(cpu: number): number {
    return this.conversion.boundOf(cpu, this.progressTsc);
  }

  onStream(hello: Hello, _events: readonly Event[], resumed: boolean): void {
    checkCpus(hello, this.link.source.name);
    if (!resumed) {
      this.conversion.reset();
      this.progressTsc = 0n;
      this.#joiners.clear();
      for (const { cpu } of hello.cpus) this.#joiners.set(cpu, new SpanJoiner());
    }
    this.conversion.time?.begin(hello);
    for (const joiner of this.#joiners.values()) joiner.resume();
  }

  onClockSample(sample: ClockSample): void {
    this.conversion.addSample(sample, this.hello);
  }

  onSamples(
    { cpu, spanStart, spanEnd, position, recordStart }: SamplesView,
    bytes: Uint8Array,
  ): void {
    this.#joiners.get(cpu)?.push(bytes, spanStart, spanEnd, position, recordStart, NOWHERE);
  }

  onProgress(tsc: bigint): void {
    this.progressTsc = tsc;
  }

  onPong(pong: PongView, receivedTsc: bigint): void {
    this.conversion.time?.onPong(pong, receivedTsc);
  }

  // Names and ledgers are of no use to a clock.
  onTask(): void {}
  onSymbols(): void {}
  onLost(): void {}
  onStats(): void {}

  positions(): CpuPosition[] {
    const positions: CpuPosition[] = [];
    for (const [cpu, { position, synced }] of this.#joiners) {
      if (position >= 0 && synced) positions.push({ cpu, position: BigInt(position) });
    }
    return positions;
  }

  close(): void {
    this.conversion.time?.close();
    this.link.source.close();
  }
}
