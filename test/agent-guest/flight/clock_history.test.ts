/** ClockHistory: readings of all the past in bounded memory. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { ClockHistory, READINGS_MAX } from "../../../agent-guest/flight/clock_history.ts";
import type { ClockSample } from "../../../shared/wire/gen/vmspan/v1/channel.ts";

function reading(tsc: bigint): ClockSample {
  return { cpu: 0, epoch: 0, conversion: undefined, realtimeNs: tsc, realtimeTsc: tsc };
}

/** One reading every `step`, `count` times. */
function historyOf(count: number, step: bigint): ClockHistory {
  const history = new ClockHistory();
  for (let i = 1; i <= count; i++) history.add(reading(BigInt(i) * step));
  return history;
}

describe("ClockHistory", () => {
  test("keeps all readings while there are few", () => {
    const { readings } = historyOf(READINGS_MAX, 10n);
    expect(readings.map(({ realtimeTsc }) => realtimeTsc)).toEqual(
      Array.from({ length: READINGS_MAX }, (_, i) => BigInt(i + 1) * 10n),
    );
  });

  test("since() gives what is newer", () => {
    expect(historyOf(9, 10n).since(70n)).toMatchObject([
      { realtimeTsc: 80n },
      { realtimeTsc: 90n },
    ]);
  });

  test("keeps the first, and the newest in full, however long it goes on", () => {
    const { readings } = historyOf(100_000, 30_000_000_000n);
    expect(readings).toHaveLength(READINGS_MAX);
    expect(readings[0]!.realtimeTsc).toBe(30_000_000_000n);
    const newest = readings.slice(-30).map(({ realtimeTsc }) => realtimeTsc / 30_000_000_000n);
    expect(newest).toEqual(Array.from({ length: 30 }, (_, i) => BigInt(100_000 - 29 + i)));
  });

  test("is spread over the past: no gap is longer than what lies behind it", () => {
    const counts = fc.integer({ min: 100, max: 5_000 });
    fc.assert(
      fc.property(counts, (count) => {
        const times = historyOf(count, 1n).readings.map(({ realtimeTsc }) => Number(realtimeTsc));
        const now = times.at(-1)!;
        for (let i = 1; i < times.length; i++) {
          const gap = times[i]! - times[i - 1]!;
          // In units of the pause: doubling it each time would need 12 readings for 5,000.
          expect(gap).toBeLessThanOrEqual(Math.max(1, (now - times[i]!) * 0.5));
        }
      }),
      { numRuns: 50 },
    );
  });
});
