/** limitedStatus(): what a crowd of clients makes the agent say. */
import { expect, test } from "bun:test";
import {
  limitedStatus,
  STATUS_LINES_MAX,
  STATUS_LINES_PER_SECOND,
} from "../../agent-guest/status_limit.ts";
import { range } from "./support/numbers.ts";

test("limitedStatus() passes on so many texts at once, then some a second, and counts the others", () => {
  const said: string[] = [];
  let nowMs = 5000;
  const status = limitedStatus(
    (text) => said.push(text),
    () => nowMs,
  );
  const texts = range(STATUS_LINES_MAX).map((i) => `text ${i}`);
  texts.forEach(status);
  expect(said).toEqual(texts);
  status("too many");
  status("too many");
  expect(said).toEqual(texts);
  nowMs += 2000 / STATUS_LINES_PER_SECOND;
  for (const text of ["again", "and again", "too many"]) status(text);
  expect(said.slice(texts.length)).toEqual(["again (and 2 more before it)", "and again"]);
  said.length = 0;
  nowMs += 1_000_000;
  texts.forEach(status);
  expect(said.length).toBe(texts.length);
  expect(said[0]).toBe("text 0 (and 1 more before it)");
});
