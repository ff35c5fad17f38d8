/**
 * Formats of events, as a hostile guest may send them: any text is a FormatError, or a printer
 * whose output for any record is printable, bounded, and of that record's bytes alone.
 */
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { type EventFormat, FormatError, parseFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat, RENDER_BYTES_MAX } from "../../../shared/tracefs/print_format.ts";
import { SYMBOLS } from "../../shared/tracefs/support/print_fixture.ts";
import type { Outcome, Target } from "../campaign.ts";
import { textCorpus } from "../corpus.ts";
import { type Random, randomFrom } from "../random.ts";

const RECORD_BYTES_MAX = 300;
/** What lies around the record in memory; no byte of it may be printed. */
const AROUND = 0xee;
const LEAD_BYTES = 20;
const BEHIND_BYTES = 400;
const PRINTABLE = /^[\t\x20-\x7e]*$/;
const FOREIGN = /\\xee|ee[ ,:-]{0,2}ee|eeeeee/;

const latin1 = new TextDecoder("latin1");
const out = new ByteWriter(1 << 18);
const memory = new Uint8Array(LEAD_BYTES + RECORD_BYTES_MAX + BEHIND_BYTES);
const data = new DataView(memory.buffer);

/** A record of any length, any bytes. */
function putRecord(random: Random): number {
  const bytes = random(RECORD_BYTES_MAX + 1);
  memory.fill(AROUND);
  for (let i = 0; i < bytes; i++) {
    const byte = random(256);
    memory[LEAD_BYTES + i] = byte === AROUND ? 0 : byte;
  }
  return bytes;
}

function print(format: EventFormat, random: Random): void {
  const printer = compilePrintFormat(format, { symbols: SYMBOLS });
  const bytes = putRecord(random);
  out.clear();
  printer.render(out, data, memory, LEAD_BYTES, bytes);
  const text = out.toString();
  if (!PRINTABLE.test(text) || FOREIGN.test(text)) throw new Error(`printed ${text}`);
  if (text.length > RENDER_BYTES_MAX * 10) throw new Error(`printed ${text.length} bytes`);
}

function run(input: Uint8Array, seed: number): Outcome {
  try {
    print(parseFormat(latin1.decode(input), "fuzz"), randomFrom(seed));
    return "value";
  } catch (error) {
    if (!(error instanceof FormatError)) throw error;
    return "error";
  }
}

export const formats = (): Target => ({ name: "formats", corpus: textCorpus("formats.txt"), run });
