/** What --help says of options. */
import { describe, expect, test } from "bun:test";
import { collect } from "../../../shared/cli/option.ts";
import { newProgram } from "../../../shared/cli/program.ts";

describe("newProgram()", () => {
  const command = newProgram("agent", "Does things.")
    .command("run")
    .option("-e <EVENT>", "an event", collect, [])
    .option("-m <PAGES>", "pages", "256");

  test("shows defaults as they would be typed, and none for lists", () => {
    const lines = command.helpInformation().split("\n");
    expect(lines).toContain("  -m <PAGES>  pages (default: 256)");
    expect(lines).toContain("  -e <EVENT>  an event");
  });

  test("throws instead of ending the process", () => {
    expect(() => command.parse(["-x"], { from: "user" })).toThrow("unknown option '-x'");
  });
});
