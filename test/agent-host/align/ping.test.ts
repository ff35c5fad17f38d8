/** Round trips of a simulated pair: truth within the bound, steps, hostile stamps. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import {
  guestToHostSegment,
  hostOfGuest,
  tscRelation,
} from "../../../agent-host/align/kvm_offset.ts";
import {
  offsetOfTrip,
  PINGS_READY_MIN,
  PingEstimator,
  pingDisagreement,
  RATE_EQUAL,
  type RoundTrip,
} from "../../../agent-host/align/ping.ts";
import { type GuestTsc, guestTsc, type HostTsc, hostTsc } from "../../../shared/tsc/tsc.ts";

/** A host and a guest in integers: guest = (host * num / den) + offset, rounded down. */
class Pair {
  now: bigint;
  offset: bigint;
  num: bigint;
  readonly den = 1_000_000_000n;

  constructor(start: bigint, offset: bigint, num: bigint) {
    this.now = start;
    this.offset = offset;
    this.num = num;
  }

  host(): HostTsc {
    return hostTsc(this.now);
  }

  guest(): GuestTsc {
    return guestTsc(BigInt.asUintN(64, (this.now * this.num) / this.den + this.offset));
  }

  trip(there: bigint, inside: bigint, back: bigint): RoundTrip {
    const hostSent = this.host();
    this.now += there;
    const guestReceived = this.guest();
    this.now += inside;
    const guestSent = this.guest();
    this.now += back;
    return { hostSent, guestReceived, guestSent, hostReceived: this.host() };
  }
}

const SECOND = 3_000_000_000n;
const delay = fc.bigInt({ min: 300n, max: 3_000_000n });
const steps = fc.array(
  fc.record({
    pause: fc.bigInt({ min: 1_000n, max: 2n * SECOND }),
    there: delay,
    inside: fc.bigInt({ min: 0n, max: 100_000n }),
    back: delay,
    event: fc.double({ min: 0, max: 1, noNaN: true }),
  }),
  { minLength: 2, maxLength: 80 },
);

/** Error of the map for an event now, and what it promised. */
function errorNow(estimator: PingEstimator, pair: Pair, anchor: bigint): [number, number] {
  const { cycles, boundCycles } = estimator.map.convert(pair.guest());
  return [Math.abs(cycles - Number(pair.now - anchor)), boundCycles];
}

