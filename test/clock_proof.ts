/**
 * The verdict of a test that holds the clock against a known truth, as one line of `make test`:
 *
 *   clock proof kvm offsets: 12000 readings, 12000 inside, bound reached 0.4 ns
 */
import { expect } from "bun:test";

/** What a proof found; count() each reading, then report() once. */
export class ClockProof {
  readings = 0;
  inside = 0;
  /** The narrowest bound that any reading had: what the method can do. */
  boundNsMin = Infinity;
  /** The least distance of a truth from leaving its bound, over the bound: below 0 is a breach. */
  #marginMin = Infinity;
  readonly #name: string;

  constructor(name: string) {
    this.#name = name;
  }

  /** A reading whose true value lies between `low` and `high`, and what was claimed of it. */
  count(claimed: number, bound: number, low: number, high: number, nsPerUnit: number): void {
    this.readings++;
    const outside = Math.max(low - (claimed + bound), claimed - bound - high);
    if (outside <= 0) this.inside++;
    this.#marginMin = Math.min(this.#marginMin, -outside);
    this.boundNsMin = Math.min(this.boundNsMin, bound * nsPerUnit);
  }

  /** Prints the line, and fails unless there were enough readings and all lay inside. */
  report(readingsMin: number, unit = "cycles"): void {
    const { readings, inside, boundNsMin } = this;
    console.log(
      `clock proof ${this.#name}: ${readings} readings, ${inside} inside, ` +
        `bound reached ${boundNsMin.toFixed(1)} ns`,
    );
    const worst = `nearest to its bound by ${this.#marginMin.toFixed(1)} ${unit}`;
    expect({ readings, inside, worst }).toEqual({ readings, inside: readings, worst });
    expect(readings).toBeGreaterThanOrEqual(readingsMin);
  }
}
