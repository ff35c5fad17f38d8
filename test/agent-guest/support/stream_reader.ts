/**
 * A stream of agent-guest as a host would take it in, with everything kept that a test may ask for.
 * Samples are those of numbered calls (see load.ts), read by the layout that the stream describes.
 */
import { PERF_RECORD_LOST, PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { Xxh64 } from "../../../shared/sys/xxh64.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { type Frame, FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import type {
  Bye,
  ClockSample,
  ControlReply,
  CpuPosition,
  Dump,
  Event,
  Hello,
  Lost,
  Stats,
  Error as WireError,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import { readSamples, SamplesView } from "../../../shared/wire/samples_reader.ts";
import { SpanJoiner, type SpanLoss } from "../../../shared/wire/span_joiner.ts";
import { readSysEnter } from "../../shared/event/kernel.ts";

interface CpuStream {
  readonly joiner: SpanJoiner;
  readonly sink: {
    span(bytes: Uint8Array, start: number, end: number, records: number): void;
    lost(from: number, to: number, why: SpanLoss): void;
  };
}

export class StreamReader {
  readonly decoder = new FrameDecoder({
    hash: (bytes) => this.#hash.reset().update(bytes).finish(),
  });
  hello: Hello | undefined;
  events: readonly Event[] = [];
  readonly clockSamples: ClockSample[] = [];
  readonly progress: bigint[] = [];
  readonly lost: Lost[] = [];
  readonly stats: Stats[] = [];
  readonly errors: WireError[] = [];
  readonly replies: ControlReply[] = [];
  readonly pongs: number[] = [];
  readonly dumps: Dump[] = [];
  readonly comms = new Map<number, string>();
  bye: Bye | undefined;
  /** Frames by type, those that are not kept included. */
  readonly frameTypes: number[] = [];
  /** The number that each sample carries, in the order of arrival. */
  numbers: number[] = [];
  /** Each sample's tracepoint, number and stamp. */
  readonly stamps: { readonly type: number; readonly number: number; readonly ns: bigint }[] = [];
  samples = 0;
  /** Sum of the PERF_RECORD_LOST in the rings. */
  lostInRings = 0;
  readonly gaps: { readonly cpu: number; readonly from: number; readonly to: number }[] = [];
  #awaitedNonce: bigint | undefined;
  readonly #hash = new Xxh64();
  readonly #view = new SamplesView();
  readonly #cpus = new Map<number, CpuStream>();

  push(chunk: Uint8Array): void {
    this.decoder.push(chunk);
    for (let frame = this.decoder.next(); frame !== undefined; frame = this.decoder.next()) {
      this.#take(frame);
    }
  }

  /** Per CPU where the whole records end that have come: what to acknowledge. */
  positions(): CpuPosition[] {
    return [...this.#cpus]
      .filter(([, { joiner }]) => joiner.synced)
      .map(([cpu, { joiner }]) => ({ cpu, position: BigInt(joiner.position) }));
  }

  /** An Attach was sent: what still comes of an earlier stream is not this one's. */
  awaitHello(attachNonce: bigint): void {
    this.#awaitedNonce = attachNonce;
  }

  /** A connection ended; the next one goes on where this one stood. */
  reconnect(): void {
    this.decoder.reset();
    for (const { joiner } of this.#cpus.values()) joiner.resume();
  }

  /** Produced, lost and dropped of all CPUs, as the last Stats say. */
  ledger(): { produced: number; lostKernel: number; dropped: number; final: boolean } {
    const last = this.stats.at(-1);
    let [produced, lostKernel, dropped] = [0, 0, 0];
    for (const cpu of last?.cpus ?? []) {
      produced += Number(cpu.produced);
      lostKernel += Number(cpu.lostKernel);
      for (const { events } of cpu.drops) dropped += Number(events);
    }
    return { produced, lostKernel, dropped, final: last?.final ?? false };
  }

  #take({ type, bytes, payloadStart: from, payloadEnd: to }: Frame): void {
    if (!this.#isOfThisStream(type, bytes, from, to)) return;
    this.frameTypes.push(type);
    switch (type) {
      case FrameType.SAMPLES:
        this.#takeSpan(bytes, from, to);
        return;
      case FrameType.HELLO:
        this.#takeHello(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.CONTROL_REPLY:
        this.replies.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.EVENTS:
        this.events = [...this.events, ...decodeMessage(type, bytes, from, to).events];
        return;
      case FrameType.TASK:
        for (const { pid, comm } of decodeMessage(type, bytes, from, to).tasks) {
          this.comms.set(pid, new TextDecoder().decode(comm));
        }
        return;
      case FrameType.CLOCK_SAMPLE:
        this.clockSamples.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.PROGRESS:
        this.progress.push(decodeMessage(type, bytes, from, to).tsc);
        return;
      case FrameType.LOST:
        this.lost.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.DUMP:
        this.dumps.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.STATS:
        this.stats.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.ERROR:
        this.errors.push(decodeMessage(type, bytes, from, to));
        return;
      case FrameType.PONG:
        this.pongs.push(decodeMessage(type, bytes, from, to).seq);
        return;
      case FrameType.BYE:
        this.bye = decodeMessage(type, bytes, from, to);
    }
  }

  #isOfThisStream(type: number, bytes: Uint8Array, from: number, to: number): boolean {
    if (this.#awaitedNonce === undefined) return true;
    if (type === FrameType.PONG || type === FrameType.ERROR) return true;
    if (type !== FrameType.HELLO) return false;
    const { attachNonce } = decodeMessage(type, bytes, from, to);
    if (attachNonce !== this.#awaitedNonce) return false;
    this.#awaitedNonce = undefined;
    return true;
  }

  /** Rings of another stream begin anew. */
  #takeHello(hello: Hello): void {
    if (hello.streamNonce !== this.hello?.streamNonce) this.#cpus.clear();
    this.hello = hello;
    this.events = hello.events;
  }

  #takeSpan(bytes: Uint8Array, payloadStart: number, payloadEnd: number): void {
    if (!readSamples(bytes, payloadStart, payloadEnd, this.#view)) {
      throw new Error("a Samples frame is malformed");
    }
    const { cpu, position, recordStart, spanStart, spanEnd } = this.#view;
    const { joiner, sink } = this.#streamOf(cpu);
    joiner.push(bytes, spanStart, spanEnd, position, recordStart, sink);
  }

  #streamOf(cpu: number): CpuStream {
    const known = this.#cpus.get(cpu);
    if (known !== undefined) return known;
    const stream: CpuStream = {
      joiner: new SpanJoiner(),
      sink: {
        span: (bytes, start, end) => this.#takeRecords(bytes, start, end),
        lost: (from, to) => this.gaps.push({ cpu, from, to }),
      },
    };
    this.#cpus.set(cpu, stream);
    return stream;
  }

  #takeRecords(bytes: Uint8Array, start: number, end: number): void {
    const sampleType = Number(this.events[0]!.sampleType);
    for (let at = start; at < end; ) {
      const size = bytes[at + 6]! | (bytes[at + 7]! << 8);
      const view = new DataView(bytes.buffer, bytes.byteOffset + at, size);
      if (bytes[at] === PERF_RECORD_SAMPLE) {
        this.samples++;
        const call = readSysEnter({ type: PERF_RECORD_SAMPLE, bytes: view }, sampleType);
        this.numbers.push(call.arg0);
        this.stamps.push({ type: call.commonType, number: call.arg0, ns: call.timeNs });
      } else if (bytes[at] === PERF_RECORD_LOST) {
        this.lostInRings += Number(view.getBigUint64(16, true));
      }
      at += size;
    }
  }
}
