// TimeScale: canonical cycles as seconds and microseconds of a clock with a large origin.
//
//   186430.038050     anchor 186430 s + 15,220,000 cycles at 0.4 ns
//
// The anchor (time of day in ns, a guest's TSC) passes 2^53; it is split once, in BigInt, into
// whole seconds and a rest, and only the rest meets the cycles in a double. Nothing is allocated
// per time.

/** Units of the clock per second: ns, or cycles when --tsc shows cycles / 1e9. */
const UNITS_PER_SECOND = 1_000_000_000n;
/** Beyond 2^53 from the anchor nothing is exact any more: false stamps, shown at the limit. */
const CYCLES_MAX = Number.MAX_SAFE_INTEGER;

/** A clock that is further off than this has been set: times jump with it. */
const SLEWED_UNITS_MAX = 100_000_000;

/** One clock to show times in. */
export class TimeScale {
  /** Clock units per canonical cycle. */
  unitsPerCycle: number;
  /** Set by set(): whole seconds, and microseconds 0 to 999999. */
  seconds = 0;
  micros = 0;
  readonly #anchorSeconds: number;
  #anchorUnits: number;

  /** `anchor` is what the clock shows at cycle 0. Throws RangeError unless unitsPerCycle is > 0. */
  constructor(anchor: bigint, unitsPerCycle: number) {
    if (!(unitsPerCycle > 0 && unitsPerCycle < Number.POSITIVE_INFINITY)) {
      throw new RangeError(`Cannot show times: ${unitsPerCycle} units per cycle, wanted > 0`);
    }
    this.unitsPerCycle = unitsPerCycle;
    const units = ((anchor % UNITS_PER_SECOND) + UNITS_PER_SECOND) % UNITS_PER_SECOND;
    this.#anchorUnits = Number(units);
    this.#anchorSeconds = Number((anchor - units) / UNITS_PER_SECOND);
  }

  /**
   * At `cycles` the clock showed `units`, and runs at `unitsPerCycle`. Times from there on come up
   * with it within `spanCycles`, and never go back; a clock that was set is followed at once.
   */
  follow(cycles: number, units: bigint, unitsPerCycle: number, spanCycles: number): void {
    const shown = this.#anchorUnits + cycles * this.unitsPerCycle;
    const behind = Number(units - BigInt(this.#anchorSeconds) * UNITS_PER_SECOND) - shown;
    const isSet = Math.abs(behind) > SLEWED_UNITS_MAX;
    const catchUp = isSet ? 0 : behind / spanCycles;
    this.unitsPerCycle = Math.max(unitsPerCycle + catchUp, unitsPerCycle / 2);
    this.#anchorUnits = shown + (isSet ? behind : 0) - cycles * this.unitsPerCycle;
  }

  /** Computes seconds and micros; a fraction of a microsecond is rounded, or cut off. */
  set(cycles: number, isRounded: boolean): void {
    const near = Math.max(-CYCLES_MAX, Math.min(CYCLES_MAX, cycles));
    const units = this.#anchorUnits + near * this.unitsPerCycle;
    const micros = Math.floor(units / 1000 + (isRounded ? 0.5 : 0));
    const seconds = Math.floor(micros / 1_000_000);
    this.seconds = this.#anchorSeconds + seconds;
    this.micros = micros - seconds * 1_000_000;
  }

  /** The clock's value at a time, exact to a unit near the anchor. */
  exact(cycles: number): bigint {
    const units = BigInt(Math.round(this.#anchorUnits + cycles * this.unitsPerCycle));
    return BigInt(this.#anchorSeconds) * UNITS_PER_SECOND + units;
  }
}
