/** Pairs of events as bounds on the clocks: what true ones give, what false ones must not do. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { Causality, causalBound } from "../../../agent-host/align/causality.ts";
import { PingEstimator, RATE_EQUAL, RATE_UNKNOWN } from "../../../agent-host/align/ping.ts";
import { TimeMap } from "../../../shared/tsc/time_map.ts";
import { convert, timeSegment } from "../../../shared/tsc/time_segment.ts";
import { guestTsc, highHalf, hostTsc, lowHalf } from "../../../shared/tsc/tsc.ts";

const ANCHOR = hostTsc(1n << 56n);
/** 3 GHz: 20 ms, and the delays of trips and events. */
const STEP = 60_000_000n;
const DELAY_MIN = 150_000;
const LATENCY_MIN = 20_000;

/** A guest whose TSC is the host's plus an offset, and a channel with one-sided delays. */
class World {
  readonly offset: bigint;
  now: bigint = ANCHOR;
  constructor(offset: bigint) {
    this.offset = offset;
  }

  guest(host: bigint) {
    return guestTsc(BigInt.asUintN(64, host + this.offset));
  }

  trip(there: number, back: number) {
    const sent = this.now;
    const received = sent + BigInt(DELAY_MIN + there);
    const returned = received + 1000n + BigInt(DELAY_MIN + back);
    this.now = sent + STEP;
    return {
      hostSent: hostTsc(sent),
      guestReceived: this.guest(received),
      guestSent: this.guest(received + 1000n),
      hostReceived: hostTsc(returned),
    };
  }

  /** Host to guest, or guest to host; `latency` below 0 is a pair that is none. */
  pair(latency: number, isAtLeast: boolean) {
    const effect = this.now + BigInt(LATENCY_MIN + latency);
    return isAtLeast
      ? { host: hostTsc(this.now), guest: this.guest(effect), isAtLeast }
      : { guest: this.guest(this.now), host: hostTsc(effect), isAtLeast };
  }
}

function errorOf(estimator: PingEstimator, world: World): number {
  return Math.abs(Number(estimator.offset! - BigInt.asIntN(64, world.offset)));
}

