/**
 * Formats that a guest chose, damaged at random: its records print as one line of text each and one
 * object of JSON, or its format is refused. Nothing else is thrown, nothing unprintable comes out.
 */
import { expect, test } from "bun:test";
import * as fc from "fast-check";
import { Chunk } from "../../../agent-host/analyze/chunk.ts";
import { EventView } from "../../../agent-host/analyze/event_view.ts";
import { makePrinter } from "../../../agent-host/event_printer.ts";
import { EventJson } from "../../../agent-host/report/event_json.ts";
import { TimeScale } from "../../../agent-host/report/time_scale.ts";
import { TraceLines } from "../../../agent-host/report/trace_line.ts";
import { WallClock } from "../../../agent-host/report/wall_clock.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { FormatError, parseFormat } from "../../../shared/tracefs/format.ts";
import { perNight } from "../../nightly.ts";
import { FAKE_FORMAT, markerRecord } from "../support/guest_stream.ts";

const RUNS = perNight(1500, 150_000);
/** Behind the header and the time, and the u32 size of the raw data. */
const RAW_AT = 20;

/** Formats with what print formats can have. */
const FORMATS = [
  FAKE_FORMAT,
  FAKE_FORMAT.replace(
    '"value=%d text=%s", REC->value, REC->text',
    '"%s %pI4 %*pbl %llx", __print_flags(REC->value, "|", { 1, "A" }, { 2, "B" }), ' +
      "&REC->value, 16, REC->text, (u64)REC->value << 40",
  ),
  FAKE_FORMAT.replace("char text[16];", "__data_loc char[] text;").replace(
    '"value=%d text=%s", REC->value, REC->text',
    '"%s %s %d", __get_str(text), __print_hex(__get_dynamic_array(text), 4), ' +
      '__print_symbolic(REC->value, { 0, "zero" }) ? REC->value / REC->value : sizeof(int)',
  ),
];

const PIECES = [
  ...['"', "%s", "%", "REC->", "(", ")", "{", "}", ",", "\\", "\n", "\t", "\0", "\x1b[2J", ";"],
  ...["field:", "offset:", "size:", "__get_str(", "__print_array(", "->", "? 1 :", "<< 99", "/ 0"],
  ...["999999999999", "-1", "%*pbl", "%pI6", "%pM", "%lld", "sizeof(", "print fmt: "],
];

const edit = fc.record({
  at: fc.double({ min: 0, max: 1, noNaN: true }),
  remove: fc.nat(30),
  insert: fc.oneof(fc.constantFrom(...PIECES), fc.string({ maxLength: 4 }), fc.constant("")),
});

const memory = new WebAssembly.Memory({ initial: 16, maximum: 16 });

/** One record in a chunk, with raw data of any bytes. */
function viewOf(raw: Uint8Array): EventView {
  const chunk = new Chunk(memory, 0);
  chunk.begin(1, 3, 0);
  chunk.bytes.set(markerRecord(1000, 1));
  chunk.bytes.set(raw, RAW_AT);
  chunk.rawOffset[0] = chunk.bytesOffset + RAW_AT;
  chunk.rawBytes[0] = raw.length;
  chunk.event[0] = 0;
  chunk.timeCycles[0] = 1e9;
  chunk.count = 1;
  const view = new EventView();
  view.setRecord(chunk, 0);
  return view;
}

function render(formatText: string, raw: Uint8Array): { text: string; json: string } {
  const format = parseFormat(formatText, "fake");
  const event = { system: "fake", label: "marker", format };
  const options = {
    wall: new WallClock(1_700_000_000_000_000_000n, 0.4),
    clock: new TimeScale(0n, 0.4),
    events: [{ ...event, info: makePrinter(format, undefined) }],
    machines: ["host", "guest 1"].map((name, i) => ({
      name,
      isGuest: i === 1,
      names: { get: () => undefined },
    })),
    isTsc: false,
    nsPerCycle: 0.4,
  };
  const rendered = (write: (out: ByteWriter) => void): string => {
    let text = "";
    const out = new ByteWriter(64 * 1024, (bytes) => {
      text += Buffer.from(bytes).toString("latin1");
    });
    write(out);
    out.flush();
    return text;
  };
  const view = viewOf(raw);
  return {
    text: rendered((out) => new TraceLines(options).write(out, view)),
    json: rendered((out) => new EventJson(options).writeEvent(out, view)),
  };
}

test("records of damaged formats print as one clean line and one object, or are refused", () => {
  let refused = 0;
  fc.assert(
    fc.property(
      fc.constantFrom(...FORMATS),
      fc.array(edit, { maxLength: 4 }),
      fc.uint8Array({ minLength: 8, maxLength: 200 }),
      (format, edits, raw) => {
        let damaged = format;
        for (const { at, remove, insert } of edits) {
          const from = Math.floor(at * damaged.length);
          damaged = damaged.slice(0, from) + insert + damaged.slice(from + remove);
        }
        try {
          const { text, json } = render(damaged, raw);
          expect(text).toMatch(/^[ -~]*\n$/);
          expect(JSON.parse(json)).toMatchObject({ type: "event", machine: "guest 1" });
        } catch (error) {
          if (!(error instanceof FormatError)) throw error;
          refused++;
        }
      },
    ),
    { numRuns: RUNS },
  );
  expect(refused).toBeLessThan(RUNS);
});
