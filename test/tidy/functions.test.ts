/** Function spans: what is a function, where its body ends. */
import { describe, expect, test } from "bun:test";
import { findFunctions } from "./functions.ts";
import { readSource } from "./source.ts";

function spansOf(text: string): string[] {
  return findFunctions(readSource("a.ts", text)).map(
    ({ name, line, lines }) => `${name} ${line}+${lines}`,
  );
}

describe("findFunctions()", () => {
  const rows: readonly (readonly [string, string, readonly string[]])[] = [
    ["a declaration", "function a() {\n}\n", ["a 1+2"]],
    ["generics and a default", 'function a<T>(b: T, c = "(") {\n\n}\n', ["a 1+3"]],
    ["an object as return type", "function a(): { b: number } {\n}\n", ["a 1+2"]],
    ["a union with an object", "function a(): B | { b: C } {\n  d();\n}\n", ["a 1+3"]],
    ["a function as return type", "function a(): (b: C) => void {\n}\n", ["a 1+2"]],
    ["a generic return type", "function a(): Map<string, { b: C }> {\n}\n", ["a 1+2"]],
    ["parameters over lines", "function a(\n  b: C,\n): void {\n}\n", ["a 1+4"]],
    ["a method", "class A {\n  override async b(): Promise<void> {\n  }\n}\n", ["b 2+2"]],
    ["a private method", "class A {\n  #b() {\n  }\n}\n", ["#b 2+2"]],
    ["a getter", "class A {\n  get b(): C {\n  }\n}\n", ["b 2+2"]],
    [
      "a symbol's method",
      "class A {\n  [Symbol.dispose](): void {\n  }\n}\n",
      ["[Symbol.dispose] 2+2"],
    ],
    ["an arrow", "const a = (b: C): D => {\n};\n", ["arrow function 1+2"]],
    ["an arrow in a call", "a.map((b) => {\n  c(b);\n});\n", ["arrow function 1+3"]],
    ["a signature, an overload", "interface A {\n  b(): void;\n}\nfunction c(): D;\n", []],
    ["control statements", "if (a) {\n}\nfor (;;) {\n}\nswitch (b) {\n}\n", []],
    ["braces in strings", 'function a() {\n  b("}");\n}\n', ["a 1+3"]],
    ["a call", "a(b);\nif (c) {\n}\n", []],
    ["a group of tests", 'describe("a", () => {\n  b();\n});\n', []],
  ];
  for (const [what, text, spans] of rows) {
    test(`findFunctions() measures ${what}`, () => expect(spansOf(text)).toEqual([...spans]));
  }
});
