/**
 * Filters that a guest says its kernel refused, of any text: the host runs them on the guest's
 * records, or says that the guest is at fault. Nothing else is thrown, and nothing that the guest
 * chose reaches the terminal as it is.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import * as fc from "fast-check";
import { Source, SourceError } from "../../../agent-host/link/source.ts";
import { Guest } from "../../../agent-host/session/guest.ts";
import { Session } from "../../../agent-host/session/session.ts";
import { USER_FILTER_CHARS_MAX } from "../../../shared/event/filter_error.ts";
import { parseEventSpecs } from "../../../shared/event/spec.ts";
import { perNight } from "../../nightly.ts";
import { Workspace } from "../../vm/workspace.ts";
import { FAKE_EVENT, fakeEvent, markerRecord, recording } from "../support/guest_stream.ts";

const RUNS = perNight(300, 20_000);
const RECORDS = 50;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

interface Outcome {
  readonly said: string;
  readonly passed: number;
  readonly rejected: number;
}

/** Reads a recording of RECORDS records, values 0 to 49, whose guest left `filter` to the host. */
function run(filter: string, reason?: string): Outcome {
  const records = Array.from({ length: RECORDS }, (_, i) => markerRecord(1000 + i, i)).flat();
  const refusal = {
    refusedFilter: filter,
    ...(reason === undefined ? {} : { refusedReason: reason }),
  };
  const { writer: _, ...stream } = recording([records], { events: [fakeEvent(refusal)] });
  const path = workspace.file("fuzz.vms");
  writeFileSync(path, stream.bytes);
  const session = new Session(undefined);
  let passed = 0;
  session.sink = (chunk, from, to) => {
    for (let i = from; i < to; i++) if (chunk.event[i] === 0) passed++;
  };
  const said: string[] = [];
  const source = new Source({ kind: "file", name: path, path });
  const wanted = [{ stage: 0, spec: parseEventSpecs(FAKE_EVENT)[0]! }];
  const options = {
    ...{ ringBytes: 4096, callChains: false, key: undefined, agentVersion: "test" },
    onStatus: (text: string) => void said.push(text),
  };
  const guest = new Guest(session, 1, source, wanted, undefined, options);
  try {
    while (!guest.hasEnded) {
      guest.link.receive(0);
      guest.settle();
      session.merger.release();
    }
    session.merger.flush();
  } finally {
    guest.close();
  }
  const rejected = session.events.filtered.reduce((sum, each) => sum + each.rejected, 0);
  return { said: said.join("\n"), passed, rejected: rejected + session.events.skipped };
}

test("a filter of the guest's is run, and what it keeps out is counted", () => {
  expect(run("value%10==3")).toMatchObject({ passed: 5, rejected: 45 });
  expect(run('text=="hello" && comm_get(_pid)=="<...>"')).toMatchObject({ passed: RECORDS });
  expect(run("1/(value-value)")).toMatchObject({ passed: 0, rejected: RECORDS });
});

const NUMBERS = ["value", "common_pid", "_cpu", "0", "1", "-9", "0xffffffffffffffff"];
const COMPARISONS = ["==", "!=", "<", ">="];
const ARITHMETIC = ["&", "|", "^", "<<", ">>", "+", "-", "*", "/", "%"];
const PIECES = [
  ...NUMBERS,
  ...COMPARISONS,
  ...ARITHMETIC,
  ...["text", "_vcpu", "nofield", '"a*"', "'x'", "~", "&&", "||", "!", "?", ":", ","],
  ...["(", ")", "[", "]", "(int)", "(char*)", "sizeof(", "strncmp(", "=", "++"],
  ...["ksymbol(", "comm_get(", "printf(", "syscall_name(", "exit_reason_str("],
  ...["({", "})", "\x1b[2J"],
];
/** Filters that compile; of pieces in any order few do, in some runs of 300 none. */
const soundFilters = fc
  .tuple(
    fc.constantFrom(...NUMBERS),
    fc.array(fc.tuple(fc.constantFrom(...ARITHMETIC), fc.constantFrom(...NUMBERS)), {
      maxLength: 4,
    }),
    fc.constantFrom(...COMPARISONS),
    fc.constantFrom(...NUMBERS),
  )
  .map(([first, rest, comparison, last]) => `${first}${rest.flat().join("")}${comparison}${last}`);
const filters = fc.oneof(
  soundFilters,
  fc
    .array(fc.constantFrom(...PIECES), { minLength: 1, maxLength: 24 })
    .map((list) => list.join(" ")),
  fc.string({ unit: "binary", minLength: 1, maxLength: 40 }),
  fc.nat(2 * USER_FILTER_CHARS_MAX).map((length) => "(".repeat(length + 1)),
);

test("any filter and any reason: records are judged, or the guest is told apart", () => {
  let ran = 0;
  fc.assert(
    fc.property(filters, fc.option(fc.string({ unit: "binary" })), (filter, reason) => {
      let outcome: Outcome;
      try {
        outcome = run(filter, reason ?? undefined);
      } catch (error) {
        if (!(error instanceof SourceError)) throw error;
        return;
      }
      ran++;
      expect(outcome.passed + outcome.rejected).toBe(RECORDS);
      expect(outcome.said).toMatch(/^[ -~\n]*$/);
    }),
    { numRuns: RUNS },
  );
  expect(ran).toBeGreaterThan(RUNS / 10);
});
