/**
 * The house rules that need one file at a time: size, shape, comments, tests, paths. Pure: text in,
 * findings out. CONTRIBUTING.md states them for people.
 */
import type { Finding } from "./finding.ts";
import { findFunctions } from "./functions.ts";
import { lineAt, type Source } from "./source.ts";

const FILE_LINES_MAX = 400;
const FUNCTION_LINES_MAX = 69;
const COLUMNS_MAX = 100;
const TEST_TITLE = /\b(?:test|it)(?:\.\w+)?\s*\(\s*(["'`])(.*?)\1\s*,/g;

/** Paths of one person's machine. A word before the slash makes it another path: $bunfs/root/. */
const MACHINE_PATH = /(?<![\w.$}])\/(?:work|root|home\/\w+)\//g;
const UNFINISHED = /\b(?:TODO|FIXME|XXX|HACK)\b/g;

function finding(source: Source, offset: number, message: string): Finding {
  return { path: source.path, line: lineAt(source.text, offset), message };
}

function matches(source: Source, text: string, pattern: RegExp, message: string): Finding[] {
  return [...text.matchAll(pattern)].map((match) => finding(source, match.index, message));
}

export function checkFileLength(source: Source): Finding[] {
  const lines = source.text.split("\n").length - (source.text.endsWith("\n") ? 1 : 0);
  if (lines <= FILE_LINES_MAX) return [];
  return [finding(source, source.text.length, `${lines} lines, wanted at most ${FILE_LINES_MAX}`)];
}

export function checkFunctionLength(source: Source): Finding[] {
  return findFunctions(source)
    .filter((span) => span.lines > FUNCTION_LINES_MAX)
    .map(({ name, line, lines }) => ({
      path: source.path,
      line,
      message: `${name}: ${lines} lines, wanted at most ${FUNCTION_LINES_MAX}`,
    }));
}

/** Characters that lie within strings: blank in the code view, and no comment. */
function stringColumns(withoutComments: string, code: string): number {
  let columns = 0;
  for (let i = 0; i < code.length; i++)
    if (code[i] === " " && withoutComments[i] !== " ") columns++;
  return columns;
}

/** A long string stays in one piece, so that it can be searched for; it does not count. */
export function checkColumns(source: Source): Finding[] {
  const findings: Finding[] = [];
  const withoutComments = source.withoutComments.split("\n");
  const code = source.code.split("\n");
  source.text.split("\n").forEach((text, i) => {
    const columns = [...text].length;
    if (columns <= COLUMNS_MAX) return;
    if (columns - stringColumns(withoutComments[i]!, code[i]!) <= COLUMNS_MAX) return;
    const message = `${columns} columns, wanted at most ${COLUMNS_MAX}`;
    findings.push({ path: source.path, line: i + 1, message });
  });
  return findings;
}

/** The first thing in a file, after #! of a script, says what it is for. */
export function checkHeader(source: Source): Finding[] {
  const text = source.text.replace(/^#!.*\n/, "");
  if (/^(\/\*\*|\/\*\n|\/\/ \S)/.test(text)) return [];
  return [finding(source, 0, "no header comment: wanted what the file is for")];
}

/** An error may be ignored, with the reason in a comment. */
export function checkEmptyCatch(source: Source): Finding[] {
  const message = "empty catch: wanted handling, or a comment that says why not";
  return [
    ...matches(source, source.code, /\bcatch\s*(?:\([^)]*\))?\s*\{\s*\}/g, message),
    ...matches(source, source.code, /\.catch\(\s*\([^)]*\)\s*=>\s*\{\s*\}\s*\)/g, message),
  ].filter(({ line }) => !/\/[/*]/.test(catchText(source, line)));
}

/** From the line of a catch to the brace that ends it, comments included. */
function catchText(source: Source, line: number): string {
  const lines = source.text.split("\n").slice(line - 1);
  const end = lines.findIndex(
    (text, i) => /\}\s*\)?;?\s*$/.test(text) && (i > 0 || /\{.*\}/.test(text)),
  );
  return lines.slice(0, end + 1).join("\n");
}

export function checkUnfinished(source: Source): Finding[] {
  return matches(source, source.text, UNFINISHED, "unfinished: wanted done, or an issue");
}

const STATEMENT_IN_COMMENT =
  /^[ \t]*\/\/ *(?:(?:const|let|return|import|if \(|for \(|await)\b.*[;{]|\}+;?)[ \t]*$/gm;

/** Code that a comment keeps: ends as statements do. The header may show what the file handles. */
export function checkCommentedCode(source: Source): Finding[] {
  const header = /^(?:#!.*\n)?(?:\/\/.*\n)*/.exec(source.text)![0].length;
  const message = "commented-out code: git keeps what is gone";
  return [...source.text.matchAll(STATEMENT_IN_COMMENT)]
    .filter((match) => match.index >= header)
    .map((match) => finding(source, match.index, message));
}

export function checkTests(source: Source): Finding[] {
  const { code, path } = source;
  if (!path.endsWith(".test.ts")) return [];
  const silenced = /\b(?:test|it|describe)\.(?:skip|only|todo)\b/g;
  const findings = matches(source, code, silenced, "silenced test: use skipIf with a probe");
  for (const match of source.withoutComments.matchAll(TEST_TITLE)) {
    if (code[match.index] === " ") continue;
    const title = match[2]!;
    if (/^\s*$/.test(title)) findings.push(finding(source, match.index, "test without a name"));
    if (/^should\b|\.$/.test(title)) {
      findings.push(finding(source, match.index, `test "${title}": wanted "symbol() claim"`));
    }
  }
  const sleep = /\b(?:setTimeout|Bun\.sleep|sleepSync)\s*\(/g;
  return [
    ...findings,
    ...matches(source, code, sleep, "sleep: await a condition, with a deadline"),
  ];
}

export function checkMachinePaths(source: Source): Finding[] {
  return matches(source, source.text, MACHINE_PATH, "path of one machine");
}

/** What every text file of the repository keeps to. */
export const TEXT_RULES = [checkUnfinished, checkMachinePaths] as const;

/** What TypeScript source keeps to besides. */
export const SOURCE_RULES = [
  checkFileLength,
  checkFunctionLength,
  checkColumns,
  checkHeader,
  checkEmptyCatch,
  checkCommentedCode,
  checkTests,
] as const;
