/** When a channel's clock has settled, by hand-made states. */
import { describe, expect, test } from "bun:test";
import { SETTLE_MS, Settling } from "../../../agent-host/clock/settling.ts";

const ready = (boundCycles: number, method = "ping") => ({ method, isReady: true, boundCycles });
const unknown = { method: "ping", isReady: false, boundCycles: Infinity };

/** Notes `state` every 20 ms from `fromMs` for `forMs`; gives when it settled first. */
function run(
  settling: Settling,
  fromMs: number,
  forMs: number,
  state: (ms: number) => typeof unknown,
) {
  let settledMs: number | undefined;
  for (let ms = 0; ms < forMs; ms += 20) {
    settling.note(state(ms), fromMs + ms);
    if (settling.isSettled) settledMs ??= ms;
  }
  return settledMs;
}

describe("Settling", () => {
  test("a constant bound settles after SETTLE_MS, from when it was known", () => {
    const settling = new Settling();
    expect(run(settling, 0, 5000, () => unknown)).toBeUndefined();
    expect(run(settling, 5000, 5000, () => ready(100))).toBe(SETTLE_MS);
  });

  test("a bound of 0 settles, and an unknown one never does", () => {
    expect(run(new Settling(), 0, 5000, () => ready(0, "manual"))).toBe(SETTLE_MS);
    expect(run(new Settling(), 0, 60_000, () => unknown)).toBeUndefined();
  });

  test("a bound that still shrinks does not settle until it stands", () => {
    const shrinking = (ms: number) => ready(1e6 * 0.5 ** (Math.min(ms, 8000) / SETTLE_MS));
    const settledMs = run(new Settling(), 0, 60_000, shrinking);
    expect(settledMs).toBeGreaterThanOrEqual(8000);
    expect(settledMs).toBeLessThanOrEqual(8000 + 2 * SETTLE_MS + 40);
  });

  test("another method begins anew", () => {
    const settling = new Settling();
    run(settling, 0, 3000, () => ready(100));
    expect(settling.isSettled).toBe(true);
    settling.note(ready(50, "emulator"), 3000);
    expect(settling.isSettled).toBe(false);
    expect(run(settling, 3020, 3000, () => ready(50, "emulator"))).toBe(SETTLE_MS - 20);
  });

  test("a clock that is lost, as by a step, begins anew", () => {
    const settling = new Settling();
    run(settling, 0, 3000, () => ready(100));
    settling.note(unknown, 3000);
    expect(settling.isSettled).toBe(false);
    expect(run(settling, 3020, 1000, () => ready(100))).toBeUndefined();
  });

  test("once settled it stays so while the bound improves", () => {
    const settling = new Settling();
    run(settling, 0, 3000, () => ready(100));
    run(settling, 3000, 5000, (ms) => ready(100 - ms / 100));
    expect(settling.isSettled).toBe(true);
  });
});
