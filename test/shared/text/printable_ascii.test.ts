/** printableAscii() on controls, quotes, text above ASCII, and any string. */
import { expect, test } from "bun:test";
import fc from "fast-check";
import { printableAscii } from "../../../shared/text/printable_ascii.ts";

test("printableAscii() keeps printable ASCII and masks everything else", () => {
  expect(printableAscii(' ~"eth0"')).toBe(' ~"eth0"');
  expect(printableAscii("a\x1b[2J\n\x7f\u009bé😀")).toBe("a?[2J??????");
});

test("printableAscii() gives a character for each, so that places stay", () => {
  fc.assert(
    fc.property(fc.string({ unit: "binary" }), (text) => {
      const shown = printableAscii(text);
      expect(shown).toHaveLength(text.length);
      expect(shown).toMatch(/^[\x20-\x7e]*$/);
    }),
    { numRuns: 500 },
  );
});
