/**
 * What a guest that serves is asked to open: the pulled events of the command line, as OpenEvents.
 *
 *   -e 'irq:irq_handler_entry/name~"virtio*"/pull=9900/alias=handler/'
 *   OpenEvents { events: [{ system: "irq", name: "irq_handler_entry", filter: 'name~"virtio*"',
 *                           alias: "handler" }] }
 */
import { RING_PAGES_DEFAULT } from "../../shared/cli/option.ts";
import { parseCpuList } from "../../shared/event/machine.ts";
import { type EventSpec, namesProcessId, type ProbeSpec } from "../../shared/event/spec.ts";
import { PAGE_BYTES } from "../../shared/sys/abi.ts";
import {
  CallChainPart,
  EventKind,
  type EventRequest,
  type OpenEvents,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";

const PROBE_KINDS = {
  kprobe: EventKind.KPROBE,
  kretprobe: EventKind.KRETPROBE,
  uprobe: EventKind.UPROBE,
  uretprobe: EventKind.URETPROBE,
} as const;

/** A probe as -e takes it: the guest finds its file and function. */
function definitionOf({ kind, target, file, fetchArguments }: ProbeSpec): string {
  const where = file === undefined ? "" : `@"${file}"`;
  return `${kind}:${target}${where} ${fetchArguments}`.trim();
}

const CHAIN_PARTS = { kernel: CallChainPart.KERNEL, user: CallChainPart.USER } as const;

export interface RequestOptions {
  /** -m: ring of each CPU. Its default leaves the size to the guest. */
  readonly ringBytes: number;
  /** -g: the call chain of every event. */
  readonly callChains: boolean;
  /** -k, which may want process ids. */
  readonly key: string | undefined;
}

function requestOf(spec: EventSpec, { callChains, key }: RequestOptions): EventRequest {
  const { text, system, name, probe, filter, attributes } = spec;
  const { alias, cpus, stack, maxStack } = attributes;
  const part = stack === "kernel" || stack === "user" ? CHAIN_PARTS[stack] : CallChainPart.BOTH;
  const callChain = stack !== undefined || maxStack !== undefined || callChains;
  return {
    kind: probe === undefined ? EventKind.TRACEPOINT : PROBE_KINDS[probe.kind],
    system,
    name,
    alias: alias ?? "",
    filter,
    definition: probe === undefined ? "" : definitionOf(probe),
    cpus: cpus === undefined ? [] : parseCpuList(cpus),
    threadIds: namesProcessId(`${text} ${key ?? ""}`),
    callChain,
    maxStack: maxStack ?? 0,
    callChainPart: callChain ? part : CallChainPart.UNSPECIFIED,
  };
}

/** A request for `specs`, in their order. */
export function openRequest(specs: readonly EventSpec[], options: RequestOptions): OpenEvents {
  const { ringBytes } = options;
  const isDefault = ringBytes === RING_PAGES_DEFAULT * PAGE_BYTES;
  return {
    events: specs.map((spec) => requestOf(spec, options)),
    ringBytes: isDefault ? 0 : ringBytes,
    watermarkBytes: 0,
  };
}
