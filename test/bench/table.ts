/**
 * The table that `make bench` ends with:
 *
 *   what                                   value      beside                 target      verdict
 *   guest, full speed, CPU per event
 *     file                                 38.1 ns    floor 27.0 (x 1.41)    <= x 1.5    ok
 */

export interface Row {
  readonly group: string;
  readonly name: string;
  readonly value: string;
  /** What it is compared with, or what explains it. */
  readonly beside: string;
  /** Empty for a row without a target. */
  readonly target: string;
  /** Undefined when it was not measured, or has no target. */
  readonly isMet: boolean | undefined;
}

const TITLES = ["what", "value", "beside", "target", "verdict"] as const;

function verdictOf(row: Row): string {
  if (row.target === "") return "";
  if (row.isMet === undefined) return "not measured";
  return row.isMet ? "ok" : "MISSED";
}

/** The table as text, columns as wide as they need to be. */
export function renderTable(rows: readonly Row[]): string {
  const lines: (readonly string[])[] = [TITLES];
  let group = "";
  for (const row of rows) {
    if (row.group !== group) lines.push([row.group, "", "", "", ""]);
    group = row.group;
    lines.push([`  ${row.name}`, row.value, row.beside, row.target, verdictOf(row)]);
  }
  const widths = TITLES.map((_, column) => Math.max(...lines.map((line) => line[column]!.length)));
  return lines
    .map((line) => {
      return line
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd();
    })
    .join("\n");
}

/** "12 of 14 targets met, 1 not measured" */
export function summarize(rows: readonly Row[]): string {
  const withTarget = rows.filter((row) => row.target !== "");
  const met = withTarget.filter((row) => row.isMet === true).length;
  const unmeasured = withTarget.filter((row) => row.isMet === undefined).length;
  const tail = unmeasured === 0 ? "" : `, ${unmeasured} not measured`;
  return `${met} of ${withTarget.length} targets met${tail}`;
}
