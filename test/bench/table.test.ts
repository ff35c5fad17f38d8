/** The bench's arithmetic and its table. */
import { describe, expect, test } from "bun:test";
import { formatNumber, formatRate, median, medianRatio } from "./statistics.ts";
import { type Row, renderTable, summarize } from "./table.ts";

describe("median()", () => {
  test("median() of an odd number of values is the middle one", () => {
    expect(median([9, 1, 5])).toBe(5);
  });

  test("median() of an even number is the mean of the middle two", () => {
    expect(median([4, 1, 9, 2])).toBe(3);
  });

  test("median() of nothing is undefined", () => {
    expect(median([])).toBeUndefined();
  });
});

test("medianRatio() pairs by round and leaves out what has no denominator", () => {
  expect(medianRatio([2, 30, 5], [1, 10, 0])).toBe(2.5);
});

test("formatNumber() keeps three figures or so", () => {
  expect([41.25, 412.4, undefined].map(formatNumber)).toEqual(["41.3", "412", "-"]);
});

test("formatRate() scales to thousands and millions", () => {
  expect([4_213_000, 421_300, 12, undefined].map(formatRate)).toEqual([
    "4.21 M",
    "421 k",
    "12",
    "-",
  ]);
});

const ROWS: readonly Row[] = [
  {
    group: "guest",
    name: "file",
    value: "38.1 ns",
    beside: "x 1.41",
    target: "<= x 1.5",
    isMet: true,
  },
  { group: "guest", name: "perf", value: "350 ns", beside: "", target: "", isMet: undefined },
  { group: "host", name: "pairs", value: "3.9 M", beside: "", target: ">= 4 M", isMet: false },
  { group: "host", name: "lines", value: "-", beside: "", target: ">= 400 k", isMet: undefined },
];

test("renderTable() groups rows and aligns columns", () => {
  expect(renderTable(ROWS)).toBe(
    [
      "what     value    beside  target    verdict",
      "guest",
      "  file   38.1 ns  x 1.41  <= x 1.5  ok",
      "  perf   350 ns",
      "host",
      "  pairs  3.9 M            >= 4 M    MISSED",
      "  lines  -                >= 400 k  not measured",
    ].join("\n"),
  );
});

test("summarize() counts targets, not rows", () => {
  expect(summarize(ROWS)).toBe("1 of 3 targets met, 1 not measured");
});
