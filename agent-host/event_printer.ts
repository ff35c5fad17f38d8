/** An event's print format as what trace lines print behind the event's name. */
import type { ByteWriter } from "../shared/text/byte_writer.ts";
import type { EventFormat } from "../shared/tracefs/format.ts";
import type { InfoPrinter } from "./report/trace_line.ts";

export function printerOf(format: EventFormat): InfoPrinter {
  return {
    print(out: ByteWriter, _bytes: Uint8Array, _rawOffset: number, rawBytes: number): void {
      out.ascii(`${format.name} ${rawBytes}`);
    },
  };
}
