/**
 * Counts of a JUnit file as Bun writes it, and the names of what failed:
 *
 *   <testsuites name="bun test" tests="6" assertions="4" failures="2" skipped="1" time="0.01">
 *     <testcase name="a &gt; b" classname="Ring" time="0.1" file="ring.test.ts" line="2">
 *       <failure type="AssertionError" message="expect(received).toBe(expected)&#10;&#10;...">
 *
 * Counts come from the root element alone: it sums up all files, crashed ones included.
 */

export interface Counts {
  readonly passed: number;
  readonly failed: number;
  readonly skipped: number;
}

export const NO_COUNTS: Counts = { passed: 0, failed: 0, skipped: 0 };

/** Counts of the whole run. Throws SyntaxError when `xml` is not such a file. */
export function countJunit(xml: string): Counts {
  const root = /<testsuites\b[^>]*>/.exec(xml)?.[0];
  if (root === undefined) throw new SyntaxError("Cannot count tests: no <testsuites> element");
  const attribute = (name: string): number => {
    const digits = new RegExp(`\\b${name}="(\\d+)"`).exec(root)?.[1];
    if (digits === undefined) throw new SyntaxError(`Cannot count tests: no "${name}" attribute`);
    return Number(digits);
  };
  const failed = attribute("failures");
  const skipped = attribute("skipped");
  return { passed: attribute("tests") - failed - skipped, failed, skipped };
}

// Bun writes a failure first in its test case.
const FAILED_CASE = /<testcase\b([^>]*)>\s*<failure\b([^>]*)>/g;
const ENTITIES: Record<string, string> = { lt: "<", gt: ">", amp: "&", quot: '"', apos: "'" };

function attributeText(element: string, name: string): string {
  const text = new RegExp(`\\b${name}="([^"]*)"`).exec(element)?.[1] ?? "";
  return text.replace(/&(#\d+|\w+);/g, (whole, entity: string) =>
    entity.startsWith("#")
      ? String.fromCodePoint(Number(entity.slice(1)))
      : (ENTITIES[entity] ?? whole),
  );
}

/**
 * A line for each test that failed, with its reason's first lines in one:
 * "ring.test.ts: Ring > a > b: expect(received).toBe(expected) Expected: 2 Received: 1"
 */
export function failureLines(xml: string): string[] {
  return [...xml.matchAll(FAILED_CASE)].map(([, test = "", failure = ""]) => {
    // Bun names the inner suite first.
    const suites = attributeText(test, "classname").split(" > ").reverse();
    const name = [...suites, attributeText(test, "name")].filter((part) => part !== "");
    const reason = attributeText(failure, "message").replace(/\s+/g, " ").trim();
    return `${attributeText(test, "file")}: ${name.join(" > ")}: ${reason}`;
  });
}

export function addCounts(a: Counts, b: Counts): Counts {
  return {
    passed: a.passed + b.passed,
    failed: a.failed + b.failed,
    skipped: a.skipped + b.skipped,
  };
}

/** "214 passed, 0 failed, 1 skipped" */
export function formatCounts(counts: Counts): string {
  return `${counts.passed} passed, ${counts.failed} failed, ${counts.skipped} skipped`;
}
