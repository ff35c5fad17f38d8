/** What a house rule found: printed as "shared/perf/ring.ts:12: 104 columns, wanted at most 100" */

export interface Finding {
  readonly path: string;
  readonly line: number;
  readonly message: string;
}

export function formatFinding(finding: Finding): string {
  return `${finding.path}:${finding.line}: ${finding.message}`;
}
