// One message of each type with every field set, so that a test over all of them misses no field.

import { FrameType } from "../../../shared/wire/frame.ts";
import {
  ByeReason,
  ClockSource,
  ErrorCode,
  type Event,
  EventKind,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import type { MessageOf } from "../../../shared/wire/message.ts";

export const FRAME_TYPES = Object.values(FrameType);

export function ascii(text: string): Uint8Array {
  return new TextEncoder().encode(text);
}

export const EVENT: Event = {
  index: 3,
  system: "irq",
  name: "irq_handler_entry",
  alias: "injected",
  commonType: 74,
  format: ascii("name: irq_handler_entry\nID: 74\n"),
  filter: 'name~"virtio0-input*"',
  ids: [300n, 2n ** 63n],
  sampleType: 0x10404n,
  sampleIdAll: true,
  kind: EventKind.TRACEPOINT,
  definition: "p:vmspan/x do_sys_open",
  refusedFilter: "",
  request: 0,
  kernelSymbols: true,
};

export const FULL_MESSAGES: { readonly [T in FrameType]: MessageOf[T] } = {
  [FrameType.ATTACH]: {
    attachNonce: 0x1122334455667788n,
    streamNonce: 0xffeeddccbbaa9988n,
    resume: [
      { cpu: 0, position: 4096n },
      { cpu: 77, position: 2n ** 52n },
    ],
    agentVersion: "0.1.0",
  },
  [FrameType.HELLO]: {
    streamNonce: 0xffeeddccbbaa9988n,
    attachNonce: 0x1122334455667788n,
    bootId: "5c0f6f6e-6d39-4a42-8d42-3c5a5d0ecb7e",
    hostname: "guest-ü",
    kernelRelease: "6.1.0-18-amd64",
    machine: "x86_64",
    agentVersion: "0.1.0",
    cpus: [
      { cpu: 0, apicId: 0 },
      { cpu: 1, apicId: undefined },
      { cpu: 300, apicId: 512 },
    ],
    clock: {
      source: ClockSource.FITTED,
      clockId: 4,
      clocksource: "kvm-clock",
      tscHz: 2_500_000_000n,
    },
    events: [EVENT, { ...EVENT, index: 4, ids: [] }],
    eventCount: 9,
    tscDisplay: true,
    twoWay: true,
    pageBytes: 4096,
    ringBytes: 4 * 1024 * 1024,
    watermarkBytes: 1024 * 1024,
    start: [{ cpu: 300, position: 8n }],
    serving: false,
    overwrite: false,
  },
  [FrameType.EVENTS]: { events: [EVENT] },
  [FrameType.CLOCK_SAMPLE]: {
    cpu: 5,
    epoch: 2,
    conversion: {
      $case: "fitted",
      value: { tscBefore: 2n ** 53n + 1n, perfNs: 2n ** 64n - 1n, tscAfter: 2n ** 53n + 41n },
    },
    realtimeNs: 1_681_364_846_370_747_000n,
    realtimeTsc: 2n ** 53n + 7n,
  },
  [FrameType.SAMPLES]: {
    cpu: 1,
    position: 0x12345n,
    recordStart: true,
    span: Uint8Array.of(9, 0, 0, 0, 0, 0, 8, 0),
  },
  [FrameType.PROGRESS]: { tsc: 0xfedcba9876543210n },
  [FrameType.LOST]: {
    cpu: 2,
    place: "sink",
    events: 12n,
    bytes: 960n,
    fromPosition: 4096n,
    toPosition: 5056n,
  },
  [FrameType.TASK]: {
    tasks: [
      { pid: 1, comm: ascii("systemd") },
      { pid: 4194304, comm: Uint8Array.of(0x1b, 0x5b, 0xff) },
    ],
  },
  [FrameType.PING]: { seq: 300, senderTsc: 0xfedcba9876543210n, awaitUs: 0 },
  [FrameType.PONG]: {
    seq: 300,
    echoTsc: 0xfedcba9876543210n,
    receivedTsc: 0x0102030405060708n,
    sentTsc: 0x1112131415161718n,
  },
  [FrameType.ACK]: {
    positions: [
      { cpu: 0, position: 4096n },
      { cpu: 1, position: 2n ** 52n },
    ],
  },
  [FrameType.CONTROL]: {
    id: 8,
    request: {
      $case: "open",
      value: {
        events: [
          {
            kind: EventKind.UPROBE,
            system: "uprobes",
            name: "readline",
            alias: "r",
            filter: "common_pid!=1",
            definition: "/bin/bash:0x1234",
            cpus: [0, 300],
            threadIds: true,
            callChain: true,
            maxStack: 16,
            callChainPart: 0,
          },
        ],
        ringBytes: 1024 * 1024,
        watermarkBytes: 4096,
      },
    },
  },
  [FrameType.CONTROL_REPLY]: {
    id: 8,
    error: {
      code: ErrorCode.BAD_FILTER,
      message: "Cannot open irq:x: EINVAL",
      hint: "See list",
      text: "",
      position: 0,
    },
    events: [EVENT],
    more: true,
  },
  [FrameType.STATS]: {
    cpus: [
      {
        cpu: 1,
        produced: 2_000_000n,
        lostKernel: 17n,
        drops: [{ place: "sink", events: 12n, bytes: 960n }],
        headPosition: 2n ** 40n,
        sentPosition: 2n ** 40n - 8n,
        ackedPosition: 2n ** 40n - 4096n,
      },
    ],
    final: true,
    agentCpuNs: 123_456_789n,
    rssBytes: 40_000_000n,
  },
  [FrameType.ERROR]: {
    code: ErrorCode.PERMISSION,
    message: "Cannot open event: EACCES, wants CAP_PERFMON",
    hint: "Run as root",
    text: "",
    position: 0,
  },
  [FrameType.BYE]: { reason: ByeReason.SIGNAL, exitCode: 130, message: "SIGINT", keep: false },
  [FrameType.DUMP]: { number: 3, trigger: "SIGUSR2", complete: true, tsc: 0xfedcba9876543210n },
  [FrameType.SYMBOLS]: {
    id: 7,
    request: {
      kernel: true,
      mapsOf: [1, 4711],
      code: [
        {
          pid: 4711,
          start: 0x7f33c1428000n,
          end: 0x7f33c15b6000n,
          fileOffset: 0x28000n,
          file: "fe:01 131612",
          path: ascii("/lib/libc.so.6"),
          addresses: [0x7f33c1428001n, 0x7f33c1430000n],
        },
      ],
    },
    kernel: Uint8Array.of(0x54, 2, 1, 0x61),
    kernelEnd: true,
    maps: [{ pid: 4711, text: ascii("1000-2000 r-xp 0 00:00 0 \n") }],
    functions: [{ code: 0, address: 1, name: ascii("write"), offset: 23n, module: ascii("libc") }],
    end: true,
  },
};
