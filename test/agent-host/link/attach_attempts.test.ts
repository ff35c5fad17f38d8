/** How long a host waits before it attaches again. */
import { describe, expect, test } from "bun:test";
import {
  ATTACH_RETRY_MS,
  ATTACH_RETRY_MS_MAX,
  AttachAttempts,
} from "../../../agent-host/link/attach_attempts.ts";

/** Pauses before the attempts that follow the first, given what has come by each of them. */
function pausesOf(bytesRead: readonly number[]): number[] {
  const attempts = new AttachAttempts();
  let nowMs = 0;
  return bytesRead.map((bytes) => {
    attempts.note(nowMs, bytes);
    const fromMs = nowMs;
    while (!attempts.isDue(nowMs)) nowMs += 100;
    return nowMs - fromMs;
  });
}

describe("AttachAttempts", () => {
  test("isDue() at once for the first attempt", () => {
    expect(new AttachAttempts().isDue(0)).toBe(true);
  });

  test("note() keeps the pause while nothing comes", () => {
    expect(pausesOf([0, 0, 0])).toEqual([ATTACH_RETRY_MS, ATTACH_RETRY_MS, ATTACH_RETRY_MS]);
  });

  test("note() doubles the pause while something comes, up to a limit", () => {
    const pauses = pausesOf([0, 10, 20, 30, 40, 50, 60]);
    expect(pauses.slice(0, 4)).toEqual([1, 2, 4, 8].map((times) => times * ATTACH_RETRY_MS));
    expect(pauses.slice(4)).toEqual([16, 16, 16].map((times) => times * ATTACH_RETRY_MS));
    expect(Math.max(...pauses)).toBe(ATTACH_RETRY_MS_MAX);
  });

  test("note() goes back to the short pause when nothing has come since", () => {
    expect(pausesOf([0, 10, 20, 20, 30])).toEqual([1000, 2000, 4000, 1000, 2000]);
  });
});
