// perNight(): which of a test's two forms runs.
import { describe, expect, test } from "bun:test";
import { NIGHTLY, perNight } from "./nightly.ts";

describe("perNight()", () => {
  test("perNight() gives the long form exactly when VMSPAN_NIGHTLY is 1", () => {
    expect(NIGHTLY).toBe(process.env.VMSPAN_NIGHTLY === "1");
    expect(perNight(3, 1000)).toBe(NIGHTLY ? 1000 : 3);
  });
});
