/**
 * The answers to ListEvents and DescribeEvents: the guest's events by name, with their formats when
 * they are described, in as many frames as it takes. Made one frame at a time, when the host has
 * taken the one before.
 */
import type { EventName, Tracefs } from "../../shared/tracefs/tracefs.ts";
import { ErrorCode, type Event, EventKind } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { ControlError } from "./control_error.ts";

/** Of one frame: names, or the bytes of formats. */
const NAMES_PER_FRAME = 1024;
const FORMAT_BYTES_PER_FRAME = 128 * 1024;
const PATTERN_CHARS_MAX = 256;

const encoder = new TextEncoder();

function eventOf({ system, name }: EventName, commonType: number, format: Uint8Array): Event {
  return {
    index: 0,
    system,
    name,
    alias: "",
    commonType,
    format,
    filter: "",
    ids: [],
    sampleType: 0n,
    sampleIdAll: false,
    kind: EventKind.TRACEPOINT,
    definition: "",
    request: 0,
    kernelSymbols: false,
    refusedFilter: "",
  };
}

/** The events that `pattern` selects and the guest allows. Throws TracefsError, ControlError. */
function select(
  pattern: string,
  tracefs: Tracefs,
  isAllowed: (event: EventName) => boolean,
): EventName[] {
  if (pattern.length > PATTERN_CHARS_MAX) {
    const message = `Cannot list events: a pattern of over ${PATTERN_CHARS_MAX} characters`;
    throw new ControlError(ErrorCode.BAD_REQUEST, message, "'irq:*'");
  }
  return tracefs.find(pattern === "" ? "*:*" : pattern).filter(isAllowed);
}

/** Names in groups for one frame each; at least one group, which may be empty. */
export function* listEvents(
  pattern: string,
  tracefs: Tracefs,
  isAllowed: (event: EventName) => boolean,
): Generator<Event[], void> {
  const names = select(pattern, tracefs, isAllowed);
  const none = new Uint8Array(0);
  for (let at = 0; at === 0 || at < names.length; at += NAMES_PER_FRAME) {
    yield names.slice(at, at + NAMES_PER_FRAME).map((name) => eventOf(name, 0, none));
  }
}

/** The same with ids and formats. Reads them as it goes. */
export function* describeEvents(
  pattern: string,
  tracefs: Tracefs,
  isAllowed: (event: EventName) => boolean,
): Generator<Event[], void> {
  let group: Event[] = [];
  let bytes = 0;
  for (const event of select(pattern, tracefs, isAllowed)) {
    const format = encoder.encode(tracefs.formatText(event.system, event.name));
    if (bytes + format.length > FORMAT_BYTES_PER_FRAME && group.length > 0) {
      yield group;
      group = [];
      bytes = 0;
    }
    bytes += format.length;
    group.push(eventOf(event, tracefs.eventId(event.system, event.name), format));
  }
  yield group;
}
