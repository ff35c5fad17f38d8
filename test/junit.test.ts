/** Counting of tests: the one line that a run's verdict rests on. */
import { expect, test } from "bun:test";
import { addCounts, countJunit, failureLines, formatCounts, NO_COUNTS } from "./junit.ts";

const ROOT =
  '<?xml version="1.0" encoding="UTF-8"?>\n' +
  '<testsuites name="bun test" tests="6" assertions="4" failures="2" skipped="1" time="0.012">\n' +
  '  <testsuite name="a.test.ts" tests="2" failures="9" skipped="9">\n';

test("countJunit() reads the totals of the root element only", () => {
  expect(countJunit(ROOT)).toEqual({ passed: 3, failed: 2, skipped: 1 });
});

test("countJunit() refuses a file without totals", () => {
  expect(() => countJunit("")).toThrow("no <testsuites> element");
  expect(() => countJunit('<testsuites tests="1">')).toThrow('no "failures" attribute');
});

test("failureLines() names the file, the suites from the outer one on, the test and the reason", () => {
  const cases =
    '<testcase name="x &gt; y" classname="in &gt; &quot;out&quot;" time="0.1" file="a.test.ts">\n' +
    '  <failure type="AssertionError" message="toBe&#10;&#10;Expected: &lt;2&gt;&#10;">text\n' +
    '</testcase><testcase name="fine" classname="" file="a.test.ts" />\n' +
    '<testcase name="t" classname="" file="b.test.ts">\n' +
    '  <failure type="TimeoutError" message="test timed out" />\n';
  expect(failureLines(cases)).toEqual([
    'a.test.ts: "out" > in > x > y: toBe Expected: <2>',
    "b.test.ts: t: test timed out",
  ]);
  expect(failureLines(ROOT)).toEqual([]);
});

test("addCounts() adds each count", () => {
  const sum = addCounts(
    { passed: 1, failed: 2, skipped: 3 },
    { passed: 10, failed: 20, skipped: 30 },
  );
  expect(sum).toEqual({ passed: 11, failed: 22, skipped: 33 });
});

test("formatCounts() gives the line that ends a run", () => {
  expect(formatCounts(NO_COUNTS)).toBe("0 passed, 0 failed, 0 skipped");
});
