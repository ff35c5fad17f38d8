// Events and slow pairs as JSON lines (--json), the same values as the text lines show:
//
//   {"type":"event","machine":"guest 1","guest":true,"wall_ns":"1681278446370747123",
//    "clock_ns":"186430038050123","bound_ns":212.4,"cpu":77,"tid":0,"comm":"<idle>","flags":"d.h.",
//    "event":"irq:irq_handler_entry","fields":{"irq":38,"name":"virtio0-input.3"},
//    "text":"irq=38 name=virtio0-input.3"}
//
// With --tsc clock_tsc stands in the place of clock_ns: guest TSC cycles. bound_ns says how far off
// the event's time may be on the host's time line.
// An event with a call chain has "stack" as well, see chain_lines.ts.

import { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { EventFormat } from "../../shared/tracefs/format.ts";
import type { EventView } from "../analyze/event_view.ts";
import type { SlowPair } from "../analyze/slow_pairs.ts";
import { ChainWriter } from "./chain_lines.ts";
import { writeJsonFields } from "./json_fields.ts";
import { jsonNumber, jsonString, writeJsonBytes } from "./json_value.ts";
import { writeLatencyFlags } from "./latency_flags.ts";
import type { LineEvent, LineMachine, TraceLineOptions } from "./trace_line.ts";

/** Bytes of an event's text that are written. */
export const EVENT_TEXT_BYTES_MAX = 64 * 1024;

/** LineEvent with the format of its machine. */
export interface JsonEvent extends LineEvent {
  readonly format: EventFormat;
}

/** LineMachine with a name: "host", "guest 1". */
export interface JsonMachine extends LineMachine {
  readonly name: string;
}

/** What all lines of a session share. The lists may grow. */
export interface EventJsonOptions extends TraceLineOptions {
  readonly events: readonly JsonEvent[];
  readonly machines: readonly JsonMachine[];
  /** The clock shows guest TSC cycles, not ns. */
  readonly isTsc: boolean;
  readonly nsPerCycle: number;
}

/** Writes events as JSON. */
export class EventJson {
  readonly #options: EventJsonOptions;
  /** The event's text before it is escaped; what does not fit is cut off. */
  readonly #text: ByteWriter;
  #cut: Uint8Array | undefined;
  readonly #chains = new ChainWriter();

  constructor(options: EventJsonOptions) {
    this.#options = options;
    this.#text = new ByteWriter(EVENT_TEXT_BYTES_MAX, (bytes) => {
      // Only the first buffer is kept: nobody reads more than 64 KiB of one event.
      this.#cut ??= bytes.slice();
    });
  }

  /** One line. */
  writeEvent(out: ByteWriter, view: EventView): void {
    out.ascii('{"type":"event",');
    this.#writeMembers(out, view);
    out.ascii("}\n");
  }

  /** One line with both events, and those in between when --detail is given. */
  writeSlowPair(out: ByteWriter, pair: SlowPair): void {
    const { nsPerCycle } = this.#options;
    out.ascii(`{"type":"slow_pair","latency_ns":${jsonNumber(pair.latencyCycles * nsPerCycle, 3)}`);
    out.ascii(`,"bound_ns":${jsonNumber(pair.boundCycles * nsPerCycle, 3)}`);
    out.ascii(`,"spans_loss":${pair.spansLoss},"start":{`);
    this.#writeMembers(out, pair.start);
    out.ascii('},"end":{');
    this.#writeMembers(out, pair.end);
    out.ascii("}");
    if (pair.visitDetails !== undefined) {
      let separator = "";
      out.ascii(',"details":[');
      const gone = pair.visitDetails((view, place) => {
        out.ascii(`${separator}{"place":"${place}",`);
        this.#writeMembers(out, view);
        out.ascii("}");
        separator = ",";
      });
      out.ascii(`],"details_gone":${gone}`);
    }
    out.ascii("}\n");
  }

  #writeMembers(out: ByteWriter, view: EventView): void {
    const { machines, events, wall, clock, isTsc, nsPerCycle } = this.#options;
    const machine = machines[view.machine];
    const event = events[view.event];
    const tid = view.tid;
    out.ascii(`"machine":${jsonString(machine?.name ?? String(view.machine))}`);
    out.ascii(`,"guest":${machine?.isGuest === true}`);
    out.ascii(`,"wall_ns":"${wall.scale.exact(view.timeCycles)}"`);
    out.ascii(`,"${isTsc ? "clock_tsc" : "clock_ns"}":"${clock.exact(view.timeCycles)}"`);
    out.ascii(`,"bound_ns":${jsonNumber(view.boundCycles * nsPerCycle, 3)}`);
    out.ascii(`,"cpu":${view.cpu},"tid":${tid}`);
    if (view.pid >= 0) out.ascii(`,"pid":${view.pid}`);
    out.ascii(',"comm":');
    const comm = machine?.names.get(tid, view.timeCycles);
    if (comm !== undefined) writeJsonBytes(out, comm, 0, Math.min(comm.length, 16));
    else out.ascii(tid === 0 ? '"<idle>"' : "null");
    out.ascii(',"event":');
    out.ascii(jsonString(event === undefined ? "?" : `${event.system}:${event.label}`));
    if (view.rawBytes === 0 || event === undefined) return;
    out.ascii(',"flags":"');
    out.reserve(8);
    writeLatencyFlags(out, view.bytes[view.rawOffset + 2]!, view.bytes[view.rawOffset + 3]!);
    out.ascii('","fields":');
    writeJsonFields(out, event.format, view.bytes, view.rawOffset, view.rawBytes);
    out.ascii(',"text":');
    this.#writeText(out, event, view);
    if (view.chainOffset === 0) return;
    out.ascii(',"stack":');
    this.#chains.writeJson(out, view, machine?.symbols);
  }

  #writeText(out: ByteWriter, event: JsonEvent, view: EventView): void {
    const text = this.#text;
    text.clear();
    this.#cut = undefined;
    event.info.print(text, view.bytes, view.rawOffset, view.rawBytes);
    const bytes = this.#cut ?? text.bytes;
    writeJsonBytes(out, bytes, 0, this.#cut === undefined ? text.length : bytes.length);
  }
}
