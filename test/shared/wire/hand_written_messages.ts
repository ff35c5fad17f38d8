// Each message type as bytes written by hand from the .proto, beside what they say.

import { FrameType } from "../../../shared/wire/frame.ts";
import { ClockSource, ErrorCode, EventKind } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import type { MessageOf } from "../../../shared/wire/message.ts";
import { ascii } from "./fixtures.ts";

export type Part = number | string | readonly Part[];

/** Bytes from numbers, texts, and messages (arrays), which get their length in front. */
export function bytesOf(parts: readonly Part[]): number[] {
  return parts.flatMap((part) => {
    if (typeof part === "number") return [part];
    const inner = typeof part === "string" ? [...ascii(part)] : bytesOf(part);
    return [inner.length, ...inner];
  });
}

const LE_1234 = [0x34, 0x12, 0, 0, 0, 0, 0, 0];
export const LE_MAX = Array<number>(8).fill(0xff);

/** [type, hand-written bytes, what they say] */
export const HAND_WRITTEN: readonly {
  [T in FrameType]: [T, readonly Part[], MessageOf[T]];
}[FrameType][] = [
  [
    FrameType.ATTACH,
    [0x09, ...LE_1234, 0x11, ...LE_MAX, 0x1a, [0x08, 1, 0x10, 0x80, 0x20], 0x22, "0.1"],
    {
      attachNonce: 0x1234n,
      streamNonce: 2n ** 64n - 1n,
      resume: [{ cpu: 1, position: 4096n }],
      agentVersion: "0.1",
    },
  ],
  [
    FrameType.HELLO,
    [
      ...[0x09, ...LE_1234, 0x11, ...LE_MAX, 0x1a, "b", 0x22, "h", 0x2a, "k", 0x32, "m"],
      ...[0x3a, "v", 0x42, [0x08, 2, 0x10, 0], 0x4a, [0x08, 1, 0x10, 4, 0x1a, "tsc", 0x20, 9]],
      ...[0x52, [0x08, 1, 0x12, "irq", 0x1a, "x"], 0x58, 2, 0x60, 1, 0x68, 1],
      ...[0x70, 0x80, 0x20, 0x78, 8, 0x80, 0x01, 4, 0x8a, 0x01, [0x10, 8], 0x90, 0x01, 1],
      ...[0xa0, 0x01, 1],
    ],
    {
      streamNonce: 0x1234n,
      attachNonce: 2n ** 64n - 1n,
      bootId: "b",
      hostname: "h",
      kernelRelease: "k",
      machine: "m",
      agentVersion: "v",
      cpus: [{ cpu: 2, apicId: 0 }],
      clock: { source: ClockSource.EXACT, clockId: 4, clocksource: "tsc", tscHz: 9n },
      events: [
        {
          index: 1,
          system: "irq",
          name: "x",
          alias: "",
          commonType: 0,
          format: new Uint8Array(0),
          filter: "",
          ids: [],
          sampleType: 0n,
          sampleIdAll: false,
          kind: EventKind.UNSPECIFIED,
          definition: "",
          refusedFilter: "",
          request: 0,
          kernelSymbols: false,
        },
      ],
      eventCount: 2,
      tscDisplay: true,
      twoWay: true,
      pageBytes: 4096,
      ringBytes: 8,
      watermarkBytes: 4,
      start: [{ cpu: 0, position: 8n }],
      serving: true,
      overwrite: true,
    },
  ],
  [
    FrameType.EVENTS,
    [
      0x0a,
      [
        ...[0x08, 1, 0x12, "s", 0x1a, "n", 0x22, "a", 0x28, 74, 0x32, "f", 0x3a, "x==1"],
        ...[0x42, [7, 0x80, 0x01], 0x48, 0x84, 0x08, 0x50, 1, 0x58, 1, 0x62, "d", 0x68, 1],
        ...[0x78, 2, 0x9a, 0x01, "y+1==2", 0xa2, 0x01, "why", 0xa8, 0x01, 3],
      ],
    ],
    {
      events: [
        {
          index: 1,
          system: "s",
          name: "n",
          alias: "a",
          commonType: 74,
          format: ascii("f"),
          filter: "x==1",
          ids: [7n, 128n],
          sampleType: 0x404n,
          sampleIdAll: true,
          kind: EventKind.TRACEPOINT,
          definition: "d",
          refusedFilter: "y+1==2",
          refusedReason: "why",
          refusedPosition: 3,
          request: 2,
          kernelSymbols: true,
        },
      ],
    },
  ],
  [
    FrameType.CLOCK_SAMPLE,
    [
      ...[0x08, 5, 0x10, 2, 0x1a, [0x09, ...LE_1234, 0x11, ...LE_MAX, 0x19, ...LE_1234]],
      ...[0x29, ...LE_1234, 0x31, ...LE_MAX],
    ],
    {
      cpu: 5,
      epoch: 2,
      conversion: {
        $case: "fitted",
        value: { tscBefore: 0x1234n, perfNs: 2n ** 64n - 1n, tscAfter: 0x1234n },
      },
      realtimeNs: 0x1234n,
      realtimeTsc: 2n ** 64n - 1n,
    },
  ],
  [
    FrameType.CLOCK_SAMPLE,
    [0x22, [0x09, ...LE_MAX, 0x10, 0xff, 0xff, 0xff, 0xff, 0x0f, 0x18, 31]],
    {
      cpu: 0,
      epoch: 0,
      conversion: {
        $case: "exact",
        value: { timeZero: 2n ** 64n - 1n, mult: 0xffffffff, shift: 31 },
      },
      realtimeNs: 0n,
      realtimeTsc: 0n,
    },
  ],
  [
    FrameType.SAMPLES,
    [0x08, 1, 0x10, 0xc5, 0xc6, 0x04, 0x18, 1, 0x22, "abcdefgh"],
    { cpu: 1, position: 0x12345n, recordStart: true, span: ascii("abcdefgh") },
  ],
  [FrameType.PROGRESS, [0x09, ...LE_1234], { tsc: 0x1234n }],
  [
    FrameType.LOST,
    [0x08, 2, 0x12, "sink", 0x18, 12, 0x20, 0x60, 0x28, 8, 0x30, 0x68],
    { cpu: 2, place: "sink", events: 12n, bytes: 96n, fromPosition: 8n, toPosition: 104n },
  ],
  [
    FrameType.TASK,
    [0x0a, [0x08, 1, 0x12, "init"], 0x0a, [0x08, 2]],
    {
      tasks: [
        { pid: 1, comm: ascii("init") },
        { pid: 2, comm: new Uint8Array(0) },
      ],
    },
  ],
  [
    FrameType.PING,
    [0x08, 3, 0x11, ...LE_1234, 0x18, 0xe8, 0x07],
    { seq: 3, senderTsc: 0x1234n, awaitUs: 1000 },
  ],
  [
    FrameType.PONG,
    [0x08, 3, 0x11, ...LE_1234, 0x19, ...LE_MAX, 0x21, ...LE_1234],
    { seq: 3, echoTsc: 0x1234n, receivedTsc: 2n ** 64n - 1n, sentTsc: 0x1234n },
  ],
  [
    FrameType.ACK,
    [0x0a, [0x10, 0x80, 0x20], 0x0a, [0x08, 1, 0x10, 8]],
    {
      positions: [
        { cpu: 0, position: 4096n },
        { cpu: 1, position: 8n },
      ],
    },
  ],
  [
    FrameType.CONTROL,
    [
      ...[0x08, 8, 0x12],
      [
        ...[0x0a, [0x08, 4, 0x12, "s", 0x1a, "n", 0x22, "a", 0x2a, "f", 0x32, "d", 0x3a, [0, 9]]],
        ...[0x10, 64, 0x18, 32],
      ],
    ],
    {
      id: 8,
      request: {
        $case: "open",
        value: {
          events: [
            {
              kind: EventKind.UPROBE,
              system: "s",
              name: "n",
              alias: "a",
              filter: "f",
              definition: "d",
              cpus: [0, 9],
              threadIds: false,
              callChain: false,
              maxStack: 0,
              callChainPart: 0,
            },
          ],
          ringBytes: 64,
          watermarkBytes: 32,
        },
      },
    },
  ],
  [
    FrameType.CONTROL,
    [0x08, 9, 0x1a, [0x0a, [1, 3]]],
    { id: 9, request: { $case: "close", value: { indexes: [1, 3] } } },
  ],
  [
    FrameType.CONTROL,
    [0x08, 9, 0x22, [0x0a, "kvm:*"]],
    { id: 9, request: { $case: "list", value: { pattern: "kvm:*" } } },
  ],
  [
    FrameType.CONTROL,
    [0x08, 9, 0x2a, [0x0a, "kvm:*"]],
    { id: 9, request: { $case: "describe", value: { pattern: "kvm:*" } } },
  ],
  [
    FrameType.CONTROL_REPLY,
    [0x08, 8, 0x12, [0x08, 3, 0x12, "m", 0x1a, "h", 0x22, "a==b", 0x28, 3], 0x20, 1],
    {
      id: 8,
      error: { code: ErrorCode.BAD_FILTER, message: "m", hint: "h", text: "a==b", position: 3 },
      events: [],
      more: true,
    },
  ],
  [
    FrameType.STATS,
    [
      ...[0x0a, [0x08, 1, 0x10, 100, 0x18, 17, 0x22, [0x0a, "sink", 0x10, 12, 0x18, 96]]],
      ...[0x0a, [0x28, 8, 0x30, 16, 0x38, 24], 0x10, 1, 0x18, 5, 0x20, 6],
    ],
    {
      cpus: [
        {
          cpu: 1,
          produced: 100n,
          lostKernel: 17n,
          drops: [{ place: "sink", events: 12n, bytes: 96n }],
          headPosition: 0n,
          sentPosition: 0n,
          ackedPosition: 0n,
        },
        {
          cpu: 0,
          produced: 0n,
          lostKernel: 0n,
          drops: [],
          headPosition: 8n,
          sentPosition: 16n,
          ackedPosition: 24n,
        },
      ],
      final: true,
      agentCpuNs: 5n,
      rssBytes: 6n,
    },
  ],
  [
    FrameType.ERROR,
    [0x08, 4, 0x12, "m", 0x1a, "h"],
    { code: ErrorCode.PERMISSION, message: "m", hint: "h", text: "", position: 0 },
  ],
  [
    FrameType.BYE,
    [0x08, 2, 0x10, 0x82, 0x01, 0x1a, "SIGINT", 0x20, 1],
    { reason: 2, exitCode: 130, message: "SIGINT", keep: true },
  ],
  [
    FrameType.SYMBOLS,
    [
      ...[0x08, 7, 0x12, [0x08, 1, 0x12, [2, 3], 0x1a, [0x08, 9, 0x10, 0x80, 0x20, 0x18, 1]]],
      ...[0x1a, "T", 0x20, 1, 0x2a, [0x08, 2], 0x32, [0x10, 3, 0x1a, "w", 0x20, 5], 0x38, 1],
    ],
    {
      id: 7,
      request: {
        kernel: true,
        mapsOf: [2, 3],
        code: [
          {
            pid: 9,
            start: 4096n,
            end: 1n,
            fileOffset: 0n,
            file: "",
            path: new Uint8Array(0),
            addresses: [],
          },
        ],
      },
      kernel: Uint8Array.of(0x54),
      kernelEnd: true,
      maps: [{ pid: 2 }],
      functions: [
        {
          code: 0,
          address: 3,
          name: Uint8Array.of(0x77),
          offset: 5n,
          module: new Uint8Array(0),
        },
      ],
      end: true,
    },
  ],
  [
    FrameType.DUMP,
    [0x08, 3, 0x12, "host", 0x18, 1, 0x21, ...LE_1234],
    { number: 3, trigger: "host", complete: true, tsc: 0x1234n },
  ],
];
