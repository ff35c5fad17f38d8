/** Option values: every form that is taken, and every one that is not. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { UsageError } from "../../../shared/cli/failure.ts";
import {
  collect,
  parseCount,
  parseCpuOption,
  parseDurationNs,
  parseRingPages,
  parseTaskId,
} from "../../../shared/cli/option.ts";

describe("parseRingPages", () => {
  for (const [text, bytes] of [
    ["1", 4096],
    ["256", 1024 * 1024],
    ["262144", 1024 * 1024 * 1024],
  ] as const) {
    test(`parseRingPages() gives ${bytes} bytes for ${text}`, () => {
      expect(parseRingPages(text)).toBe(bytes);
    });
  }

  for (const text of ["3", "0", "-1", "1.5", "", " ", "x", "256k", "524288", "4294967297", "NaN"]) {
    test(`parseRingPages() refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseRingPages(text)).toThrow(UsageError);
      expect(() => parseRingPages(text)).toThrow(
        `Cannot use -m ${text}: wants a power of two of pages (4 KiB) from 1 to 262144`,
      );
    });
  }
});

describe("parseCpuOption", () => {
  test("parseCpuOption() gives a list back as it is, whether or not such CPUs exist", () => {
    expect(parseCpuOption("0-3,4000")).toBe("0-3,4000");
    expect(parseCpuOption(undefined)).toBeUndefined();
  });

  test("parseCpuOption() calls what is no list a wrong command line", () => {
    expect(() => parseCpuOption("0-x")).toThrow(UsageError);
    expect(() => parseCpuOption("")).toThrow('Cannot parse CPU list "": wants numbers and ranges');
  });
});

describe("parseTaskId", () => {
  test("parseTaskId() gives the number, and -1 when there is none", () => {
    expect(parseTaskId("-p", "4711")).toBe(4711);
    expect(parseTaskId("-p", undefined)).toBe(-1);
  });

  for (const text of ["0", "-1", "1.5", "", "x", "1x", "4711,4712"]) {
    test(`parseTaskId() refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseTaskId("-t", text)).toThrow(
        `Cannot use -t ${text}: wants a process or thread id`,
      );
    });
  }
});

describe("parseCount", () => {
  test("parseCount() gives whole numbers from 1", () => {
    expect(parseCount("-N", "1")).toBe(1);
    expect(parseCount("-N", "2000000")).toBe(2_000_000);
  });

  for (const text of ["0", "-5", "1.5", "", "x", "1e400", "9007199254740993"]) {
    test(`parseCount() refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseCount("-i", text)).toThrow(
        `Cannot use -i ${text}: wants a whole number from 1`,
      );
    });
  }
});

describe("parseDurationNs", () => {
  for (const [text, ns] of [
    ["1ms", 1e6],
    ["50us", 50_000],
    ["800ns", 800],
    ["2s", 2e9],
    ["1.5ms", 1_500_000],
    ["1000", 1000],
  ] as const) {
    test(`parseDurationNs() gives ${ns} for ${text}`, () => {
      expect(parseDurationNs("--than", text)).toBe(ns);
    });
  }

  for (const text of [
    "",
    "ms",
    "1 ms",
    "-1ms",
    "1m",
    "0",
    "0ms",
    "1ms2",
    ".5ms",
    "1e3ms",
    "1.ms",
  ]) {
    test(`parseDurationNs() refuses ${JSON.stringify(text)}`, () => {
      expect(() => parseDurationNs("--than", text)).toThrow(
        `Cannot use --than ${text}: wants a duration as 1ms, 50us or 800ns`,
      );
    });
  }
});

test("any text gives a sane number or a UsageError", () => {
  const parsers: readonly ((text: string) => number)[] = [
    parseRingPages,
    (text) => parseTaskId("-p", text),
    (text) => parseCount("-N", text),
    (text) => parseDurationNs("--than", text),
  ];
  const digits = fc.string({ unit: fc.constantFrom(..."0123456789.eExmsun -+"), maxLength: 12 });
  fc.assert(
    fc.property(fc.oneof(digits, fc.string({ maxLength: 12 })), (text) => {
      for (const parse of parsers) {
        try {
          const value = parse(text);
          expect(Number.isFinite(value) && value > 0).toBe(true);
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }
    }),
    { numRuns: 1000 },
  );
});

test("collect() keeps the order, and leaves what was before alone", () => {
  const first = collect("a", []);
  const second = collect("b", first);
  expect([first, second]).toEqual([["a"], ["a", "b"]]);
});
