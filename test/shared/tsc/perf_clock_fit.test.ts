/** The fitted perf clock on a simulated machine whose TSC is known. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { clocksourceOf } from "../../../shared/tsc/clocksource.ts";
import {
  FIT_READINGS_MIN,
  FittedPerfClock,
  nextReadingDelayMs,
} from "../../../shared/tsc/perf_clock_fit.ts";

/** A simulated machine: RAW = floor((tsc - start) * mult / 2^24) + offset, all in integers. */
class Machine {
  tsc: bigint;
  readonly #mult: bigint;
  readonly #start: bigint;
  offsetNs: bigint;

  constructor(startTsc: bigint, mult: bigint, offsetNs: bigint) {
    this.#start = startTsc;
    this.tsc = startTsc;
    this.#mult = mult;
    this.offsetNs = offsetNs;
  }

  nsAt(tsc: bigint): bigint {
    return (((tsc - this.#start) * this.#mult) >> 24n) + this.offsetNs;
  }

  /** Reads the clock `before` cycles after one TSC reading and `after` cycles before the next. */
  bracket(before: bigint, after: bigint) {
    const tscBefore = this.tsc;
    this.tsc += before;
    const ns = this.nsAt(this.tsc);
    this.tsc += after;
    return { tscBefore, ns, tscAfter: this.tsc };
  }
}

const machine = fc.record({
  start: fc.bigInt({ min: 0n, max: 1n << 62n }),
  // ns per cycle from 0.2 to 2, in 1/2^24.
  mult: fc.bigInt({ min: 3_355_443n, max: 33_554_432n }),
  offset: fc.bigInt({ min: 0n, max: 1n << 60n }),
});

const readings = fc.array(
  fc.record({
    pause: fc.bigInt({ min: 1_000n, max: 3_000_000_000n }),
    before: fc.bigInt({ min: 0n, max: 3_000n }),
    after: fc.bigInt({ min: 0n, max: 3_000n }),
    events: fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 4 }),
  }),
  { minLength: 3, maxLength: 80 },
);

describe("FittedPerfClock", () => {
  test("every event lies within its bound, whatever the rate, delays and pauses", () => {
    fc.assert(
      fc.property(machine, readings, ({ start, mult, offset }, steps) => {
        const m = new Machine(start, mult, offset);
        const clock = new FittedPerfClock(start);
        for (const { pause, before, after, events } of steps) {
          expect(clock.add(m.bracket(before, after))).toBe("agreed");
          for (const part of events) {
            const at = m.tsc + BigInt(Math.floor(part * Number(pause)));
            const { cycles, boundCycles } = clock.map.convert(m.nsAt(at));
            expect(Math.abs(cycles - Number(at - start))).toBeLessThanOrEqual(boundCycles);
          }
          m.tsc += pause;
        }
        expect(clock.epoch).toBe(0);
        expect(clock.noiseCycles).toBe(0);
      }),
      { numRuns: 300 },
    );
  });

  test("bound and frequency settle as the brackets allow", () => {
    const m = new Machine(7_000_000_000_000_000n, 6_213_783n, 555n);
    const clock = new FittedPerfClock(m.tsc);
    expect(clock.boundCycles).toBe(Infinity);
    expect(clock.frequency).toBeUndefined();
    for (let i = 0; i < 60; i++) {
      clock.add(m.bracket(70n, 50n));
      m.tsc += BigInt(nextReadingDelayMs(i + 1)) * 2_700_000n;
    }
    // Half a bracket, half a granule of 2.7 cycles and what the slope leaves over two seconds.
    expect(clock.boundCycles).toBeLessThan(75);
    const { hz, errorHz } = clock.frequency!;
    const trueHz = (1e9 * 2 ** 24) / 6_213_783;
    expect(Math.abs(hz - trueHz)).toBeLessThanOrEqual(errorHz);
    expect(errorHz / hz).toBeLessThan(3e-9);
  });

  test("a clock page that is updated by 300 ns is noise: the bound widens, no epoch", () => {
    const m = new Machine(0n, 6_213_783n, 0n);
    const clock = new FittedPerfClock(0n);
    for (let i = 0; i < 20; i++) {
      clock.add(m.bracket(60n, 60n));
      m.tsc += 2_700_000_000n;
    }
    m.offsetNs += 300n;
    expect(clock.add(m.bracket(60n, 60n))).toBe("widened");
    const at = m.tsc + 1_000_000n;
    const { cycles, boundCycles } = clock.map.convert(m.nsAt(at));
    expect(Math.abs(cycles - Number(at))).toBeLessThanOrEqual(boundCycles);
    expect(boundCycles).toBeGreaterThan(300);
    expect([clock.epoch, clock.noiseCycles > 300]).toEqual([0, true]);
  });

  test("a TSC that jumps within brackets is off its line by no more than the bound", () => {
    fc.assert(
      fc.property(
        machine,
        fc.array(
          fc.oneof(
            { weight: 20, arbitrary: fc.constant(0n) },
            { weight: 1, arbitrary: fc.bigInt({ min: 0n, max: 1_900n }) },
          ),
          { minLength: 4, maxLength: 60 },
        ),
        fc.constantFrom("kvm-clock", "hpet", "acpi_pm", "made-up"),
        ({ start, mult, offset }, jumps, name) => {
          const m = new Machine(start, mult, offset);
          const clock = new FittedPerfClock(start, clocksourceOf(name));
          let moved = 0n;
          for (const jump of jumps) {
            const { tscBefore, ns, tscAfter } = m.bracket(1_000n, 1_000n);
            // What the guest reads of its TSC is the machine's and what that was moved on.
            const before = tscBefore + moved;
            const at = m.tsc - 1_000n + moved;
            moved += jump;
            clock.add({ tscBefore: before, ns, tscAfter: tscAfter + moved });
            const { cycles, boundCycles } = clock.map.convert(ns);
            expect(Math.abs(cycles - Number(at - start))).toBeLessThanOrEqual(boundCycles);
            m.tsc += 2_700_000n;
          }
        },
      ),
      { numRuns: 200 },
    );
  });

  test("where the clocksource is not the TSC, the bound has the width of a bracket", () => {
    const bounds = ["tsc", "kvm-clock"].map((name) => {
      const m = new Machine(0n, 6_213_783n, 0n);
      const clock = new FittedPerfClock(0n, clocksourceOf(name));
      for (let i = 0; i < 60; i++) {
        // One that was disturbed does not count.
        clock.add(m.bracket(60n, i === 50 ? 900_000n : 60n));
        m.tsc += BigInt(nextReadingDelayMs(i + 1)) * 2_700_000n;
      }
      return clock.boundCycles;
    });
    expect(bounds[1]! - bounds[0]!).toBeGreaterThanOrEqual(120);
    expect(bounds[1]! - bounds[0]!).toBeLessThan(160);
  });

  test("the first fit that is used serves for times before its readings", () => {
    const m = new Machine(0n, 6_213_783n, 0n);
    const clock = new FittedPerfClock(0n);
    const past = m.tsc;
    m.tsc += 2_700_000_000n;
    for (let i = 0; i < FIT_READINGS_MIN; i++) {
      clock.add(m.bracket(60n, 60n));
      m.tsc += 2_700_000n;
    }
    const { cycles, boundCycles } = clock.map.convert(m.nsAt(past));
    expect(Math.abs(cycles - Number(past))).toBeLessThanOrEqual(boundCycles);
    // 120 cycles in two milliseconds are 22 ppm; of the second before them 60,000 cycles.
    expect(boundCycles).toBeLessThan(120_000);
  });

  test("suspend of a millisecond is a step: new epoch, honest seam, then tight again", () => {
    const m = new Machine(0n, 6_213_783n, 0n);
    const clock = new FittedPerfClock(0n);
    for (let i = 0; i < 20; i++) {
      clock.add(m.bracket(60n, 60n));
      m.tsc += 2_700_000_000n;
    }
    const beforeStep = m.tsc - 2_000_000_000n;
    const nsBefore = m.nsAt(beforeStep);
    const inSeamTsc = m.tsc - 500_000_000n;
    m.offsetNs += 1_000_000n;
    const inSeamNs = m.nsAt(inSeamTsc);
    expect(clock.add(m.bracket(60n, 60n))).toBe("step");
    for (let i = 0; i < 20; i++) {
      m.tsc += 2_700_000_000n;
      expect(clock.add(m.bracket(60n, 60n))).toBe("agreed");
    }
    for (const [ns, tsc] of [
      [nsBefore, beforeStep],
      [inSeamNs, inSeamTsc],
      [m.nsAt(m.tsc), m.tsc],
    ] as const) {
      const { cycles, boundCycles } = clock.map.convert(ns);
      expect(Math.abs(cycles - Number(tsc))).toBeLessThanOrEqual(boundCycles);
    }
    expect(clock.epoch).toBe(1);
    expect(clock.boundCycles).toBeLessThan(100);
  });

  test("beginEpoch() separates readings that the sender says do not belong together", () => {
    const m = new Machine(0n, 6_213_783n, 0n);
    const clock = new FittedPerfClock(0n);
    clock.add(m.bracket(60n, 60n));
    m.tsc += 1_000_000n;
    clock.add(m.bracket(60n, 60n));
    const { frequency } = clock;
    clock.beginEpoch(m.nsAt(m.tsc));
    m.tsc += 1_000_000n;
    clock.add(m.bracket(60n, 60n));
    expect(clock.epoch).toBe(1);
    // One reading tells no rate: it stays what it was.
    expect(frequency?.hz).toBeGreaterThan(0);
    expect(clock.frequency).toBe(frequency);
    m.tsc += 10_000_000n;
    clock.add(m.bracket(60n, 60n));
    expect(clock.frequency!.errorHz).toBeLessThan(frequency!.errorHz);
  });

  test("readings that are no brackets are refused and counted", () => {
    const clock = new FittedPerfClock(0n);
    clock.add({ tscBefore: 10n, ns: 1n, tscAfter: 9n });
    clock.add({ tscBefore: 10n, ns: 1n, tscAfter: 1n << 40n });
    expect([clock.refusedCount, clock.readingCount]).toEqual([2, 0]);
  });

  test("nextReadingDelayMs() doubles up to a second", () => {
    expect([0, 1, 2, 3, 10, 11, 1000].map(nextReadingDelayMs)).toEqual([
      1, 1, 2, 4, 512, 1000, 1000,
    ]);
  });
});
