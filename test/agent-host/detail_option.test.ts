/** The value of --detail. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { DETAIL_ALL } from "../../agent-host/analyze/detail.ts";
import { parseDetail } from "../../agent-host/detail_option.ts";
import { UsageError } from "../../shared/cli/failure.ts";

const NS_PER_CYCLE = 0.5;

describe("parseDetail()", () => {
  for (const [text, changes] of [
    ["samecpu", { sameCpu: true }],
    ["samepid,sametid", { samePid: true, sameTid: true }],
    ["samekey", { sameKey: true }],
    ["samecpu1", { sameCpu: true, withEnd: false }],
    ["samecpu2", { sameCpu: true, withStart: false }],
    ["-1ms", { beforeCycles: 2e6 }],
    ["+100us", { afterCycles: 2e5 }],
    ["hide<1us", { hideCycles: 2000 }],
    ["samecpu, -1ms ,+1us", { sameCpu: true, beforeCycles: 2e6, afterCycles: 2000 }],
  ] as const) {
    test(`takes ${text}`, () => {
      expect(parseDetail(text, NS_PER_CYCLE)).toEqual({ ...DETAIL_ALL, ...changes });
    });
  }

  for (const text of ["", "samecpu3", "same", "-", "+x", "hide<", "hide>1us", "samecpu,,", "1ms"]) {
    test(`refuses "${text}"`, () => {
      expect(() => parseDetail(text, NS_PER_CYCLE)).toThrow(UsageError);
    });
  }

  test("gives options or a UsageError for any text", () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          expect(parseDetail(text, NS_PER_CYCLE)).toBeObject();
        } catch (error) {
          expect(error).toBeInstanceOf(UsageError);
        }
      }),
      { numRuns: 1000 },
    );
  });
});
