/**
 * What a hostile guest or a tired user gives: format files cut off anywhere, fields that overlap or
 * lie beyond the record, dynamic arrays that point outside, strings without an end, records shorter
 * than their format, a million characters. Each is a typed error, or the raw fields, or text that
 * stays within the record; counts are printed.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { EventSyntaxError, parseEventSpecs } from "../../../shared/event/spec.ts";
import { ExprError } from "../../../shared/expr/error.ts";
import { compileExpr, compileFilter } from "../../../shared/expr/expression.ts";
import { compileFilterProgram, compileKeyProgram } from "../../../shared/expr/program.ts";
import { ByteWriter } from "../../../shared/text/byte_writer.ts";
import { globMatch } from "../../../shared/text/glob.ts";
import { type EventFormat, FormatError, parseFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat, RENDER_BYTES_MAX } from "../../../shared/tracefs/print_format.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { contextFor } from "../expr/record_fixture.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";
import { FIELDS, formatText, SYMBOLS } from "./support/print_fixture.ts";

/** Formats with everything that a print format can hold, and some of the running kernel's. */
function sampleTexts(): string[] {
  const all =
    '"%s|%s|%pI6c|%pISpc|%*pbl|%s|%d", REC->comm, __get_str(name), REC->ip6, REC->sa, 64, ' +
    "__get_dynamic_array(mask), __print_array(__get_dynamic_array(list), 9, 2), REC->args[1]";
  const texts = [formatText(FIELDS, all)];
  try {
    const tracefs = Tracefs.open();
    const events = tracefs.find("*:*").filter((_, index) => index % 23 === 0);
    for (const { system, name } of events) {
      if (tracefs.has(system, name)) texts.push(tracefs.formatText(system, name));
    }
  } catch (error) {
    if (!(error instanceof TracefsError)) throw error;
  }
  return texts;
}

type Fault =
  | { readonly kind: "cut"; readonly at: number }
  | {
      readonly kind: "move";
      readonly field: number;
      readonly offset: number;
      readonly size: number;
    };

/** Of __data_loc list: its four bytes were read from a record that had none. */
const NO_BYTES: Fault = { kind: "move", field: 14, offset: 0, size: 0 };

/** Mostly such as a parser lets through: those are for the printers. */
const fault: fc.Arbitrary<Fault> = fc.oneof(
  { weight: 1, arbitrary: cutAfter(0) },
  { weight: 2, arbitrary: cutAfter(0.8) },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("move" as const),
      field: fc.nat(30),
      offset: fc.oneof(
        { weight: 9, arbitrary: fc.nat(130) },
        { weight: 1, arbitrary: fc.constantFrom(65530, 65536, 4294967295) },
      ),
      size: fc.oneof(
        { weight: 9, arbitrary: fc.constantFrom(0, 1, 2, 3, 4, 8, 16) },
        { weight: 1, arbitrary: fc.constantFrom(65535, 65536, 1e12) },
      ),
    }),
  },
);

function cutAfter(min: number): fc.Arbitrary<Fault> {
  return fc.record({
    kind: fc.constant("cut" as const),
    at: fc.double({ min, max: 1, noNaN: true }),
  });
}

/** A field that is put elsewhere overlaps others, or ends beyond any record. */
function applyFault(text: string, change: Fault): string {
  if (change.kind === "cut") return text.slice(0, Math.floor(change.at * text.length));
  const fields = [...text.matchAll(/offset:\d+;\tsize:\d+;/g)];
  const found = fields[change.field % Math.max(1, fields.length)];
  if (found === undefined) return text;
  const moved = `offset:${change.offset};\tsize:${change.size};`;
  return text.slice(0, found.index) + moved + text.slice(found.index + found[0].length);
}

