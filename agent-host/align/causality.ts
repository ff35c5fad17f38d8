/**
 * Causality as a running check of the clocks: an effect stamped before its cause by more than the
 * bound proves the alignment (or the pairing) wrong.
 *
 *   cause  ------------x---------->        effect - cause = -5 us
 *   effect ------o---------------->        bound 3 us: violated;  bound 30 us: nothing learned
 */

/** Counts pairs by what their order says; for hot paths, allocates nothing. */
export class CausalityCounter {
  /** Pairs looked at. */
  pairCount = 0;
  /** Effects before their causes, all of them. */
  reversedCount = 0;
  /** ... by more than the bound: each one is a contradiction. */
  violationCount = 0;
  /** The largest reversal beyond its bound, in cycles. */
  excessCyclesMax = 0;

  /** Stamps in canonical cycles; the bound is that of their difference. True if contradictory. */
  check(causeCycles: number, effectCycles: number, boundCycles: number): boolean {
    this.pairCount++;
    const latency = effectCycles - causeCycles;
    if (latency >= 0) return false;
    this.reversedCount++;
    const excess = -latency - boundCycles;
    if (excess <= 0) return false;
    this.violationCount++;
    if (excess > this.excessCyclesMax) this.excessCyclesMax = excess;
    return true;
  }
}
