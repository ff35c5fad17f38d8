/** Where pictures of clock may be drawn over each other. */
import { expect, test } from "bun:test";
import { canRedraw } from "../../../agent-host/clock/clock_screen.ts";

test("canRedraw() is for terminals that say what they are", () => {
  const terms = ["xterm-256color", "linux", "dumb", "", undefined];
  expect(terms.map(canRedraw)).toEqual([true, true, false, false, false]);
});