describe("bad input", () => {
  test(
    "faulty formats and short records are a FormatError, fields, or text within the record",
    () => {
      const texts = sampleTexts();
      const counts = { refused: 0, text: 0, fields: 0, short: 0, expressions: 0 };
      const inputs = fc.tuple(
        fc.nat(texts.length - 1),
        fc.array(fault, { maxLength: 3 }),
        fc.oneof(
          { weight: 1, arbitrary: fc.uint8Array({ maxLength: 120, size: "max" }) },
          { weight: 3, arbitrary: fc.uint8Array({ minLength: 200, maxLength: 300 }) },
        ),
        fc.nat(40),
      );
      fc.assert(
        fc.property(inputs, ([which, faults, record, field]) => {
          const text = faults.reduce(applyFault, texts[which]!);
          const format = parse(text);
          if (format === undefined) {
            counts.refused++;
            return;
          }
          const printed = renderWithin(format, record);
          if (printed.startsWith("[SHORT RECORD]")) counts.short++;
          else if (printed.startsWith("[FAILED TO PARSE]")) counts.fields++;
          else counts.text++;
          counts.expressions += runExpressions(format, record, field);
        }),
        { numRuns: FUZZ_RUNS, examples: [[[0, [NO_BYTES], new Uint8Array(0), 14]]] },
      );
      console.log(
        `bad input: ${FUZZ_RUNS} formats with records: ${counts.refused} refused, ${counts.text} ` +
          `printed as text, ${counts.fields} as fields, ${counts.short} too short; ` +
          `${counts.expressions} expressions on them`,
      );
      expect(Math.min(counts.refused, counts.text, counts.fields, counts.short)).toBeGreaterThan(0);
    },
    FUZZ_TIMEOUT_MS,
  );

  const million = 1_000_000;
  for (const [what, text] of [
    ["one name", "a".repeat(million)],
    ["parentheses", "(".repeat(million)],
    ["a sum", `1${"+1".repeat(million / 2)}`],
    ["a string", `comm == "${"x".repeat(million)}"`],
    ["conditions", `1${"||a8==1".repeat(million / 7)}`],
  ] as const) {
    test(`a filter of a million characters, ${what}, is an ExprError`, () => {
      const format = parseFormat(formatText(FIELDS, '"x"'));
      for (const compile of [compileFilter, compileFilterProgram, compileKeyProgram]) {
        expect(() => compile(text, format)).toThrow(ExprError);
      }
      expect(() => parseEventSpecs(`sched:x/${text}/${text}`)).toThrow(EventSyntaxError);
    });
  }

  test("a format or a pattern of a million characters is a typed error", () => {
    const long = formatText(FIELDS, `"${"%d".repeat(million / 2)}"`);
    expect(() => parseFormat(long)).toThrow(FormatError);
    expect(() => globMatch("*a".repeat(million / 2), "a")).toThrow(RangeError);
  });

  test("the longest format and expression that are taken end soon, whatever they nest", () => {
    for (const [open, close] of [
      ["(", ")"],
      ["__print_symbolic(REC->i, ", ', { 1, "a" })'],
      ['REC->i ? "a" : (', ")"],
      ["({ int x = ", "; x; })"],
    ] as const) {
      const depth = Math.floor(60_000 / (open.length + close.length));
      const print = `"%s", ${open.repeat(depth)}1${close.repeat(depth)}`;
      const format = parseFormat(formatText(FIELDS, print));
      expect(compilePrintFormat(format).isFallback).toBe(true);
    }
  });
});

function parse(text: string): EventFormat | undefined {
  try {
    return parseFormat(text, "fuzz");
  } catch (error) {
    expect(error).toBeInstanceOf(FormatError);
    return undefined;
  }
}

/** What lies around the record in memory; no honest byte of it may be printed. */
const AROUND = 0xee;
const LEAD = 20;
const OUT = new ByteWriter(1 << 18);

function renderWithin(format: EventFormat, bytes: Uint8Array): string {
  const record = bytes.map((byte) => (byte === AROUND ? 0 : byte));
  const memory = new Uint8Array(LEAD + record.length + 400).fill(AROUND);
  memory.set(record, LEAD);
  const printer = compilePrintFormat(format, { symbols: SYMBOLS });
  OUT.clear();
  printer.render(OUT, new DataView(memory.buffer), memory, LEAD, record.length);
  const text = OUT.toString();
  expect(text).toMatch(/^[\t\x20-\x7e]*$/);
  expect(text).not.toMatch(/\\xee|ee[ ,:-]{0,2}ee|eeeeee/);
  expect(text.length).toBeLessThan(RENDER_BYTES_MAX * 10);
  return text;
}

/** Keys and filters on one of the fields, whatever it is; the number of those that compiled. */
function runExpressions(format: EventFormat, record: Uint8Array, index: number): number {
  const fields = [...format.fieldByName.keys()];
  const name = fields[index % Math.max(1, fields.length)];
  if (name === undefined) return 0;
  const context = contextFor(record);
  let compiled = 0;
  for (const source of [`${name} + 1`, `${name}[3]`, `${name} ~ "*e*" || ${name} == "x"`]) {
    try {
      compileKeyProgram(source, format);
      compileExpr(source, format).evaluate(context);
      compiled++;
    } catch (error) {
      expect(error).toBeInstanceOf(ExprError);
    }
  }
  return compiled;
}
