/** What was delivered and is not shown, as text and as JSON. */
import { expect, test } from "bun:test";
import {
  type FilteredRow,
  writeFiltered,
  writeFilteredJson,
} from "../../../agent-host/report/filtered.ts";
import { textOf } from "./lines.ts";

const ROWS: readonly FilteredRow[] = [
  { machine: "guest 1", event: undefined, events: 900 },
  { machine: "host", event: "sched:sched\x1b", events: 88000 },
];

test("writeFiltered() names the events, the most first, and what nobody asked for", () => {
  expect(textOf((out) => writeFiltered(out, ROWS))).toBe(
    "filtered here: 88900 of the events delivered (host sched:sched\\x1b 88000, guest 1 others 900)\n",
  );
  const many = Array.from({ length: 9 }, (_, i) => ({ ...ROWS[1]!, event: "e", events: i + 1 }));
  expect(textOf((out) => writeFiltered(out, many))).toEndWith("host e 2, ...)\n");
  expect(textOf((out) => writeFiltered(out, []))).toBe("");
});

test("writeFilteredJson() writes a line for each", () => {
  const lines = textOf((out) => writeFilteredJson(out, ROWS))
    .trimEnd()
    .split("\n");
  expect(lines.map((line) => JSON.parse(line))).toEqual([
    { type: "filtered", machine: "guest 1", event: null, events: 900 },
    { type: "filtered", machine: "host", event: "sched:sched\x1b", events: 88000 },
  ]);
});
