// biome-ignore-all lint/suspicious/noTemplateCurlyInString: the scanner is fed such strings
/** The scanner that keeps rules from being fooled by text. */
import { describe, expect, test } from "bun:test";
import { lineAt, readSource } from "./source.ts";

function codeOf(text: string): string {
  const { code } = readSource("a.ts", text);
  expect(code.length).toBe(text.length);
  return code;
}

describe("readSource()", () => {
  const rows: readonly (readonly [string, string])[] = [
    ['a("{");', 'a(" ");'],
    ["a('\\'{');", "a('   ');"],
    ["a; // {", "a;     "],
    ["a /* {\n{ */ b", "a     \n     b"],
    ["`{${b}{`", "` ${b} `"],
    ["`${`{${c}`}`;d", "`${` ${c}`}`;d"],
    ["`\\`{`;d", "`   `;d"],
    ["return /[/{]\\/{/g;", "return /       /g;"],
    ["(a) / b / {c}", "(a) / b / {c}"],
    ["x = /'/; y = 1", "x = / /; y = 1"],
    ['const s = "//"; f()', 'const s = "  "; f()'],
  ];
  for (const [text, code] of rows) {
    test(`readSource() blanks ${JSON.stringify(text)}`, () => expect(codeOf(text)).toBe(code));
  }

  test("readSource() leaves strings in the view without comments", () => {
    const source = readSource("a.ts", 'a("//"); // "b"');
    expect(source.withoutComments).toBe('a("//");       ');
  });

  test("readSource() ends on an open string, template or comment", () => {
    for (const text of ["'a", "`a${", "/* a", "/a", "`a\\"]) codeOf(text);
  });
});

test("lineAt() counts from 1", () => {
  expect([0, 1, 2, 4].map((offset) => lineAt("a\nb\nc", offset))).toEqual([1, 1, 2, 3]);
});
