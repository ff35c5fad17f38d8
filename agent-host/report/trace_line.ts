// TraceLines: one event per line, as perf-prof prints them, and its call chain under it.
//
//   date of the event          G   comm (16)     pid (6) flags CPU clock          event   print fmt
//   2023-04-12 13:47:26.370747 G           <idle>      0 d.h. [077] 186430.038050: irq:...: irq=38
//   2023-04-12 15:38:45.754019       worker3_1.95  26027 d... [095] 203124.373091: kvm:...: dst 65
//
// G marks an event that came from a guest. The clock column shows seconds of the host's clock, or
// guest TSC cycles / 1e9 with --tsc. What a guest chose (comm, fields) is escaped.

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { EventView } from "../analyze/event_view.ts";
import { type ChainSymbols, ChainWriter } from "./chain_lines.ts";
import { writeLatencyFlags } from "./latency_flags.ts";
import type { TimeScale } from "./time_scale.ts";
import { DATE_BYTES, type WallClock, writeMicros } from "./wall_clock.ts";

/** Room that a line needs in one piece before its info: names are at most 16 escaped bytes. */
export const LINE_HEAD_BYTES_MAX = 512;
/** Width of what stands in the date's place in front of detail lines. */
const TITLE_WIDTH = DATE_BYTES + 1;

const COMM_WIDTH = 16;
const PID_WIDTH = 6;
const SPACE = 0x20;
const COLON = 0x3a;
const NEWLINE = 0x0a;
const GUEST_MARK = 0x47;
const IDLE = asciiBytes("<idle>");
const UNKNOWN = asciiBytes("<...>");

/** Writes what an event's print format says. */
export interface InfoPrinter {
  /** The record is `rawBytes` bytes of `bytes` from `rawOffset`. Must escape what a guest chose. */
  print(out: ByteWriter, bytes: Uint8Array, rawOffset: number, rawBytes: number): void;
}

/** What lines show of one event of the session's event table. */
export interface LineEvent {
  readonly system: string;
  /** Name, or alias. */
  readonly label: string;
  readonly info: InfoPrinter;
}

/** What lines show of one machine. */
export interface LineMachine {
  readonly isGuest: boolean;
  /** The comm that a thread had at a time, without NUL; untrusted bytes. */
  readonly names: { get(tid: number, cycles: number): Uint8Array | undefined };
  /** For call chains; without it their addresses stand alone. */
  readonly symbols?: ChainSymbols | undefined;
}

/** What all lines of a session share. The lists may grow. */
export interface TraceLineOptions {
  readonly wall: WallClock;
  readonly clock: TimeScale;
  readonly events: readonly LineEvent[];
  readonly machines: readonly LineMachine[];
}

/** Writes event lines. */
export class TraceLines {
  readonly #options: TraceLineOptions;
  /** "irq:irq_handler_entry: " by event. */
  readonly #heads: Uint8Array[] = [];
  readonly #chains = new ChainWriter();

  constructor(options: TraceLineOptions) {
    this.#options = options;
  }

  /** A line that begins with the event's date. */
  write(out: ByteWriter, view: EventView): void {
    out.reserve(LINE_HEAD_BYTES_MAX);
    this.#options.wall.write(out, view.timeCycles);
    out.bytes[out.length++] = SPACE;
    this.#afterDate(out, view);
  }

  /** A line with a title of our own in the date's place, for the details of a slow pair. */
  writeTitled(out: ByteWriter, view: EventView, title: string): void {
    out.reserve(LINE_HEAD_BYTES_MAX);
    // Rather out of line than with digits cut off.
    out.asciiPadEnd(`${title} `, TITLE_WIDTH);
    this.#afterDate(out, view);
  }

  #afterDate(out: ByteWriter, view: EventView): void {
    const { machines, clock, events } = this.#options;
    const machine = machines[view.machine];
    const { bytes, rawOffset, rawBytes } = view;
    const tid = view.tid;
    out.bytes[out.length++] = machine?.isGuest === true ? GUEST_MARK : SPACE;
    out.bytes[out.length++] = SPACE;
    writeComm(out, tid === -1 ? undefined : machine?.names.get(tid, view.timeCycles), tid);
    out.bytes[out.length++] = SPACE;
    writePadded(out, tid, PID_WIDTH, SPACE);
    out.bytes[out.length++] = SPACE;
    const isKnown = rawBytes > 0;
    writeLatencyFlags(
      out,
      isKnown ? bytes[rawOffset + 2]! : 0,
      isKnown ? bytes[rawOffset + 3]! : 0,
    );
    out.bytes[out.length++] = SPACE;
    out.bytes[out.length++] = 0x5b;
    writePadded(out, view.cpu, 3, 0x30);
    out.bytes[out.length++] = 0x5d;
    out.bytes[out.length++] = SPACE;
    clock.set(view.timeCycles, true);
    out.dec(clock.seconds);
    out.bytes[out.length++] = 0x2e;
    writeMicros(out.bytes, out.length, clock.micros);
    out.length += 6;
    out.bytes[out.length++] = COLON;
    out.bytes[out.length++] = SPACE;
    out.raw(this.#heads[view.event] ?? this.#makeHead(view.event));
    if (isKnown) events[view.event]?.info.print(out, bytes, rawOffset, rawBytes);
    else out.ascii("(the record was not kept: too many events wait for their partner)");
    out.u8(NEWLINE);
    if (view.chainOffset !== 0) this.#chains.writeLines(out, view, machine?.symbols);
  }

  #makeHead(event: number): Uint8Array {
    const { system, label } = this.#options.events[event] ?? { system: "?", label: String(event) };
    const head = asciiBytes(`${system}:${label}: `);
    this.#heads[event] = head;
    return head;
  }
}

/** Text with what is not printable ASCII replaced: names were checked, this is the last defence. */
function asciiBytes(text: string): Uint8Array {
  return Uint8Array.from(text.slice(0, 256), (c) => {
    const code = c.charCodeAt(0);
    return code >= SPACE && code < 0x7f ? code : 0x3f;
  });
}

/** The name, right-aligned. */
function writeComm(out: ByteWriter, name: Uint8Array | undefined, tid: number): void {
  const comm = name ?? (tid === 0 ? IDLE : UNKNOWN);
  const { bytes } = out;
  const length = Math.min(comm.length, COMM_WIDTH);
  const start = out.length;
  let at = start;
  for (let pad = COMM_WIDTH - length; pad > 0; pad--) bytes[at++] = SPACE;
  for (let i = 0; i < length; i++) {
    const byte = comm[i]!;
    if (byte < SPACE || byte >= 0x7f) {
      // Rare: escapes make it longer, so it is written and padded the slow way.
      out.length = start;
      const mark = out.mark();
      out.untrusted(comm, 0, length);
      out.padFrom(mark, COMM_WIDTH, false);
      return;
    }
    bytes[at++] = byte;
  }
  out.length = at;
}

/** A number padded on the left; room is reserved. */
function writePadded(out: ByteWriter, value: number, width: number, fill: number): void {
  if (value < 0) {
    out.decPadded(value, width, fill);
    return;
  }
  let limit = 10;
  let digits = 1;
  while (digits < width && value >= limit) {
    limit *= 10;
    digits++;
  }
  for (let pad = width - digits; pad > 0; pad--) out.bytes[out.length++] = fill;
  out.dec(value);
}
