/**
 * From what a host asks for (OpenEvents) to events that can be opened. A host can say names, filter
 * texts, CPUs and sizes, and nothing else: each is checked here against what it may be, and against
 * the guest's limits. How a filter reads is the kernel's business.
 */

import { formatCpuList, onlineCpus } from "../../shared/event/machine.ts";
import { closeProbes, type ResolvedEvent, resolveEvents } from "../../shared/event/resolve.ts";
import {
  type EventAttributes,
  type EventSpec,
  EventSyntaxError,
  parseEventSpecs,
} from "../../shared/event/spec.ts";
import { RING_BYTES_MIN } from "../../shared/perf/ring.ts";
import type { EventName, Tracefs } from "../../shared/tracefs/tracefs.ts";
import {
  CallChainPart,
  ErrorCode,
  EventKind,
  type EventRequest,
  type OpenEvents,
} from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { watermarkBytesFor } from "../budget.ts";
import { ControlError } from "./control_error.ts";
import { eventPolicy, type Limits } from "./limits.ts";

/** The kernel takes a page of filter text. */
const FILTER_CHARS_MAX = 4095;
const NAME_CHARS_MAX = 128;
const DEFINITION_CHARS_MAX = 4096;
const STACK_ENTRIES_MAX = 127;
const CPUS_SHOWN_MAX = 16;
/** Formats of one stream: they wait in the outlet's buffer until the host reads them. */
const FORMAT_BYTES_MAX = 1536 * 1024;
const RING_BYTES_DEFAULT = 1024 * 1024;

const NAME = /^[A-Za-z0-9_*?[\]!^:.-]+$/;
const CONFIG_HINT = "it is set in the guest: /etc/vmspan/agent-guest.toml or serve";

function bad(message: string, hint: string): never {
  throw new ControlError(ErrorCode.BAD_REQUEST, message, hint);
}

/** What to open, checked: everything that EventSet wants. */
export interface OpenOrder {
  readonly specs: readonly EventSpec[];
  readonly ringBytes: number;
  readonly watermarkBytes: number;
  readonly threadIds: boolean;
}

/** The probe of a request, by the parser of -e: one probe, and nothing else with it. */
function probeSpecOf({ kind, definition }: EventRequest): EventSpec {
  if (definition.length > DEFINITION_CHARS_MAX) {
    bad(`Cannot make a probe: over ${DEFINITION_CHARS_MAX} characters`, "name fewer arguments");
  }
  const specs = parseEventSpecs(definition);
  const [spec] = specs;
  const kinds = {
    kprobe: EventKind.KPROBE,
    kretprobe: EventKind.KRETPROBE,
    uprobe: EventKind.UPROBE,
    uretprobe: EventKind.URETPROBE,
  };
  const isOne = specs.length === 1 && spec?.probe !== undefined && spec.filter === "";
  if (!isOne || kinds[spec.probe.kind] !== kind || Object.keys(spec.attributes).length > 0) {
    throw new EventSyntaxError("wants one probe, as uprobe:FUNC@FILE ARG=%di:u64", definition, 0);
  }
  return spec;
}

/** The call chain that is asked for, as the attributes of -e say it. */
function chainOf({ callChain, maxStack, callChainPart: part }: EventRequest): EventAttributes {
  if (maxStack > STACK_ENTRIES_MAX) {
    bad(`Cannot sample ${maxStack} stack entries: wants at most ${STACK_ENTRIES_MAX}`, "");
  }
  if (!callChain) return {};
  const isWhole = part !== CallChainPart.KERNEL && part !== CallChainPart.USER;
  const stack = isWhole ? true : part === CallChainPart.KERNEL ? "kernel" : "user";
  return maxStack === 0 ? { stack } : { stack, maxStack };
}

function cpusOf({ cpus }: EventRequest): EventAttributes {
  if (cpus.length === 0) return {};
  const wanted = [...new Set(cpus)].sort((a, b) => a - b);
  const online = onlineCpus();
  const missing = wanted.filter((cpu) => !online.includes(cpu)).slice(0, CPUS_SHOWN_MAX);
  if (missing.length === 0) return { cpus: formatCpuList(wanted) };
  return bad(
    `Cannot sample CPU ${formatCpuList(missing)}: not online in the guest`,
    `cpus=${formatCpuList(online)}`,
  );
}