describe("Causality", () => {
  for (const [name, rate] of [
    ["equal rates", RATE_EQUAL],
    ["unknown rates", RATE_UNKNOWN],
  ] as const) {
    test(`true pairs tighten the relation and never cut the truth off (${name})`, () => {
      const delays = fc.nat(400_000);
      fc.assert(
        fc.property(
          fc.bigInt({ min: -(1n << 62n), max: 1n << 62n }),
          fc.array(fc.tuple(delays, delays, delays, delays), { minLength: 40, maxLength: 80 }),
          (offset, steps) => {
            const world = new World(offset);
            const ping = new PingEstimator(ANCHOR, rate);
            const trusted = new PingEstimator(ANCHOR, rate);
            const beside = new Causality(ping, false, ANCHOR, rate);
            const within = new Causality(trusted, true, ANCHOR, rate);
            for (const [there, back, down, up] of steps) {
              const trip = world.trip(there, back);
              ping.add(trip);
              trusted.add(trip);
              for (const causality of [beside, within]) {
                causality.addRoundTrip(trip);
                causality.addPair(world.pair(down, true));
                causality.addPair(world.pair(up, false));
              }
            }
            expect(within.describe()).toMatchObject({ refusedPairs: 0, isRefuted: false });
            expect(trusted.boundCycles).toBeLessThanOrEqual(ping.boundCycles * 1.25);
            expect(beside.describe().boundCycles).toBe(trusted.boundCycles);
            expect(errorOf(trusted, world)).toBeLessThanOrEqual(trusted.boundCycles + 1);
            expect(errorOf(ping, world)).toBeLessThanOrEqual(ping.boundCycles + 1);
          },
        ),
        { numRuns: 60 },
      );
    });
  }

  test("quick pairs in both directions give what slow round trips cannot", () => {
    const world = new World(12_345n);
    const ping = new PingEstimator(ANCHOR, RATE_EQUAL);
    const causality = new Causality(ping, false, ANCHOR, RATE_EQUAL);
    for (let i = 0; i < 30; i++) {
      const trip = world.trip(0, 0);
      ping.add(trip);
      causality.addRoundTrip(trip);
      causality.addPair(world.pair(0, true));
      causality.addPair(world.pair(0, false));
    }
    expect(ping.boundCycles).toBeGreaterThan(DELAY_MIN * 0.9);
    expect(causality.describe().boundCycles).toBeLessThan(LATENCY_MIN * 1.1);
  });

  test("false pairs leave the relation in force alone, and are found out by round trips", () => {
    const world = new World(-5n);
    const ping = new PingEstimator(ANCHOR, RATE_EQUAL);
    const causality = new Causality(ping, false, ANCHOR, RATE_EQUAL);
    for (let i = 0; i < 100; i++) {
      // The later trips are quicker: the narrower relation turns out to be wrong.
      const trip = world.trip(i < 30 ? 300_000 : 0, i < 30 ? 300_000 : 0);
      ping.add(trip);
      causality.addRoundTrip(trip);
      // An "effect" 100 us before its cause: within the bound of the first trips, and false.
      if (i === 20) causality.addPair(world.pair(-LATENCY_MIN - 300_000, true));
      expect(errorOf(ping, world)).toBeLessThanOrEqual(ping.boundCycles + 1);
    }
    expect(causality.describe()).toMatchObject({ usedPairs: 1, isRefuted: true });
    expect(ping.epoch).toBe(0);
    expect(causality.addPair(world.pair(0, true))).toBe(false);
  });

  test("trusted false pairs cost a step, and then the truth is back without pairs", () => {
    const world = new World(77n);
    const ping = new PingEstimator(ANCHOR, RATE_EQUAL);
    const causality = new Causality(ping, true, ANCHOR, RATE_EQUAL);
    for (let i = 0; i < 120; i++) {
      const trip = world.trip(i < 30 ? 300_000 : 0, i < 30 ? 300_000 : 0);
      ping.add(trip);
      causality.addRoundTrip(trip);
      if (i === 20) causality.addPair(world.pair(-LATENCY_MIN - 300_000, true));
    }
    expect(causality.isRefuted).toBe(true);
    expect(errorOf(ping, world)).toBeLessThanOrEqual(ping.boundCycles + 1);
  });

  test("a pair that contradicts round trips is refused and counted; a step of the TSC is none", () => {
    const world = new World(0n);
    const ping = new PingEstimator(ANCHOR, RATE_EQUAL);
    const causality = new Causality(ping, false, ANCHOR, RATE_EQUAL);
    const exchange = (w: World): void => {
      const trip = w.trip(0, 0);
      ping.add(trip);
      causality.addRoundTrip(trip);
      causality.addPair(w.pair(0, true));
    };
    for (let i = 0; i < 30; i++) exchange(world);
    expect(causality.addPair(world.pair(-1_000_000, true))).toBe(false);
    expect(causality.describe()).toMatchObject({ refusedPairs: 1, isRefuted: false });
    const stepped = new World(9_000_000_000n);
    stepped.now = world.now;
    for (let i = 0; i < 60; i++) exchange(stepped);
    expect(causality.isRefuted).toBe(false);
    expect(errorOf(ping, stepped)).toBeLessThanOrEqual(ping.boundCycles + 1);
  });
});

describe("causalBound()", () => {
  test("moves both times apart by all that may be wrong with them", () => {
    fc.assert(
      fc.property(
        fc.bigInt({ min: 0n, max: 1n << 40n }),
        fc.integer({ min: -1000, max: 1000 }),
        fc.boolean(),
        (ns, noise, isGuestEffect) => {
          const clock = new TimeMap();
          const perf = { base: 0n, slope: 3, originCycles: 7, targetAnchor: 1n << 55n };
          clock.push(timeSegment({ ...perf, boundCycles: 1000 }), 0n);
          // Whatever the relation in force was when the event was converted: it is undone.
          const segment = timeSegment({
            base: 5n,
            slope: 2.9999,
            originCycles: 1e9,
            targetAnchor: ANCHOR,
            boundCycles: 50_000,
          });
          const trueGuest = (1n << 55n) + 7n + 3n * ns + BigInt(noise);
          const bound = causalBound(
            {
              machine: 1,
              isGuestEffect,
              hostCycles: 5e8,
              hostBoundCycles: 300,
              guestCycles: convert(segment, lowHalf(ns), highHalf(ns)),
              guestSegment: segment,
            },
            clock,
            ANCHOR,
          )!;
          expect(bound.isAtLeast).toBe(isGuestEffect);
          const host = ANCHOR + 500_000_000n;
          if (isGuestEffect) {
            expect(bound.guest >= trueGuest && bound.host <= host - 300n).toBe(true);
          } else {
            expect(bound.guest <= trueGuest && bound.host >= host + 300n).toBe(true);
          }
          expect(Math.abs(Number(bound.guest - trueGuest))).toBeLessThan(2100);
        },
      ),
    );
  });
});
