/**
 * Counts of a JUnit file as Bun writes it:
 *
 *   <testsuites name="bun test" tests="6" assertions="4" failures="2" skipped="1" time="0.01">
 *
 * Only this root element is read: it sums up all files, crashed ones included.
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