describe("PingEstimator", () => {
  test.each([500_000_000n, 3_000_000_000n])(
    "what a trip was inside a guest of another rate is taken off in the host's cycles (%p)",
    (num) => {
      const pair = new Pair(0n, 0n, num);
      const estimator = new PingEstimator(pair.host());
      for (let i = 0; i < 100; i++) {
        estimator.add(pair.trip(90_000n, 150_000n, 180_000n));
        pair.now += SECOND / 10n;
      }
      expect(Math.abs(estimator.wireCyclesMin - 270_000)).toBeLessThan(20);
    },
  );

  test("the truth never leaves the bound: any offset, rate, unequal delays, pauses", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 1n << 62n }),
        fc.bigInt({ min: -(1n << 63n), max: 1n << 63n }),
        fc.oneof(
          fc.constant(1_000_000_000n),
          fc.bigInt({ min: 999_500_000n, max: 1_000_500_000n }),
          fc.bigInt({ min: 300_000_000n, max: 4_000_000_000n }),
        ),
        steps,
        (start, offset, num, script) => {
          const pair = new Pair(start, offset, num);
          const estimator = new PingEstimator(pair.host());
          for (const { pause, there, inside, back, event } of script) {
            expect(estimator.add(pair.trip(there, inside, back))).toBe("agreed");
            const ahead = BigInt(Math.floor(event * Number(pause)));
            pair.now += ahead;
            if (estimator.map.newest !== undefined) {
              const [error, bound] = errorNow(estimator, pair, start);
              // The guest rounds down: one of its cycles is up to four of the host's here.
              expect(error).toBeLessThanOrEqual(bound + 4);
            }
            pair.now += pause - ahead;
          }
          expect([estimator.epoch, estimator.refusedCount]).toEqual([0, 0]);
        },
      ),
      { numRuns: 300 },
    );
  });

  test("the bound after five seconds is half of the shortest way there and back", () => {
    const pair = new Pair(7n * SECOND, -5n * SECOND, 1_000_000_000n);
    const estimator = new PingEstimator(pair.host());
    let spent = 0;
    for (let i = 0n; spent < 5_000; i++) {
      // 30 us there and 60 us back at best, 90 us more by chance; 3 cycles per ns.
      estimator.add(pair.trip(90_000n + ((i * 7919n) % 97n) * 2_700n, 15_000n, 180_000n));
      const pauseMs = estimator.nextDelayMs();
      spent += pauseMs;
      pair.now += BigInt(pauseMs) * 3_000_000n;
    }
    expect(estimator.isReady).toBe(true);
    // Half of 270,000 cycles on the wire, and what the unknown rate adds over two seconds.
    expect(estimator.boundCycles).toBeGreaterThan(135_000);
    expect(estimator.boundCycles).toBeLessThan(2.5 * 135_000);
    expect(estimator.wireCyclesMin).toBeGreaterThanOrEqual(270_000);
    expect(estimator.wireCyclesMin).toBeLessThan(270_001);
    const { min, max } = estimator.rate;
    expect(min).toBeLessThanOrEqual(1);
    expect(max).toBeGreaterThanOrEqual(1);
    const known = new PingEstimator(hostTsc(0n), RATE_EQUAL);
    for (let i = 0; i < 10; i++) known.add(pair.trip(90_000n, 15_000n, 180_000n));
    expect(known.boundCycles).toBeCloseTo(135_000, 0);
    expect(Math.abs(Number(known.offset! - pair.offset))).toBeLessThanOrEqual(135_001);
  });

  /** Bursts of quick trips until the estimator is ready; the time from the first to the last. */
  function burstUntilReady(estimator: PingEstimator, pair: Pair): bigint {
    const first = pair.now;
    while (!estimator.isReady) {
      for (let i = 0; i < 10; i++) estimator.add(pair.trip(60_000n, 3_000n, 60_000n));
      pair.now += SECOND / 50n;
      expect(pair.now - first).toBeLessThan(3n * SECOND);
    }
    return pair.now - first;
  }

  /** Error and bound of an event that lies `ago` before now. */
  function errorAgo(estimator: PingEstimator, pair: Pair, ago: bigint): [number, number] {
    const then = new Pair(pair.now - ago, pair.offset, pair.num);
    const { cycles, boundCycles, targetAnchor } = estimator.map.convert(then.guest());
    return [Math.abs(cycles - Number(then.now - targetAnchor)), boundCycles];
  }

  test("isReady when trips span enough to bound what happened just before the first of them", () => {
    const pair = new Pair(1n << 40n, -7n * SECOND, 1_000_300_000n);
    const estimator = new PingEstimator(pair.host());
    // However long the first trip was held up: that is no span.
    estimator.add(pair.trip(SECOND, 3_000n, SECOND));
    expect(burstUntilReady(estimator, pair)).toBeGreaterThanOrEqual(SECOND / 10n);
    const [error, bound] = errorAgo(estimator, pair, SECOND / 2n);
    expect(error).toBeLessThanOrEqual(bound + 1);
    // A trip of 41 us says 20 us, over 0.1 s that is 400 ppm; 0.4 s before that: 160 us.
    expect(bound).toBeLessThan(3_000 * 250);
    const known = new PingEstimator(pair.host(), RATE_EQUAL);
    for (let i = 0; i < PINGS_READY_MIN; i++) known.add(pair.trip(60_000n, 3_000n, 60_000n));
    expect(known.isReady).toBe(true);
  });

  test("expectPast() has the rate measured for longer: minutes ago are bounded, too", () => {
    const pair = new Pair(1n << 40n, -7n * SECOND, 1_000_300_000n);
    const estimator = new PingEstimator(pair.host());
    estimator.expectPast();
    expect(burstUntilReady(estimator, pair)).toBeGreaterThanOrEqual((3n * SECOND) / 2n);
    const [error, bound] = errorAgo(estimator, pair, 60n * SECOND);
    expect(error).toBeLessThanOrEqual(bound + 1);
    // 40 us in 1.5 s are 27 ppm, of a minute 1.6 ms.
    expect(bound).toBeLessThan(3_000_000 * 2.5);
    // What is in use stays so.
    estimator.expectPast();
    expect(estimator.isReady).toBe(true);
  });

  test("a restored TSC begins a new epoch, the new line is bounded like the old", () => {
    for (const jump of [50_000_000n, -50_000_000n, 1n << 61n, -(1n << 61n)]) {
      const pair = new Pair(1n << 61n, 0n, 1_000_000_000n);
      const anchor = pair.now;
      const estimator = new PingEstimator(pair.host());
      for (let i = 0; i < 50; i++) {
        estimator.add(pair.trip(60_000n, 3_000n, 60_000n));
        pair.now += SECOND / 50n;
      }
      pair.offset += jump;
      expect(estimator.add(pair.trip(60_000n, 3_000n, 60_000n))).toBe("step");
      expect(estimator.isReady).toBe(false);
      for (let i = 0; i < PINGS_READY_MIN; i++) {
        pair.now += SECOND / 50n;
        expect(estimator.add(pair.trip(60_000n, 3_000n, 60_000n))).toBe("agreed");
      }
      expect(estimator.epoch).toBe(1);
      expect(estimator.isReady).toBe(true);
      const [error, bound] = errorNow(estimator, pair, anchor);
      expect(error).toBeLessThanOrEqual(bound);
    }
  });

  test("impossible trips are refused and counted, and change nothing", () => {
    const estimator = new PingEstimator(hostTsc(0n));
    const trip = (h1: bigint, g1: bigint, g2: bigint, h2: bigint): RoundTrip => ({
      hostSent: hostTsc(h1),
      guestReceived: guestTsc(g1),
      guestSent: guestTsc(g2),
      hostReceived: hostTsc(h2),
    });
    estimator.add(trip(10n, 5n, 4n, 20n));
    estimator.add(trip(20n, 5n, 6n, 10n));
    estimator.add(trip(0n, 5n, 6n, 1n << 50n));
    estimator.add(trip(0n, 0n, 1n << 50n, 9n));
    expect([estimator.refusedCount, estimator.pingCount]).toEqual([4, 0]);
    expect(estimator.offset).toBeUndefined();
    expect(estimator.isReady).toBe(false);
  });

  test("any stamps at all give a value or a refusal, never an exception", () => {
    const u64 = fc.bigInt({ min: 0n, max: (1n << 64n) - 1n });
    const trip = fc.record({
      hostSent: u64.map(hostTsc),
      guestReceived: u64.map(guestTsc),
      inside: fc.bigInt({ min: 0n, max: 1000n }),
      away: fc.bigInt({ min: 0n, max: 1_000_000n }),
    });
    fc.assert(
      fc.property(fc.array(trip, { maxLength: 20 }), (trips) => {
        const estimator = new PingEstimator(hostTsc(0n));
        for (const { hostSent, guestReceived, inside, away } of trips) {
          // The host's own stamps are sane: far from the anchor they cannot be.
          const sent = hostTsc(hostSent >> 14n);
          estimator.add({
            hostSent: sent,
            guestReceived,
            guestSent: guestTsc(BigInt.asUintN(64, guestReceived + inside)),
            hostReceived: hostTsc(sent + away),
          });
          expect(estimator.nextDelayMs()).toBeGreaterThan(0);
        }
      }),
      { numRuns: 500 },
    );
  });

  test("nextDelayMs() varies while quick, is steady later, quick again after a step", () => {
    const pair = new Pair(0n, 0n, 1_000_000_000n);
    const estimator = new PingEstimator(hostTsc(0n));
    const pauses = new Set<number>();
    for (let i = 0; i < 250; i++) {
      estimator.add(pair.trip(1000n, 10n, 1000n));
      pair.now += 60_000_000n;
      expect(estimator.burstPings).toBe(10);
      pauses.add(estimator.nextDelayMs());
    }
    expect(pauses.size).toBe(13);
    expect(Math.max(...pauses)).toBeLessThan(30);
    expect([estimator.nextDelayMs(), estimator.burstPings]).toEqual([500, 4]);
    pair.offset += 1n << 40n;
    estimator.add(pair.trip(1000n, 10n, 1000n));
    expect(estimator.burstPings).toBe(10);
    expect(estimator.nextDelayMs()).toBeLessThan(30);
  });
});