function specOf(request: EventRequest, limits: Limits): EventSpec {
  const { kind, system, name, alias, filter } = request;
  const isProbe = kind !== EventKind.TRACEPOINT && kind !== EventKind.UNSPECIFIED;
  if (isProbe && !limits.allowsProbes) {
    throw new ControlError(
      ErrorCode.PERMISSION,
      `Cannot make a probe for the host: this guest does not allow probes`,
      `allow-probes = true in the guest's agent-guest.toml; a probe reads any memory of the guest`,
    );
  }
  const shown = `${system}:${name}`;
  if (!isProbe && (shown.length > NAME_CHARS_MAX || !NAME.test(system) || !NAME.test(name))) {
    bad("Cannot open an event: its name is no name", "SYSTEM:NAME, with wildcards * ? [...]");
  }
  if (alias.length > NAME_CHARS_MAX) bad(`Cannot name ${shown}: the alias is too long`, "");
  if (filter.length > FILTER_CHARS_MAX || filter.includes("\0")) {
    bad(`Cannot filter ${shown}: wants at most ${FILTER_CHARS_MAX} characters of text`, "");
  }
  const base = isProbe ? probeSpecOf(request) : { text: shown, system, name, probe: undefined };
  const attributes = {
    ...(alias === "" ? {} : { alias }),
    ...cpusOf(request),
    ...chainOf(request),
  };
  return { ...base, filter, attributes };
}

function ringBytesOf({ ringBytes: wanted }: OpenEvents, { ringBytesMax }: Limits): number {
  if (wanted === 0) return Math.min(RING_BYTES_DEFAULT, ringBytesMax);
  if (wanted > ringBytesMax) {
    throw new ControlError(
      ErrorCode.LIMIT,
      `Cannot open rings of ${wanted} bytes: this guest allows ${ringBytesMax}`,
      `-m ${ringBytesMax / RING_BYTES_MIN}, or raise max-ring: ${CONFIG_HINT} --max-ring`,
    );
  }
  if (wanted >= RING_BYTES_MIN && (wanted & (wanted - 1)) === 0) return wanted;
  return bad(`Cannot open rings of ${wanted} bytes: wants a power of two of pages`, "-m 256");
}

/** Checks a request as far as that needs no look at the kernel. Throws ControlError. */
export function checkOpenEvents(request: OpenEvents, limits: Limits): OpenOrder {
  const { events, watermarkBytes } = request;
  if (events.length === 0) bad("Cannot open events: the request names none", "-e SYSTEM:NAME");
  if (events.length > limits.eventsMax) throw tooMany(events.length, limits);
  const ringBytes = ringBytesOf(request, limits);
  return {
    specs: events.map((event) => specOf(event, limits)),
    ringBytes,
    watermarkBytes: Math.min(
      watermarkBytes || Infinity,
      watermarkBytesFor(ringBytes, limits.rates),
    ),
    threadIds: events.some(({ threadIds }) => threadIds),
  };
}

function tooMany(events: number, { eventsMax }: Limits): ControlError {
  return new ControlError(
    ErrorCode.LIMIT,
    `Cannot open ${events} events: this guest allows ${eventsMax}`,
    `name fewer, or raise max-events: ${CONFIG_HINT} --max-events`,
  );
}

/** Looks the events up. Probes are the caller's. Throws ControlError, TracefsError, ElfError. */
export function resolveOrder(
  { specs }: OpenOrder,
  limits: Limits,
  tracefs: Tracefs,
): ResolvedEvent[] {
  const isAllowed = eventPolicy(limits);
  for (const spec of specs) {
    const isWild = /[*?[]/.test(spec.system + spec.name);
    if (spec.probe === undefined && !isWild && !isAllowed(spec)) throw notAllowed(spec);
  }
  const events = resolveEvents(specs, tracefs, isAllowed);
  try {
    const found = new Set(events.map(({ specIndex }) => specIndex));
    const without = specs.find((_, index) => !found.has(index));
    if (without !== undefined) throw notAllowed(without);
    if (events.length > limits.eventsMax) throw tooMany(events.length, limits);
    const bytes = events.reduce((sum, { formatText }) => sum + formatText.length, 0);
    if (bytes > FORMAT_BYTES_MAX) throw tooMany(events.length, limits);
    return events;
  } catch (error) {
    closeProbes(events);
    throw error;
  }
}

function notAllowed({ system, name }: EventName): ControlError {
  return new ControlError(
    ErrorCode.PERMISSION,
    `Cannot open ${system}:${name}: this guest does not allow it`,
    `agent-host list --pull shows what it allows; ${CONFIG_HINT} --allow`,
  );
}
