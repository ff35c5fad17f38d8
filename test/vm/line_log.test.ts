/** Output as lines: awaiting them, quoting them. */
import { describe, expect, test } from "bun:test";
import { DeadlineError } from "./deadline.ts";
import { LineLog } from "./line_log.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);

describe("waitForLine()", () => {
  test("finds a line that came before", async () => {
    const log = new LineLog("console");
    log.append(bytes("one\r\ntwo\r\n"));
    expect(await log.waitForLine(/^two$/, 1_000)).toBe("two");
  });

  test("resolves with a line that comes in pieces", async () => {
    const log = new LineLog("console");
    const line = log.waitForLine(/ready/, 1_000);
    log.append(bytes("rea"));
    log.append(bytes("dy now\n"));
    expect(await line).toBe("ready now");
  });

  test("gives up at the deadline and says what it waited for", async () => {
    const log = new LineLog("console");
    const failure = log.waitForLine(/never/, 10);
    await expect(failure).rejects.toBeInstanceOf(DeadlineError);
    await expect(failure).rejects.toThrow("/never/ in the console");
  });

  test("fails at once when the output ends", async () => {
    const log = new LineLog("console");
    const failure = log.waitForLine(/never/, 10_000);
    log.end(new Error("QEMU ended"));
    await expect(failure).rejects.toThrow("QEMU ended");
  });
});

test("tail() shows an unfinished line and escapes control characters", () => {
  const log = new LineLog("console");
  log.append(bytes("first\nsecond \x1b[31m\nthird"));
  expect(log.tail(2)).toBe("second \\x1b[31m\nthird");
});
