/**
 * Whether the long forms of tests run: an hour of load instead of half a minute, 10 million mutated
 * inputs instead of 20,000. `make nightly` says so:
 *
 *   VMSPAN_NIGHTLY=1 bun test/run.ts
 */

export const NIGHTLY = process.env.VMSPAN_NIGHTLY === "1";

/** What a test does by default, and what it does at night: `perNight(20, 1000)` kills. */
export function perNight(usual: number, nightly: number): number {
  return NIGHTLY ? nightly : usual;
}
