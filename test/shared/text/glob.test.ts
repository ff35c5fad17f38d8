/** Globs of event names and filters: a table of cases, and a regular expression as oracle. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { GLOB_PATTERN_MAX, globMatch, globMatcher } from "../../../shared/text/glob.ts";

describe("globMatch()", () => {
  for (const [pattern, text, want] of [
    ["virtio0-input*", "virtio0-input.3", true],
    ["virtio0-input*", "virtio1-input.3", false],
    ["*", "", true],
    ["", "", true],
    ["", "a", false],
    ["?", "", false],
    ["a?c", "abc", true],
    ["*a*b*", "xxaxxb", true],
    ["*ab", "aab", true],
    ["[a-c]x", "bx", true],
    ["[!a-c]x", "bx", false],
    ["[!a-c]x", "dx", true],
    ["[]]", "]", true],
    ["[a", "[a", true],
    ["\\*", "*", true],
    ["\\*", "x", false],
    ["a\\", "a\\", true],
  ] as const) {
    test(`${pattern} on "${text}" is ${want}`, () => expect(globMatch(pattern, text)).toBe(want));
  }

  test("equals a regular expression for * and ?", () => {
    const word = fc.stringMatching(/^[ab*?]{0,8}$/);
    const text = fc.stringMatching(/^[ab]{0,10}$/);
    fc.assert(
      fc.property(word, text, (pattern, subject) => {
        const oracle = new RegExp(`^${pattern.replace(/\*/g, ".*").replace(/\?/g, ".")}$`);
        return globMatch(pattern, subject) === oracle.test(subject);
      }),
      { numRuns: 2000 },
    );
  });

  test("stays quadratic on a pattern of many stars", () => {
    const pattern = `${"*a".repeat(2000)}b`;
    expect(globMatch(pattern, "a".repeat(4000))).toBe(false);
  });

  test("globMatcher() refuses an over-long pattern", () => {
    expect(() => globMatcher("a".repeat(GLOB_PATTERN_MAX + 1))).toThrow(RangeError);
  });
});
