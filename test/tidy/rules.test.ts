/** Each house rule, once broken and once kept, on an example. */
import { describe, expect, test } from "bun:test";
import type { Finding } from "./finding.ts";
import { formatFinding } from "./finding.ts";
import { checkLockFile } from "./lock_file.ts";
import {
  checkColumns,
  checkCommentedCode,
  checkEmptyCatch,
  checkFileLength,
  checkFunctionLength,
  checkHeader,
  checkMachinePaths,
  checkTests,
  checkUnfinished,
} from "./rules.ts";
import { readSource, type Source } from "./source.ts";
import { checkTopLevel } from "./tree.ts";

type Rule = (source: Source) => Finding[];

function shown(rule: Rule, text: string, path = "a.ts"): string[] {
  return rule(readSource(path, text)).map(formatFinding);
}

function lines(count: number): string {
  return "a();\n".repeat(count);
}

describe("checkFileLength()", () => {
  test("checkFileLength() allows 400 lines", () => {
    expect(shown(checkFileLength, lines(400))).toEqual([]);
  });

  test("checkFileLength() refuses 401", () => {
    expect(shown(checkFileLength, lines(401))).toEqual(["a.ts:402: 401 lines, wanted at most 400"]);
  });
});

describe("checkFunctionLength()", () => {
  test("checkFunctionLength() allows 69 lines", () => {
    expect(shown(checkFunctionLength, `function a() {\n${lines(67)}}\n`)).toEqual([]);
  });

  test("checkFunctionLength() refuses 70", () => {
    expect(shown(checkFunctionLength, `b();\nfunction a() {\n${lines(68)}}\n`)).toEqual([
      "a.ts:2: a: 70 lines, wanted at most 69",
    ]);
  });
});

describe("checkColumns()", () => {
  test("checkColumns() allows 100, counted in characters", () => {
    expect(shown(checkColumns, `${"x".repeat(99)}µ\n`)).toEqual([]);
  });

  test("checkColumns() leaves long strings alone, not long comments", () => {
    expect(shown(checkColumns, `const a = "${"x".repeat(101)}";\n`)).toEqual([]);
    expect(shown(checkColumns, `// "${"x".repeat(101)}"\n`)).toHaveLength(1);
  });

  test("checkColumns() refuses 101", () => {
    expect(shown(checkColumns, `a\n${"x".repeat(101)}\n`)).toEqual([
      "a.ts:2: 101 columns, wanted at most 100",
    ]);
  });
});

describe("checkHeader()", () => {
  for (const text of ["/** A. */\na();\n", "// A.\n\na();\n", "#!/usr/bin/env bun\n/** A. */\n"]) {
    test(`checkHeader() accepts ${JSON.stringify(text)}`, () => {
      expect(shown(checkHeader, text)).toEqual([]);
    });
  }

  for (const text of ['import "./a.ts";\n', "\n/** A. */\n", ""]) {
    test(`checkHeader() refuses ${JSON.stringify(text)}`, () => {
      expect(shown(checkHeader, text)).toHaveLength(1);
    });
  }
});

describe("checkEmptyCatch()", () => {
  for (const text of [
    "try { a(); } catch {}\n",
    "try {\n  a();\n} catch (error) {\n}\n",
    "a().catch(() => {});\n",
  ]) {
    test(`checkEmptyCatch() refuses ${JSON.stringify(text)}`, () => {
      expect(shown(checkEmptyCatch, text)).toHaveLength(1);
    });
  }

  for (const text of [
    "try {\n  a();\n} catch {\n  // Gone already: what was wanted.\n}\n",
    "try {\n  a();\n} catch (error) {\n  b(error);\n}\n",
    'const a = "catch {}";\n',
  ]) {
    test(`checkEmptyCatch() accepts ${JSON.stringify(text)}`, () => {
      expect(shown(checkEmptyCatch, text)).toEqual([]);
    });
  }
});

describe("checkCommentedCode()", () => {
  for (const text of ["a();\n// const b = 1;\n", "a();\n  // if (b) {\n", "a();\n// }\n"]) {
    test(`checkCommentedCode() refuses ${JSON.stringify(text)}`, () => {
      expect(shown(checkCommentedCode, text)).toHaveLength(1);
    });
  }

  for (const text of ["// return a;\n\na();\n", "a();\n// Returns what is left; then waits.\n"]) {
    test(`checkCommentedCode() accepts ${JSON.stringify(text)}`, () => {
      expect(shown(checkCommentedCode, text)).toEqual([]);
    });
  }
});

describe("checkTests()", () => {
  const path = "a.test.ts";
  for (const text of [
    'test.skip("a() b", () => b());\n',
    'test.only("a() b", () => b());\n',
    'describe.only("a()", () => b());\n',
    'test.todo("a() b");\n',
    'test("", () => b());\n',
    'test("should work", () => b());\n',
    'test("a() works.", () => b());\n',
    'test("a() b", async () => {\n  await new Promise((go) => setTimeout(go, 100));\n});\n',
  ]) {
    test(`checkTests() refuses ${JSON.stringify(text)}`, () => {
      expect(shown(checkTests, text, path)).toHaveLength(1);
    });
  }

  for (const text of [
    'test("a() b", () => b());\n',
    'test.skipIf(!probe())("a() b", () => b());\n',
    'const a = "test.only";\n',
  ]) {
    test(`checkTests() accepts ${JSON.stringify(text)}`, () => {
      expect(shown(checkTests, text, path)).toEqual([]);
    });
  }
});

test("checkUnfinished() finds marks of unfinished work in code and comments", () => {
  expect(shown(checkUnfinished, "// TODO: a\nb(); // FIXME\n")).toHaveLength(2);
  expect(shown(checkUnfinished, "const todos = 1; // to do\n")).toEqual([]);
});

test("checkMachinePaths() finds paths of one machine", () => {
  expect(shown(checkMachinePaths, 'a("/root/x");\nb("/work/y"); // /home/me/z\n')).toHaveLength(3);
  expect(
    shown(checkMachinePaths, 'a("/$bunfs/root/x", "/sys/work/y", "/proc/1/root/");\n'),
  ).toEqual([]);
});

test("checkTopLevel() refuses a new name at the top", () => {
  expect(checkTopLevel(["Makefile", "notes.txt"]).map((finding) => finding.path)).toEqual([
    "notes.txt",
  ]);
});

describe("checkLockFile()", () => {
  const lock = (packages: object): string => JSON.stringify({ lockfileVersion: 3, packages });

  test("checkLockFile() finds a platform that npm dropped", () => {
    const findings = checkLockFile(
      lock({ "node_modules/a": { optionalDependencies: { b: "1" } } }),
    );
    expect(findings[0]?.message).toStartWith('no entry for "b", which "node_modules/a" names');
  });

  test("checkLockFile() finds a download address", () => {
    expect(checkLockFile(lock({ "node_modules/a": { resolved: "https://a" } }))).toHaveLength(1);
  });

  test("checkLockFile() accepts a complete file", () => {
    const packages = {
      "node_modules/a": { optionalDependencies: { b: "1" } },
      "node_modules/b": { optional: true },
    };
    expect(checkLockFile(lock(packages))).toEqual([]);
  });
});
