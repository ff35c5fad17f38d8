/** An event's print format as what trace lines print behind the event's name. */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import type { EventFormat } from "../shared/tracefs/format.ts";
import type { StringResolver } from "../shared/tracefs/kernel_strings.ts";
import { compilePrintFormat, type PrintRenderer } from "../shared/tracefs/print_format.ts";
import type { SymbolResolver } from "../shared/tracefs/symbols.ts";
import type { InfoPrinter } from "./report/trace_line.ts";

class EventPrinter implements InfoPrinter {
  readonly #renderer: PrintRenderer;
  /** Records come out of very few memories: the last one's view is nearly always the right one. */
  #bytes: Uint8Array | undefined;
  #view: DataView = new DataView(new ArrayBuffer(0));

  constructor(renderer: PrintRenderer) {
    this.#renderer = renderer;
  }

  print(out: ByteWriter, bytes: Uint8Array, rawOffset: number, rawBytes: number): void {
    if (bytes !== this.#bytes) {
      this.#bytes = bytes;
      this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    this.#renderer.render(out, this.#view, bytes, rawOffset, rawBytes);
  }
}

/**
 * A printer of records in this format; `symbols` and `strings` are those of the kernel that it came
 * from.
 */
export function makePrinter(
  format: EventFormat,
  symbols: SymbolResolver | undefined,
  strings?: StringResolver,
): InfoPrinter {
  return new EventPrinter(compilePrintFormat(format, { symbols, strings }));
}
