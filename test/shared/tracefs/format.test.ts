/** tracefs format files: hand-written ones of every kind of field, faulty and random texts. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  FORMAT_BYTES_MAX,
  FORMAT_FIELDS_MAX,
  FormatError,
  parseFormat,
  RECORD_BYTES_MAX,
} from "../../../shared/tracefs/format.ts";
import { FUZZ_RUNS, FUZZ_TIMEOUT_MS } from "../text/fuzz_runs.ts";

const COMMON = `	field:unsigned short common_type;	offset:0;	size:2;	signed:0;
	field:unsigned char common_flags;	offset:2;	size:1;	signed:0;
	field:unsigned char common_preempt_count;	offset:3;	size:1;	signed:0;
	field:int common_pid;	offset:4;	size:4;	signed:1;
`;

function formatText(fields: string, print = '"x"'): string {
  return `name: demo\nID: 225\nformat:\n${COMMON}\n${fields}\nprint fmt: ${print}\n`;
}

function field(declaration: string, offset = 8, size = 4, signed = 0): string {
  return `\tfield:${declaration};\toffset:${offset};\tsize:${size};\tsigned:${signed};\n`;
}

function firstField(declaration: string, size = 4, signed = 0) {
  return parseFormat(formatText(field(declaration, 8, size, signed))).fields[0]!;
}

describe("parseFormat()", () => {
  test("reads names, the id, common and own fields, and the print format", () => {
    const format = parseFormat(
      formatText(
        field("int irq", 8, 4, 1) + field("__data_loc char[] name", 12, 4, 0),
        '"irq=%d name=%s", REC->irq, __get_str(name)',
      ),
      "irq",
    );
    expect(format).toMatchObject({ system: "irq", name: "demo", id: 225, fixedBytes: 16 });
    expect(format.commonFields.map((f) => f.name)).toEqual([
      "common_type",
      "common_flags",
      "common_preempt_count",
      "common_pid",
    ]);
    expect(format.fields[0]).toMatchObject({
      name: "irq",
      type: "int",
      offsetBytes: 8,
      sizeBytes: 4,
      isSigned: true,
      isArray: false,
      isCommon: false,
    });
    expect(format.fields[1]).toMatchObject({
      type: "__data_loc char[]",
      isDynamic: true,
      isRelative: false,
      isString: true,
      elementBytes: 1,
    });
    expect(format.printFormat).toBe('"irq=%d name=%s", REC->irq, __get_str(name)');
    expect(format.fieldByName.get("common_pid")?.isCommon).toBe(true);
  });

  test("reads declarations of every kind", () => {
    expect(firstField("unsigned long args[6]", 48)).toMatchObject({
      name: "args",
      type: "unsigned long[6]",
      isArray: true,
      arrayLength: 6,
      elementBytes: 8,
      isString: false,
      isLong: true,
    });
    expect(firstField("char comm[16]", 16)).toMatchObject({ isString: true, arrayLength: 16 });
    expect(firstField("char comm[TASK_COMM_LEN]", 16)).toMatchObject({
      isString: true,
      arrayLength: 0,
      elementBytes: 1,
    });
    expect(firstField("char buf[]", 0)).toMatchObject({ isArray: true, sizeBytes: 0 });
    expect(firstField("const char *const *argv", 8)).toMatchObject({
      name: "argv",
      isPointer: true,
      type: "const char *const *",
    });
    expect(firstField("const void *ptr", 8)).toMatchObject({ type: "const void *" });
    expect(firstField("__rel_loc u32[] words")).toMatchObject({
      isDynamic: true,
      isRelative: true,
      elementBytes: 4,
    });
    expect(firstField("__data_loc cpumask_t mask")).toMatchObject({
      isDynamic: true,
      isArray: false,
    });
    expect(firstField("__data_loc __u8[] data")).toMatchObject({ isString: true });
    expect(firstField("struct __attribute__((packed)) x *p", 8)).toMatchObject({ name: "p" });
  });

  test("takes formats without signed: and without a print format", () => {
    const text = `name: old\nID: 5\nformat:\n\tfield:int a;\toffset:0;\tsize:4;\n\n\tfield:int b;\toffset:4;\tsize:4;\n`;
    const format = parseFormat(text);
    expect(format.fields.map((f) => f.name)).toEqual(["b"]);
    expect(format.fields[0]!.isSigned).toBe(false);
    expect(format.printFormat).toBe("");
  });

  for (const [what, text, message] of [
    ["empty text", "", 'line 1: expected "name:"'],
    ["a name with an escape", "name: a\x1b[2J\nID: 1\nformat:\n", "line 1: bad event name"],
    ["an id above u16", "name: a\nID: 65536\nformat:\n", "line 2: event ID"],
    ["an id that is no number", "name: a\nID: -1\nformat:\n", "line 2: event ID"],
    ["no format line", "name: a\nID: 1\n", 'line 3: expected "format:"'],
    ["a field beyond any record", formatText(field("int a", 65536, 4)), "field ends at 65540"],
    ["a huge size", formatText(field("int a", 8, 99999999)), "field size"],
    ["a field without a name", formatText(field("int", 8, 4)), "no type"],
    ["a field named by a number", formatText(field("int 9", 8, 4)), "no field name"],
    ["an unmatched bracket", formatText(field("int a]", 8, 4)), 'unmatched "]"'],
    ["a control character in a type", formatText(field("in\x07t a", 8, 4)), "a control"],
    [
      "a __data_loc of no bytes",
      formatText(field("__data_loc u16[] a", 8, 0)),
      "size of a dynamic",
    ],
    ["a __rel_loc of 8 bytes", formatText(field("__rel_loc char[] a", 8, 8)), "size of a dynamic"],
    ["a missing offset", formatText("\tfield:int a;\n"), 'expected "offset:"'],
  ] as const) {
    test(`refuses ${what}`, () => {
      expect(() => parseFormat(text)).toThrow(FormatError);
      expect(() => parseFormat(text)).toThrow(message);
    });
  }

  test("refuses too many fields and over-long texts", () => {
    expect(() => parseFormat(formatText(field("int a").repeat(FORMAT_FIELDS_MAX + 1)))).toThrow(
      "more than",
    );
    expect(() => parseFormat("x".repeat(FORMAT_BYTES_MAX + 1))).toThrow("characters, limit is");
    expect(() => parseFormat(formatText(field(`int ${"a".repeat(600)}`)))).toThrow("longer than");
  });

  test(
    "is a value or a FormatError for any cut and any mutation",
    () => {
      const good = formatText(field("int irq", 8, 4, 1) + field("unsigned long args[6]", 16, 48));
      const mutation = fc.record({
        at: fc.nat(good.length),
        remove: fc.nat(20),
        insert: fc.string({ maxLength: 12, unit: "binary" }),
      });
      fc.assert(
        fc.property(fc.array(mutation, { maxLength: 4 }), (mutations) => {
          let text = good;
          for (const { at, remove, insert } of mutations) {
            text = text.slice(0, at) + insert + text.slice(at + remove);
          }
          try {
            for (const f of parseFormat(text).fieldByName.values()) {
              expect(f.offsetBytes + f.sizeBytes).toBeLessThanOrEqual(RECORD_BYTES_MAX);
              expect(Number.isInteger(f.elementBytes)).toBe(true);
            }
          } catch (error) {
            expect(error).toBeInstanceOf(FormatError);
            expect((error as Error).message).toMatch(/^[\x20-\x7e]*$/);
          }
        }),
        { numRuns: FUZZ_RUNS },
      );
    },
    FUZZ_TIMEOUT_MS,
  );
});
