/** Enum constants in format texts: which names are replaced, by hand and on the running kernel. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import {
  namesConstants,
  replaceNames,
  resolveEnumNames,
} from "../../../shared/tracefs/enum_names.ts";
import { parseFormat } from "../../../shared/tracefs/format.ts";
import { compilePrintFormat } from "../../../shared/tracefs/print_format.ts";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { formatText, render } from "./support/print_fixture.ts";

const FIELDS = ["int TYPE@8:4s", "int i@12:4s"];
const VALUES: ReadonlyMap<string, bigint> = new Map([
  ["I_SYNC", 16n],
  ["MINUS", -1n],
  ["TYPE", 7n],
  ["REC", 8n],
  ["u8", 9n],
]);
const lookup = (name: string): bigint | undefined => VALUES.get(name);

describe("replaceNames()", () => {
  for (const [print, want] of [
    ['"%s", __print_flags(REC->i, "|", { I_SYNC, "I_SYNC" })', '{ 16, "I_SYNC" })'],
    ['"I_SYNC \\"I_SYNC\\" %d", I_SYNC', '"I_SYNC \\"I_SYNC\\" %d", 16'],
    ['"%d", REC->TYPE + (u8)MINUS', "REC->TYPE + (u8)-1"],
    ['"%d", I_SYNC(REC->i) + OTHER', "I_SYNC(REC->i) + OTHER"],
  ] as const) {
    test(print, () => {
      const text = formatText(FIELDS, print);
      const replaced = replaceNames(text, lookup);
      expect(replaced).toContain(want);
      expect(replaced.slice(0, replaced.indexOf("print fmt"))).toBe(
        text.slice(0, text.indexOf("print fmt")),
      );
    });
  }

  test("the values are used when a record is printed", () => {
    const print = '"%s", __print_symbolic(REC->i, { I_SYNC, "sync" }, { MINUS, "minus" })';
    const format = parseFormat(replaceNames(formatText(FIELDS, print), lookup));
    const record = new Uint8Array(16);
    record[12] = 16;
    expect(render(format, record)).toBe("sync");
    record.fill(0xff, 12);
    expect(render(format, record)).toBe("minus");
  });

  test("leaves a text without a print format, and one that ends within a string", () => {
    expect(replaceNames("name: x\nI_SYNC\n", lookup)).toBe("name: x\nI_SYNC\n");
    expect(replaceNames('x\nprint fmt: "I_SYNC', lookup)).toBe('x\nprint fmt: "16');
    expect(namesConstants('x\nprint fmt: "%d", REC->i')).toBe(false);
  });
});

function kernelTexts(): { system: string; text: string }[] {
  try {
    const tracefs = Tracefs.open();
    return tracefs
      .find("*:*")
      .filter(({ system, name }) => tracefs.has(system, name))
      .map(({ system, name }) => ({ system, text: tracefs.formatText(system, name) }))
      .filter(({ text }) => namesConstants(text));
  } catch (error) {
    if (error instanceof TracefsError) return [];
    throw error;
  }
}

describe("resolveEnumNames()", () => {
  const texts = existsSync("/sys/kernel/btf/vmlinux") ? kernelTexts() : [];
  if (texts.length === 0) console.log("skipped: no BTF or no tracefs on this machine");

  test.skipIf(texts.length === 0)("knows nearly all names in the running kernel's formats", () => {
    const countUnresolved = (resolve: (text: string) => string): number =>
      texts.filter(({ system, text }) => {
        const printer = compilePrintFormat(parseFormat(resolve(text), system));
        expect(printer.isFallback).toBe(false);
        return printer.unresolved.length > 0;
      }).length;
    const before = countUnresolved((text) => text);
    const after = countUnresolved(resolveEnumNames);
    console.log(`formats that name constants without a value: ${before}, with BTF ${after}`);
    expect(after).toBeLessThanOrEqual(before / 4);
  });
});
