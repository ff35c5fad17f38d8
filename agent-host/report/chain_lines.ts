// Call chains under their event's line, innermost frame first, as perf script prints them:
//
//       ffffffff821f8b58 __schedule+0x618 ([kernel.kallsyms])
//       ffffffffc0211a5c vring_interrupt+0x3c ([virtio_ring])
//           7f33ff10e137 write+0x17 (/usr/lib/x86_64-linux-gnu/libc.so.6)
//           55e0f2a01234 [unknown] (/usr/bin/perf)
//
// Addresses are those of the process, not offsets in its files. Names may be a guest's own: they
// are escaped. In JSON each frame is an object:
//
//   {"ip":"ffffffff821f8b58","symbol":"__schedule","offset":1560,"module":"[kernel.kallsyms]"}

import type { ByteWriter } from "../../shared/text/byte_writer.ts";
import type { SymbolHit } from "../../shared/tracefs/symbols.ts";
import { type FrameSpace, type FrameVisitor, visitFrames } from "../analyze/call_chain.ts";
import type { EventView } from "../analyze/event_view.ts";
import { jsonString } from "./json_value.ts";

/** Names for one machine's addresses. Results are only good until the next call. */
export interface ChainSymbols {
  kernel(lo: number, hi: number): SymbolHit | undefined;
  /** `module` is the file, and the name is "" when only that is known. */
  user(pid: number, lo: number, hi: number, cycles: number): SymbolHit | undefined;
}

const ADDRESS_WIDTH = 16;
const SPACE = 0x20;
/** What perf calls the kernel itself. */
const KERNEL = "[kernel.kallsyms]";
const UNKNOWN = "[unknown]";

/** Names nothing. */
export const NO_SYMBOLS: ChainSymbols = { kernel: () => undefined, user: () => undefined };

/** Writes the chains of events. One visitor serves all of them: nothing is made per event. */
export class ChainWriter {
  #out!: ByteWriter;
  #view!: EventView;
  #symbols = NO_SYMBOLS;
  #separator = "";

  /** The frames of an event, a line each. */
  writeLines(out: ByteWriter, view: EventView, symbols: ChainSymbols = NO_SYMBOLS): void {
    this.#begin(out, view, symbols);
    const left = visitFrames(view, this.#writeLine);
    if (left > 0) out.ascii(`    ... ${left} more frames\n`);
  }

  /** The frames of an event as a JSON array. */
  writeJson(out: ByteWriter, view: EventView, symbols: ChainSymbols = NO_SYMBOLS): void {
    this.#begin(out, view, symbols);
    out.ascii("[");
    visitFrames(view, this.#writeObject);
    out.ascii("]");
  }

  #begin(out: ByteWriter, view: EventView, symbols: ChainSymbols): void {
    this.#out = out;
    this.#view = view;
    this.#symbols = symbols;
    this.#separator = "";
  }

  #hitOf(lo: number, hi: number, space: FrameSpace): SymbolHit | undefined {
    const { pid, timeCycles } = this.#view;
    if (space === "kernel") return this.#symbols.kernel(lo, hi);
    return space === "user" ? this.#symbols.user(pid, lo, hi, timeCycles) : undefined;
  }

  readonly #writeLine: FrameVisitor = (lo, hi, space) => {
    const out = this.#out;
    const hit = this.#hitOf(lo, hi, space);
    out.ascii("    ");
    out.hexPadded(lo, hi, ADDRESS_WIDTH, SPACE);
    out.u8(SPACE);
    if (hit === undefined || hit.name === "") out.ascii(UNKNOWN);
    else {
      out.untrustedText(hit.name);
      out.ascii("+0x");
      out.hex64(hit.offset >>> 0, Math.floor(hit.offset / 4294967296));
    }
    out.ascii(" (");
    out.untrustedText(moduleOf(hit, space));
    out.ascii(")\n");
  };

  readonly #writeObject: FrameVisitor = (lo, hi, space) => {
    const out = this.#out;
    const hit = this.#hitOf(lo, hi, space);
    const isNamed = hit !== undefined && hit.name !== "";
    out.ascii(`${this.#separator}{"ip":"`);
    out.hex64(lo, hi);
    out.ascii(`","symbol":${isNamed ? jsonString(hit.name) : "null"}`);
    if (isNamed) out.ascii(`,"offset":${hit.offset}`);
    out.ascii(`,"module":${jsonString(moduleOf(hit, space))}}`);
    this.#separator = ",";
  };
}

function moduleOf(hit: SymbolHit | undefined, space: FrameSpace): string {
  const { module = "" } = hit ?? {};
  if (space !== "kernel") return module === "" ? UNKNOWN : module;
  return module === "" ? KERNEL : `[${module}]`;
}
