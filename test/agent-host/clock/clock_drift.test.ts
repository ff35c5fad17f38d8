/** The drift between two perf clocks holds whatever the true frequencies and rate may be. */
import { describe, expect, test } from "bun:test";
import * as fc from "fast-check";
import { clockDrift } from "../../../agent-host/clock/clock_drift.ts";

/** 1e-15 of rounding, in ppb. */
const ROUNDING_PPB = 1e-5;

describe("clockDrift()", () => {
  test("is the guest's gain, with the errors of all three", () => {
    const host = { hz: 2e9, errorHz: 2 };
    const guest = { hz: 1e9, errorHz: 3 };
    const drift = clockDrift(host, guest, { rate: 0.5 * (1 + 1e-6), rateErrorPpb: 2 })!;
    expect(drift.ppb).toBeCloseTo(1000, 3);
    expect(drift.errorPpb).toBeCloseTo(1 + 3 + 2, 3);
  });

  test("holds the truth wherever it is in the intervals, however wide they are", () => {
    const share = fc.double({ min: -1, max: 1, noNaN: true });
    const error = fc.double({ min: 0, max: 0.5, noNaN: true });
    const measured = fc.tuple(share, error);
    fc.assert(
      fc.property(measured, measured, measured, ([h, dh], [g, dg], [r, dr]) => {
        const host = { hz: 3e9, errorHz: 3e9 * dh };
        const guest = { hz: 2e9, errorHz: 2e9 * dg };
        const { ppb, errorPpb } = clockDrift(host, guest, { rate: 0.7, rateErrorPpb: dr * 1e9 })!;
        const truth = (0.7 * (1 + r * dr) * 3e9 * (1 + h * dh)) / (2e9 * (1 + g * dg));
        expect(Math.abs((truth - 1) * 1e9 - ppb)).toBeLessThanOrEqual(errorPpb + ROUNDING_PPB);
      }),
    );
  });

  test("is unknown while an interval is open", () => {
    const known = { hz: 1e9, errorHz: 1 };
    const open = { hz: 5e9, errorHz: 5e9 };
    const rate = { rate: 1, rateErrorPpb: 1 };
    expect(clockDrift(open, known, rate)).toBeUndefined();
    expect(clockDrift(known, open, rate)).toBeUndefined();
    expect(clockDrift(known, known, { rate: 1, rateErrorPpb: 1e9 })).toBeUndefined();
    expect(clockDrift(known, { hz: Number.NaN, errorHz: 1 }, rate)).toBeUndefined();
  });
});
