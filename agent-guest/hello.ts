/**
 * Hello: all that a host needs to decode the stream, from the guest's own tracefs. Formats of many
 * events do not fit into one frame; the rest follows in Events frames.
 */
import type { EventSet } from "../shared/event/event_set.ts";
import type { RefusedFilter } from "../shared/event/filter_error.ts";
import type { MachineInfo } from "../shared/event/machine.ts";
import { PERF_SAMPLE_CALLCHAIN, PERF_SAMPLE_IDENTIFIER } from "../shared/perf/sample_type.ts";
import { PAGE_BYTES } from "../shared/sys/abi.ts";
import { printsSymbols } from "../shared/tracefs/symbols.ts";
import { FRAME_PAYLOAD_BYTES_MAX, FrameType } from "../shared/wire/frame.ts";
import {
  ClockSource,
  type Event,
  EventKind,
  type Hello,
} from "../shared/wire/gen/vmspan/v1/channel.ts";
import type { Outlet } from "./sink/outlet.ts";

/** Formats of one frame; the rest of the limit is for everything else in Hello. */
const EVENT_BYTES_PER_FRAME_MAX = FRAME_PAYLOAD_BYTES_MAX / 2;

/** What a stream says of itself, beside its events. */
export interface StreamDescription {
  readonly machine: MachineInfo;
  readonly agentVersion: string;
  readonly isTscDisplay: boolean;
  readonly isTwoWay: boolean;
  /** The host has asked for these events, and may ask for others. */
  readonly isServing: boolean;
}

export interface HelloOptions extends Omit<StreamDescription, "machine"> {
  readonly streamNonce: bigint;
  readonly attachNonce: bigint;
  readonly events: readonly Event[];
  /** By ring index: where this receiver's stream begins. */
  readonly start: Float64Array;
}

const encoder = new TextEncoder();

const KINDS = {
  kprobe: EventKind.KPROBE,
  kretprobe: EventKind.KRETPROBE,
  uprobe: EventKind.UPROBE,
  uretprobe: EventKind.URETPROBE,
} as const;

/** What is said of a filter that the kernel refused. */
function refusalOf(refusal: RefusedFilter | undefined) {
  const { filter = "", kernel } = refusal ?? {};
  if (kernel === undefined) return { refusedFilter: filter };
  return {
    refusedFilter: filter,
    refusedReason: kernel.reason,
    refusedPosition: kernel.position,
  };
}

/**
 * The set's events, in groups that each fit into a frame; when a host has asked for them, with the
 * request of each. `kernelSymbols`: this kernel's symbols are sent unasked.
 */
export function splitEvents(set: EventSet, isServing: boolean, kernelSymbols = false): Event[][] {
  const hasIds = (set.sampleType & PERF_SAMPLE_IDENTIFIER) !== 0;
  const groups: Event[][] = [];
  let group: Event[] = [];
  let groupBytes = 0;
  set.events.forEach((event, index) => {
    const format = encoder.encode(event.formatText);
    const bytes = format.length + event.spec.text.length + 8 * set.rings.length + 256;
    if (groupBytes + bytes > EVENT_BYTES_PER_FRAME_MAX && group.length > 0) {
      groups.push(group);
      group = [];
      groupBytes = 0;
    }
    groupBytes += bytes;
    group.push({
      index,
      system: event.system,
      name: event.name,
      alias: event.spec.attributes.alias ?? "",
      commonType: event.id,
      format,
      filter: set.kernelFilter(event),
      ...refusalOf(set.refusal(event)),
      ids: hasIds ? set.identifiers(index) : [],
      sampleType: BigInt(set.sampleType),
      sampleIdAll: true,
      kind: event.spec.probe ? KINDS[event.spec.probe.kind] : EventKind.TRACEPOINT,
      definition: event.probe?.definition ?? "",
      kernelSymbols,
      request: isServing ? event.specIndex + 1 : 0,
    });
  });
  groups.push(group);
  return groups;
}

/** Whether a host prints addresses of this kernel's, and could not ask what they are. */
export function sendsSymbolsUnasked(
  { sampleType, events }: EventSet,
  { isTwoWay }: Pick<StreamDescription, "isTwoWay">,
): boolean {
  if (isTwoWay) return false;
  const hasChains = (sampleType & PERF_SAMPLE_CALLCHAIN) !== 0;
  return hasChains || events.some(({ formatText }) => printsSymbols(formatText));
}

export function buildHello(set: EventSet, machine: MachineInfo, options: HelloOptions): Hello {
  const { clock } = set;
  const isExact = clock.source === "exact";
  return {
    streamNonce: options.streamNonce,
    attachNonce: options.attachNonce,
    bootId: machine.bootId,
    hostname: machine.hostname,
    kernelRelease: machine.kernelRelease,
    machine: machine.architecture,
    agentVersion: options.agentVersion,
    cpus: set.rings.map(({ cpu }) => {
      const apicId = machine.apicIds.get(cpu);
      return apicId === undefined ? { cpu } : { cpu, apicId };
    }),
    clock: {
      source: isExact ? ClockSource.EXACT : ClockSource.FITTED,
      clockId: clock.clockId ?? 0,
      clocksource: machine.clocksource,
      tscHz: 0n,
    },
    events: options.events,
    eventCount: set.events.length,
    tscDisplay: options.isTscDisplay,
    twoWay: options.isTwoWay,
    pageBytes: PAGE_BYTES,
    ringBytes: set.options.ringBytes,
    watermarkBytes: set.options.watermarkBytes,
    start: set.rings.map(({ cpu }, i) => ({ cpu, position: BigInt(options.start[i]!) })),
    serving: options.isServing,
    overwrite: set.options.isOverwrite === true,
  };
}

/** Begins the stream of `set` to a receiver, at its positions. */
export function sendHello(
  outlet: Outlet,
  set: EventSet,
  stream: StreamDescription & Pick<HelloOptions, "streamNonce" | "attachNonce">,
): void {
  const sendsSymbols = sendsSymbolsUnasked(set, stream);
  const [first = [], ...rest] = splitEvents(set, stream.isServing, sendsSymbols);
  const start = outlet.positions;
  outlet.send(
    FrameType.HELLO,
    buildHello(set, stream.machine, { ...stream, events: first, start }),
  );
  for (const events of rest) outlet.send(FrameType.EVENTS, { events });
}

/** What a guest says that waits to be asked for events. */
export function buildIdleHello(
  machine: MachineInfo,
  agentVersion: string,
  attachNonce: bigint,
): Hello {
  return {
    streamNonce: 0n,
    attachNonce,
    bootId: machine.bootId,
    hostname: machine.hostname,
    kernelRelease: machine.kernelRelease,
    machine: machine.architecture,
    agentVersion,
    cpus: [],
    clock: undefined,
    events: [],
    eventCount: 0,
    tscDisplay: false,
    twoWay: true,
    pageBytes: PAGE_BYTES,
    ringBytes: 0,
    watermarkBytes: 0,
    start: [],
    serving: true,
    overwrite: false,
  };
}
