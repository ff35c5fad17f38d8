/** A caret under a place, in texts of any length and content. */
import { expect, test } from "bun:test";
import { caretLines } from "../../../shared/text/caret.ts";

test("caretLines() points at the place", () => {
  expect(caretLines("a==b", 1)).toBe("  a==b\n   ^");
  expect(caretLines("a==b", 4)).toBe("  a==b\n      ^");
  expect(caretLines("", 0)).toBe("  \n  ^");
});

test("caretLines() cuts a long text around the place", () => {
  const [text, caret] = caretLines(`${"x".repeat(1000)}Y${"z".repeat(1000)}`, 1000).split("\n");
  expect(text!.length).toBeLessThan(200);
  expect(text![caret!.length - 1]).toBe("Y");
});

test("caretLines() shows no control characters", () => {
  expect(caretLines("a\x1b[2Jb", 0)).toMatch(/^[\x20-\x7e\n]*$/);
});
