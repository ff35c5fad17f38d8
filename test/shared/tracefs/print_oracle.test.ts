// Every tracepoint of the running kernel on records made up for it: our text is compared with that
// of the system's libtraceevent.

import { describe, expect, test } from "bun:test";
import { Tracefs, TracefsError } from "../../../shared/tracefs/tracefs.ts";
import { compareMadeUp, countRendered, type FormatText } from "./support/made_up.ts";
import { oracleProblem } from "./support/oracle.ts";

function openTracefs(): Tracefs | string {
  try {
    const tracefs = Tracefs.open();
    return tracefs.systems().length > 0 ? tracefs : "tracefs lists no events here";
  } catch (error) {
    if (error instanceof TracefsError) return error.message;
    throw error;
  }
}

const tracefs = openTracefs();
const problem = typeof tracefs === "string" ? tracefs : "";
if (problem !== "") console.log(`skipped: ${problem}`);

describe.skipIf(problem !== "")("compilePrintFormat() on the running kernel", () => {
  const events: FormatText[] = [];
  if (typeof tracefs !== "string") {
    for (const { system, name } of tracefs.find("*:*")) {
      if (!tracefs.has(system, name)) continue;
      events.push({ system, name, text: tracefs.formatText(system, name) });
    }
  }

  test("compiles every tracepoint's print format", () => {
    expect(countRendered("this kernel", events).unrendered).toEqual([]);
  });

  const oracle = problem === "" ? oracleProblem() : problem;
  if (oracle !== "") console.log(`skipped: ${oracle}`);
  test.skipIf(oracle !== "")(
    "prints made-up records as libtraceevent does",
    () => {
      const comparison = compareMadeUp(events);
      comparison.report("libtraceevent on made-up records");
      expect(comparison.equal / comparison.compared).toBeGreaterThan(0.95);
      // Other kernels have other formats: there a few new differences are news and not a failure.
      expect(comparison.unexplained.length).toBeLessThanOrEqual(comparison.compared / 200);
    },
    60_000,
  );
});
