/**
 * Print formats and records that lie: the output stays printable, bounded and within the record,
 * whatever either of them says.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { type EventFormat, FormatError, parseFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat, RENDER_BYTES_MAX } from "../../../shared/tracefs/print_format.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";
import {
  encode,
  FIELDS,
  makeFormat,
  makeRecord,
  render,
  SYMBOLS,
} from "./support/print_fixture.ts";

describe("hostile print formats and records", () => {
  test("text from the record never reaches the output raw", () => {
    const format = makeFormat(FIELDS, '"%s %s %c", REC->comm, __get_str(name), REC->c');
    const record = makeRecord();
    record.set(encode("\x1b[2J\n\x07"), 32);
    record.set(encode("\r\u009b"), 152);
    expect(render(format, record)).toMatch(/^[\x20-\x7e]*$/);
  });

  test("dynamic fields that point anywhere are cut at the record's end", () => {
    const print =
      '"%s|%s|%s|%s|%s|%s", __get_str(name), __print_hex(__get_dynamic_array(list), __get_dynamic_array_len(list)), __get_bitmask(mask), __get_rel_str(tail), __print_array(__get_dynamic_array(list), 1000000000, 2), __get_cpumask(mask)';
    const format = makeFormat(FIELDS, print);
    expect(compilePrintFormat(format).isFallback).toBe(false);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 220 }),
        fc.array(fc.nat(0xffffffff), { minLength: 4, maxLength: 4 }),
        (bytes, locations) => {
          if (bytes.length >= 112) {
            const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
            locations.forEach((word, i) => {
              view.setUint32(96 + 4 * i, word, true);
            });
          }
          // What lies around the record is 0xee, which must never show.
          for (let i = 0; i < bytes.length; i++) if (bytes[i] === 0xee) bytes[i] = 0;
          const text = render(format, bytes);
          expect(text).toMatch(/^[\x20-\x7e]*$/);
          expect(text).not.toContain("ee ee");
          expect(text).not.toContain("\\xee");
        },
      ),
      { numRuns: 1000 },
    );
  });

  test(
    "any format text is a renderer whose output is printable and bounded",
    () => {
      const piece = fc.constantFrom(
        ..."%d %s %c %p %pS %pI4 %pISpc %*pbl %.*s %5000d %llx %-08.3x %% %n %".split(" "),
        ...[
          '"',
          '", ',
          ", ",
          "(",
          ")",
          "REC->",
          "i",
          "comm",
          "name",
          "list",
          "mask",
          "sa",
          "args[1]",
        ],
        ...[
          "__get_str(name)",
          '__print_flags(REC->i, "|", { 1, "a" })',
          "__print_hex(REC->comm, 9)",
        ],
        ...[
          "__print_array(",
          "__get_dynamic_array(list)",
          "({ int x = ",
          "; })",
          "?",
          ":",
          "1 << 99",
          "/ 0",
        ],
        ...["\\n", "\x1b", "é", "{", "}", "sizeof(", "(u8)", "*", "&", "- 1"],
      );
      const text = fc
        .array(piece, { maxLength: 30 })
        .map((parts) => `"${parts.join("")}`.replace(/\n/g, " "));
      const record = makeRecord();
      fc.assert(
        fc.property(text, fc.nat(200), fc.uint8Array({ maxLength: 40 }), (print, size, noise) => {
          const bytes = record.slice(0, size);
          bytes.set(
            noise.subarray(0, Math.min(noise.length, Math.max(0, size - 100))),
            96 % (size + 1),
          );
          const output = render(makeFormat(FIELDS, print), bytes, { symbols: SYMBOLS });
          expect(output).toMatch(/^[\t\x20-\x7e]*$/);
          expect(output.length).toBeLessThan(RENDER_BYTES_MAX * 10);
        }),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test(
    "mutations of the running kernel's formats are a FormatError or render",
    () => {
      const texts = kernelFormats();
      if (texts.length === 0) return;
      const mutation = fc.record({
        at: fc.double({ min: 0, max: 1, noNaN: true }),
        remove: fc.nat(30),
        insert: fc.oneof(
          fc.string({ maxLength: 8, unit: "binary" }),
          fc.constantFrom("(", "%s", "{", "99999", "REC->"),
        ),
      });
      fc.assert(
        fc.property(
          fc.nat(texts.length - 1),
          fc.array(mutation, { maxLength: 3 }),
          fc.uint8Array({ maxLength: 256 }),
          (which, mutations, record) => {
            let text = texts[which]!;
            for (const { at, remove, insert } of mutations) {
              const from = Math.floor(at * text.length);
              text = text.slice(0, from) + insert + text.slice(from + remove);
            }
            let format: EventFormat;
            try {
              format = parseFormat(text, "fuzz");
            } catch (error) {
              expect(error).toBeInstanceOf(FormatError);
              return;
            }
            expect(render(format, record, { symbols: SYMBOLS })).toMatch(/^[\t\x20-\x7e]*$/);
          },
        ),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );

  test("the output of one record is cut", () => {
    const print = `"${"%s".repeat(1000)}"${", __get_str(name)".repeat(1000)}`;
    const format = makeFormat(["__data_loc char[] name@8:4"], print);
    const record = new Uint8Array(60000).fill(0x41);
    new DataView(record.buffer).setUint32(8, 12 | (59000 << 16), true);
    const output = render(format, record);
    expect(output.length).toBeLessThan(59000 + RENDER_BYTES_MAX);
    expect(output.endsWith("...")).toBe(true);
  });

  test("scanning many long strings stops early", () => {
    const print = `"${"%.0s".repeat(2000)}"${", __get_str(name)".repeat(2000)}`;
    const format = makeFormat(["__data_loc char[] name@8:4"], print);
    const record = new Uint8Array(60000).fill(0x41);
    new DataView(record.buffer).setUint32(8, 12 | (59000 << 16), true);
    expect(render(format, record)).toBe("...");
  });
});

/** Every tenth format of the running kernel; without tracefs none, and the reason is printed. */
function kernelFormats(): string[] {
  try {
    const tracefs = Tracefs.open();
    const events = tracefs.find("*:*").filter((_, i) => i % 10 === 0);
    return events
      .filter(({ system, name }) => tracefs.has(system, name))
      .map(({ system, name }) => tracefs.formatText(system, name));
  } catch (error) {
    if (!(error instanceof TracefsError)) throw error;
    console.log(`skipped: ${error.message}`);
    return [];
  }
}