describe("offsetOfTrip()", () => {
  test("bounds the true offset by half of what the trip took on its way, also across 2^64", () => {
    for (const offset of [0n, -123_456n, -(1n << 52n) - 1025n, 1n << 60n]) {
      const found = offsetOfTrip(
        new Pair(1n << 52n, offset, 1_000_000_000n).trip(1000n, 50n, 2001n),
      );
      expect(found.boundCycles).toBe(1501);
      expect(found.offset - offset).toBe(-501n);
    }
  });
});

describe("pingDisagreement()", () => {
  const relation = tscRelation(-123_456n);
  const pair = new Pair(1n << 52n, -123_456n, 1_000_000_000n);
  const trip = pair.trip(1000n, 50n, 2000n);

  test("is 0 for the true relation, and for one that is off by less than the delays", () => {
    const anchor = hostTsc((1n << 52n) - 99n);
    for (const error of [0n, 1000n, -2000n]) {
      const near = tscRelation(relation.offset + error);
      expect(pingDisagreement(trip, guestToHostSegment(near, trip.guestReceived, anchor))).toBe(0);
    }
  });

  test("is the excess for a relation that one way of the trip refutes", () => {
    const anchor = trip.hostSent;
    for (const [error, excess] of [
      [1500n, 500],
      [-2500n, 500],
      [1n << 40n, 2 ** 40 - 1000],
    ] as const) {
      const wrong = tscRelation(relation.offset + error);
      const base = trip.guestReceived;
      expect(hostOfGuest(wrong, base) as bigint).toBe(BigInt(trip.hostSent) + 1000n - error);
      const found = pingDisagreement(trip, guestToHostSegment(wrong, base, anchor));
      expect(Math.abs(found - excess)).toBeLessThan(1);
    }
  });
});
