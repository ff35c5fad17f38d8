/**
 * Runs the tests. Its last lines, on which people and CI jobs rely, say what failed and count:
 *
 *   bun test/run.ts                  all of them
 *   bun test/run.ts test/shared      those below a folder, or one file
 *
 *   failed   test/shared/perf/ring.test.ts: Ring > read() stops at the end: expect(received)...
 *   213 passed, 1 failed, 1 skipped
 *
 * Tests of plain code run in two processes side by side. Tests that own a part of the machine
 * (a guest, the clock, a probe) run one after the other, after them. The counts come from Bun's
 * JUnit file rather than from its output, which goes to the terminal untouched; a process that
 * dies without writing the file counts as one failure.
 */
import { spawnSync } from "node:child_process";
import { existsSync, globSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join, relative, resolve } from "node:path";
import { packagesProblem, TEST_PACKAGES } from "./apt.ts";
import {
  addCounts,
  type Counts,
  countJunit,
  failureLines,
  formatCounts,
  NO_COUNTS,
} from "./junit.ts";
import { NIGHTLY } from "./nightly.ts";

const ROOT = resolve(import.meta.dirname, "..");
const REPORT = join(ROOT, "build", "junit.xml");
/**
 * For a test that states no limit of its own; those that boot a guest do. At night a test may take
 * as long as its long form takes: 0 is no limit, for those that state none.
 */
const TEST_TIMEOUT_MS = NIGHTLY ? 0 : 60_000;
/** Folders whose tests touch nothing that another test could disturb. */
const PARALLEL_FOLDERS = [
  "test/shared/",
  "test/agent-guest/",
  "test/agent-host/",
  "test/tidy/",
  "test/fuzz/",
];
/** In these, tests open perf events, ports and files of the machine. */
const SERIAL_FOLDERS = ["test/shared/sys/", "test/shared/event/", "test/agent-host/session/live_"];

/** What failed so far, a line each. */
const failures: string[] = [];

function findTests(wanted: readonly string[]): string[] {
  const all = globSync("test/**/*.test.ts", { cwd: ROOT }).sort();
  if (wanted.length === 0) return all;
  const prefixes = wanted.map((path) => relative(ROOT, resolve(path)));
  return all.filter((file) =>
    prefixes.some((prefix) => file === prefix || file.startsWith(`${prefix}/`)),
  );
}

function isParallel(file: string): boolean {
  const startsFile = (folder: string): boolean => file.startsWith(folder);
  return PARALLEL_FOLDERS.some(startsFile) && !SERIAL_FOLDERS.some(startsFile);
}

/** Runs some files in one go; adds to `failures` what failed. */
function runGroup(title: string, files: readonly string[], flags: readonly string[]): Counts {
  if (files.length === 0) return NO_COUNTS;
  console.log(`test     ${title}: ${files.length} files`);
  rmSync(REPORT, { force: true });
  const report = ["--reporter=junit", `--reporter-outfile=${REPORT}`];
  const limits = [`--timeout=${TEST_TIMEOUT_MS}`, "--pass-with-no-tests"];
  const paths = files.map((file) => `./${file}`);
  const result = spawnSync(process.execPath, ["test", ...limits, ...report, ...flags, ...paths], {
    cwd: ROOT,
    stdio: ["ignore", "inherit", "inherit"],
  });
  const junit = existsSync(REPORT) ? readFileSync(REPORT, "utf8") : "";
  const counts = junit === "" ? NO_COUNTS : countJunit(junit);
  failures.push(...failureLines(junit));
  const explained = result.status === 0 || counts.failed > 0;
  if (!explained) {
    const how = result.signal ?? `exit code ${result.status}`;
    failures.push(`${title}: the test process ended with ${how}`);
  }
  return explained ? counts : { ...counts, failed: 1 };
}

mkdirSync(join(ROOT, "build"), { recursive: true });
// In one go, before any test looks for them; each test says itself what it lacks.
const problem = packagesProblem(TEST_PACKAGES);
if (problem !== "") console.log(`test     ${problem}`);
const files = findTests(process.argv.slice(2));
const parallel = files.filter(isParallel);
const serial = files.filter((file) => !isParallel(file));
const counts = addCounts(
  runGroup("plain code, two at a time", parallel, ["--parallel=2"]),
  runGroup("the machine, one at a time", serial, []),
);
if (files.length === 0) console.error("test     no test files found");
// Last, as a CI job may keep no more than the end of what is printed.
for (const line of failures) console.error(`failed   ${line}`);
console.log(formatCounts(counts));
process.exit(counts.failed > 0 || files.length === 0 ? 1 : 0);
