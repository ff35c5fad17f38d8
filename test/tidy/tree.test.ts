/** The house rules, applied to this repository. The rules have tests of their own beside this. */
import { expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { type Finding, formatFinding } from "./finding.ts";
import { checkImportCycles, checkImports } from "./imports.ts";
import { checkLockFile } from "./lock_file.ts";
import { SOURCE_RULES, TEXT_RULES } from "./rules.ts";
import { checkTopLevel, ROOT, readTree, topLevelNames } from "./tree.ts";

const files = readTree();
const sources = files.filter((file) => file.path.endsWith(".ts"));

function expectNone(findings: readonly Finding[]): void {
  expect(findings.map(formatFinding)).toEqual([]);
}

test("readTree() finds the repository", () => {
  expect(files.map((file) => file.path)).toContain("test/tidy/tree.test.ts");
  expect(sources.length).toBeGreaterThan(20);
});

for (const rule of SOURCE_RULES) {
  test(`${rule.name}() holds in every source file`, () => expectNone(sources.flatMap(rule)));
}

// The rules' own examples break them on purpose.
const elsewhere = files.filter((file) => !file.path.startsWith("test/tidy/"));
for (const rule of TEXT_RULES) {
  test(`${rule.name}() holds in every text file`, () => expectNone(elsewhere.flatMap(rule)));
}

test("checkImports() holds: agents -> shared -> shared/sys -> #ffi", () => {
  expectNone(sources.flatMap(checkImports));
});

test("checkImportCycles() finds none", () => expectNone(checkImportCycles(sources)));

test("checkTopLevel() knows every name at the top", () =>
  expectNone(checkTopLevel(topLevelNames())));

test("checkLockFile() finds every platform and no download address", () => {
  expectNone(checkLockFile(readFileSync(join(ROOT, "package-lock.json"), "utf8")));
});
