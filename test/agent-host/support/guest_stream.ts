/**
 * The stream of a guest, made by hand: frames and perf records as values, with everything that a
 * test may want to get wrong. One event, with a number and a text:
 *
 *   fake:marker: value=7 text=hello
 */
import { CLOCK_MONOTONIC_RAW, CLOCK_REALTIME } from "../../../shared/sys/abi.ts";
import { clockBracket } from "../../../shared/sys/clock.ts";
import { FRAME_HEADER_BYTES, FrameType, writeFrameHeader } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import {
  ByeReason,
  ClockSource,
  type Event,
  EventKind,
  type Hello,
  type Stats,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import type { MessageOf } from "../../../shared/wire/message.ts";
import {
  SAMPLES_HEADER_BYTES_MAX,
  writeSamplesHeader,
} from "../../../shared/wire/samples_prefix.ts";
import { ascii, common, plainSample, u32 } from "../analyze/record_bytes.ts";

export const FAKE_TYPE = 4242;
export const FAKE_EVENT = "fake:marker";
const TEXT_BYTES = 16;

export const FAKE_FORMAT = `name: marker
ID: ${FAKE_TYPE}
format:
\tfield:unsigned short common_type;\toffset:0;\tsize:2;\tsigned:0;
\tfield:unsigned char common_flags;\toffset:2;\tsize:1;\tsigned:0;
\tfield:unsigned char common_preempt_count;\toffset:3;\tsize:1;\tsigned:0;
\tfield:int common_pid;\toffset:4;\tsize:4;\tsigned:1;

\tfield:int value;\toffset:8;\tsize:4;\tsigned:1;
\tfield:char text[${TEXT_BYTES}];\toffset:12;\tsize:${TEXT_BYTES};\tsigned:0;

print fmt: "value=%d text=%s", REC->value, REC->text
`;

export function fakeEvent(changes: Partial<Event> = {}): Event {
  return {
    index: 0,
    system: "fake",
    name: "marker",
    alias: "",
    commonType: FAKE_TYPE,
    format: new TextEncoder().encode(FAKE_FORMAT),
    filter: "",
    ids: [],
    sampleType: 0x404n,
    sampleIdAll: true,
    kind: EventKind.TRACEPOINT,
    definition: "",
    refusedFilter: "",
    request: 0,
    kernelSymbols: false,
    ...changes,
  };
}

export function fakeHello(changes: Partial<Hello> = {}): Hello {
  return {
    streamNonce: 0x1234_5678_9abc_def1n,
    attachNonce: 0n,
    bootId: "00000000-0000-4000-8000-000000000001",
    hostname: "fake",
    kernelRelease: "6.1.0-fake",
    machine: "x86_64",
    agentVersion: "test",
    cpus: [{ cpu: 0, apicId: 0 }],
    clock: {
      source: ClockSource.FITTED,
      clockId: CLOCK_MONOTONIC_RAW,
      clocksource: "tsc",
      tscHz: 0n,
    },
    events: [fakeEvent()],
    eventCount: 1,
    tscDisplay: false,
    twoWay: false,
    pageBytes: 4096,
    ringBytes: 1024 * 1024,
    watermarkBytes: 256 * 1024,
    start: [{ cpu: 0, position: 0n }],
    serving: false,
    overwrite: false,
    ...changes,
  };
}

/** This machine's clock now, as a guest reads it whose TSC is ahead by `tscOffset`. */
export function clockSampleNow(tscOffset = 0n): MessageOf[typeof FrameType.CLOCK_SAMPLE] {
  const shifted = (clockId: number, rounds: number) => {
    const { tscBefore, ns, tscAfter } = clockBracket(clockId, rounds);
    const shift = (tsc: bigint): bigint => BigInt.asUintN(64, tsc + tscOffset);
    return { tscBefore: shift(tscBefore), ns, tscAfter: shift(tscAfter) };
  };
  const { tscBefore, ns, tscAfter } = shifted(CLOCK_MONOTONIC_RAW, 32);
  const realtime = shifted(CLOCK_REALTIME, 4);
  return {
    cpu: 0,
    epoch: 0,
    conversion: { $case: "fitted", value: { tscBefore, perfNs: ns, tscAfter } },
    realtimeNs: realtime.ns,
    realtimeTsc: realtime.tscBefore,
  };
}

/** A clock of exactly `ghz` cycles per ns, for recordings: no time has to pass for it. */
export function exactClockSample(ghz = 2): MessageOf[typeof FrameType.CLOCK_SAMPLE] {
  const shift = 24;
  return {
    cpu: 0,
    epoch: 0,
    conversion: {
      $case: "exact",
      value: { timeZero: 0n, mult: Math.round(2 ** shift / ghz), shift },
    },
    realtimeNs: 1_700_000_000_000_000_000n,
    realtimeTsc: 2_000_000_000n,
  };
}

/** A bracketed reading of the clock at `ns`, of a TSC of 2 GHz. */
export function fittedClockSample(ns: bigint): MessageOf[typeof FrameType.CLOCK_SAMPLE] {
  const tsc = 2n * ns;
  return {
    ...exactClockSample(),
    conversion: {
      $case: "fitted",
      value: { tscBefore: tsc - 40n, perfNs: ns, tscAfter: tsc + 40n },
    },
    realtimeTsc: tsc,
  };
}

export function nowNs(): number {
  return Number(clockBracket(CLOCK_MONOTONIC_RAW, 1).ns);
}

/** One sample of the event; the record has 48 bytes. */
export function markerRecord(
  timeNs: number,
  value: number,
  text: string | readonly number[] = "hello",
  pid = 77,
): number[] {
  const bytes = typeof text === "string" ? ascii(text) : [...text];
  const padded = [...bytes, ...new Array(TEXT_BYTES).fill(0)].slice(0, TEXT_BYTES);
  return plainSample(timeNs, [...common(FAKE_TYPE, pid), ...u32(value >>> 0), ...padded]);
}

/** Frames in their order, each with its sequence number. */
export class StreamWriter {
  readonly #writer = new FrameWriter();
  #sequence = 0;

  frame<T extends FrameType>(type: T, message: MessageOf[T]): Uint8Array {
    return this.#writer.encode(type, message, this.#sequence++).slice();
  }

  samples(cpu: number, position: number, span: ArrayLike<number>, isStart = true): Uint8Array {
    const out = new Uint8Array(SAMPLES_HEADER_BYTES_MAX + span.length);
    const at = writeSamplesHeader(out, 0, cpu, position, isStart, span.length, this.#sequence++, 0);
    out.set(span, at);
    return out.subarray(0, at + span.length);
  }

  /** A true header that claims `payloadBytes`, and nothing behind it. */
  header(type: number, payloadBytes: number): Uint8Array {
    const out = new Uint8Array(FRAME_HEADER_BYTES);
    writeFrameHeader(out, 0, type, 0, payloadBytes, this.#sequence++);
    return out;
  }

  /** What a guest says at its end. */
  goodbye(cpus: Stats["cpus"] = []): Uint8Array {
    const stats = { cpus, final: true, agentCpuNs: 0n, rssBytes: 0n };
    return join(
      this.frame(FrameType.STATS, stats),
      this.frame(FrameType.BYE, { reason: ByeReason.DONE, exitCode: 0, message: "", keep: false }),
    );
  }
}

export function join(...parts: readonly Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A whole recording with `spans` of CPU 0, each from where the one before ended. */
export function recording(spans: readonly ArrayLike<number>[], hello: Partial<Hello> = {}) {
  const writer = new StreamWriter();
  let position = 0;
  const parts = [
    writer.frame(FrameType.HELLO, fakeHello(hello)),
    writer.frame(FrameType.CLOCK_SAMPLE, exactClockSample()),
  ];
  for (const span of spans) {
    parts.push(writer.samples(0, position, span));
    position += span.length;
  }
  return { bytes: join(...parts), position, writer };
}
