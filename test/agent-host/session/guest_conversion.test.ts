/**
 * A guest's conversion out of its clock samples and round trips, as the engine feeds it: what steps
 * make of times that were converted before they were known, and clocks that contradict each other.
 */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { GuestAlignment } from "../../../agent-host/align/alignment.ts";
import type { ClockStep } from "../../../agent-host/align/clock_step.ts";
import { tscRelation } from "../../../agent-host/align/kvm_offset.ts";
import { GuestConversion } from "../../../agent-host/session/guest_conversion.ts";
import type { GuestTime } from "../../../agent-host/session/guest_time.ts";
import { boundAt, convert, segmentDelta } from "../../../shared/tsc/time_segment.ts";
import { guestTsc, highHalf, hostTsc, lowHalf } from "../../../shared/tsc/tsc.ts";
import type { ClockSample } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { perNight } from "../../nightly.ts";
import { fakeHello } from "../support/guest_stream.ts";

const ANCHOR = 1n << 50n;
const SECOND = 3_000_000_000n;
const TRIP = 60_000n;

/** What a hostile guest says of its clocks: near the truth, far from it, and at the ends. */
const u64 = fc.oneof(
  fc.bigInt({ min: 1n << 50n, max: (1n << 50n) + 10_000_000_000n }),
  fc.bigInt({ min: 0n, max: (1n << 64n) - 1n }),
  fc.constantFrom(0n, (1n << 53n) + 1n, 1n << 63n, (1n << 64n) - 1n),
);
const claim = fc.record({
  kind: fc.constantFrom("fitted", "exact", "pong"),
  cpu: fc.nat(2),
  epoch: fc.nat(1),
  ns: u64,
  tsc: u64,
  width: fc.bigInt({ min: 0n, max: 40_000_000_000n }),
  mult: fc.oneof(fc.integer({ min: 0, max: 2 ** 32 - 1 }), fc.constant(5_592_405)),
  shift: fc.oneof(fc.nat(33), fc.constant(24)),
  eventNs: u64,
  count: fc.integer({ min: 1, max: 6 }),
});

type FakedTime = "alignment" | "version" | "onClockStep" | "segmentFor" | "addPair" | "warn";

/** A host and a guest of 3 GHz; the guest's clock goes on through a written TSC. */
class Pair {
  now = ANCHOR;
  offset: bigint;
  #stopped = 0n;
  readonly steps: ClockStep[] = [];
  readonly said: string[] = [];
  hello = fakeHello();
  readonly alignment: GuestAlignment;
  readonly conversion: GuestConversion;
  readonly #time: Pick<GuestTime, FakedTime>;

  constructor(offset: bigint, wanted: "auto" | "ping" = "ping") {
    this.offset = offset;
    this.alignment = new GuestAlignment({ wanted, hostAnchor: hostTsc(ANCHOR) });
    this.alignment.setCpus([0, 1].map((cpu) => ({ cpu, apicId: cpu })));
    this.#time = {
      alignment: this.alignment,
      version: 0,
      onClockStep: () => this.alignment.onClockStep(),
      segmentFor: (cpu) => this.alignment.segmentFor(cpu),
      addPair: (bound) => this.alignment.causality.addPair(bound),
      warn: (text) => void this.said.push(text),
    };
    const session = { anchor: ANCHOR, setAnchorOnce: () => {} };
    this.conversion = new GuestConversion(session, this.#time as GuestTime, (step) =>
      this.steps.push(step),
    );
  }

  get tsc(): bigint {
    return BigInt.asUintN(64, this.now + this.offset);
  }

  get ns(): bigint {
    return (this.now - ANCHOR - this.#stopped) / 3n + 1_000_000_000n;
  }

  /** The guest stands still, its TSC and its clock with it. */
  stop(cycles: bigint): void {
    this.now += cycles;
    this.offset -= cycles;
    this.#stopped += cycles;
  }

  /** A round of readings of the emulator's clock, which is `aside` of the guest's TSC. */
  sandwich(aside = 0n): void {
    const trips = Array.from({ length: 8 }, () => {
      const hostSent = hostTsc(this.now);
      this.now += 3_000n;
      const guest = guestTsc(BigInt.asUintN(64, this.tsc + aside));
      this.now += 3_000n;
      return {
        hostSent,
        guestReceived: guest,
        guestSent: guest,
        hostReceived: hostTsc(this.now),
      };
    });
    this.alignment.addEmulatorRound(trips);
    (this.#time as { version: number }).version++;
  }

  /** What debugfs says, `aside` of the truth. */
  poll(aside = 0n): void {
    const vcpus = [0, 1].map((apicId) => ({
      apicId,
      relation: tscRelation(this.offset + aside),
      isNested: false,
      threadId: undefined,
    }));
    this.alignment.setKvm("kvm/1-2", vcpus, hostTsc(this.now));
    (this.#time as { version: number }).version++;
  }

  /** A reading as it likes. */
  claimSample(sample: Partial<ClockSample>): void {
    const whole = {
      ...{ cpu: 0, epoch: 0, conversion: undefined },
      ...{ realtimeNs: this.ns, realtimeTsc: this.tsc },
      ...sample,
    };
    this.conversion.addSample(whole, this.hello);
  }

  /** A reading of the guest's clock, with a TSC that is `aside` of the true one. */
  read(aside = 0n): void {
    const tsc = BigInt.asUintN(64, this.tsc + aside);
    const value = { tscBefore: tsc - 50n, perfNs: this.ns, tscAfter: tsc + 50n };
    this.claimSample({ conversion: { $case: "fitted", value }, realtimeTsc: tsc });
  }

  ping(): void {
    const hostSent = hostTsc(this.now);
    this.now += TRIP / 2n;
    const guest = this.tsc;
    this.now += TRIP / 2n;
    this.claimTrip(hostSent, guest, guest);
  }

  /** A round trip that is back now, with what the guest claims. */
  claimTrip(hostSent: bigint, received: bigint, sent: bigint): void {
    this.alignment.addRoundTrip({
      hostSent: hostTsc(hostSent),
      guestReceived: guestTsc(received),
      guestSent: guestTsc(BigInt.asUintN(64, sent)),
      hostReceived: hostTsc(this.now),
    });
    (this.#time as { version: number }).version++;
  }

  /** Seconds of readings and round trips, both CPUs sending events. */
  run(seconds: number, aside = 0n): void {
    for (let i = 0; i < seconds * 2; i++) {
      this.now += SECOND / 2n;
      this.ping();
      if (i % 2 === 1) this.read(aside);
      for (const cpu of [0, 1]) this.conversion.mapFor(cpu);
      this.conversion.refresh();
    }
  }

  /** How far off an event is that happens now, and its bound. */
  event(cpu = 0): { readonly error: number; readonly boundCycles: number } {
    const [lo, hi] = [lowHalf(this.ns), highHalf(this.ns)];
    const segment = this.conversion.mapFor(cpu)!.at(lo, hi)!;
    return {
      error: Math.abs(convert(segment, lo, hi) - Number(this.now - ANCHOR)),
      boundCycles: boundAt(segment, segmentDelta(segment, lo, hi)),
    };
  }
}

function expectHeld({ error, boundCycles }: ReturnType<Pair["event"]>): void {
  expect(error).toBeLessThanOrEqual(boundCycles + 3);
  expect(boundCycles).toBeLessThan(Number(TRIP));
}

describe("GuestConversion", () => {
  test("a step that both CPUs find is told once", () => {
    const pair = new Pair(-(1n << 49n));
    pair.run(10);
    expectHeld(pair.event(1));
    expect(pair.steps).toEqual([]);
    pair.offset += 1n << 40n;
    pair.run(6);
    expect(pair.steps.length).toBe(1);
    expectHeld(pair.event(0));
    expectHeld(pair.event(1));
  });

  test("a guest whose CPUs share readings of their clocksource is told of, once", () => {
    const cpus = [0, 1].map((cpu) => ({ cpu, apicId: cpu }));
    for (const [clocksource, cpuCount, count] of [
      ["hpet", 2, 1],
      ["hpet", 1, 0],
      ["kvm-clock", 2, 0],
    ] as const) {
      const pair = new Pair(1n << 40n);
      const { clock } = pair.hello;
      pair.hello = fakeHello({
        cpus: cpus.slice(0, cpuCount),
        clock: { ...clock!, clocksource },
      });
      // A guest may begin streams as often as it likes.
      for (let stream = 0; stream < 3; stream++) {
        pair.read();
        pair.read();
        pair.conversion.reset();
      }
      expect(pair.said.length).toBe(count);
      if (count > 0) expect(pair.said[0]).toContain("share readings of its clocksource hpet");
    }
  });

  test("a clock and round trips that are further apart than a double counts give no conversion", () => {
    const pair = new Pair(1n << 60n);
    pair.run(6, -(1n << 60n));
    expect(pair.conversion.mapFor(0)).toBeUndefined();
    expect(pair.conversion.refused).toBeGreaterThan(0);
    pair.run(1);
  });

  test.each([1n, -1n])("a TSC that is set 2^60 cycles further (* %p) is followed", (side) => {
    const pair = new Pair(1n << 58n);
    pair.run(10);
    expectHeld(pair.event());
    pair.offset += side << 60n;
    pair.run(6);
    expectHeld(pair.event());
    expect(pair.steps.length).toBe(1);
  });

  test("a clock that leaves round trips behind waits for them, and what held goes on", () => {
    const pair = new Pair(1n << 58n);
    pair.run(10);
    pair.run(6, 1n << 60n);
    expect(pair.conversion.refused).toBeGreaterThan(0);
    pair.run(6);
    expectHeld(pair.event());
  });

  test("once round trips have refuted debugfs, all that rested on it is in doubt", () => {
    const aside = 1_000_000_000n;
    const pair = new Pair(1n << 40n, "auto");
    pair.poll(aside);
    pair.run(3);
    expect(pair.event().error).toBeGreaterThan(Number(aside) / 2);
    for (let i = 0; i < 6; i++) {
      pair.poll(aside);
      pair.run(1);
    }
    expect(pair.alignment.method).toBe("ping");
    expectHeld(pair.event(0));
    expectHeld(pair.event(1));
    expect(pair.steps.length).toBe(1);
    const [step] = pair.steps;
    expect(step).toMatchObject({ fromCycles: -Infinity, isWithin: true });
    expect(step!.apartCycles).toBeGreaterThanOrEqual(Number(aside));
  });

  test("another source of the relation that agrees with the one before is no step", () => {
    const pair = new Pair(1n << 40n, "auto");
    pair.run(3);
    pair.offset += 1n << 33n;
    pair.run(6);
    expect(pair.steps.length).toBe(1);
    pair.poll();
    pair.run(2);
    expect(pair.alignment.method).toBe("kvm");
    pair.alignment.kvmFailed("gone", "");
    pair.run(2);
    expect(pair.alignment.method).toBe("ping");
    expect(pair.steps.length).toBe(1);
    expectHeld(pair.event());
  });

  test.each([
    ["which trips show first", true, false],
    ["which a round of the emulator shows first", true, true],
    ["which its emulator does not know", false, false],
  ])("a stop of an emulated guest, %s, is in doubt since the last trip", (_, isKnown, isRound) => {
    const jump = 3_000_000n;
    const pair = new Pair(-(1n << 49n), "auto");
    pair.sandwich();
    pair.run(6);
    expect(pair.alignment.method).toBe("emulator");
    const before = pair.now;
    pair.stop(jump);
    if (isRound) {
      pair.sandwich();
      pair.read();
      pair.conversion.refresh();
    }
    for (let i = 0; i < 5; i++) {
      pair.run(1);
      pair.sandwich(isKnown ? 0n : jump);
    }
    pair.run(6);
    expect(pair.alignment.method).toBe(isKnown ? "emulator" : "ping");
    expectHeld(pair.event());
    expect(pair.steps.length).toBeGreaterThan(0);
    const [step] = pair.steps;
    expect(step!.apartCycles).toBeGreaterThanOrEqual(Number(jump - TRIP));
    const fromCycles = Math.min(...pair.steps.map((found) => found.fromCycles));
    expect(fromCycles).toBeLessThanOrEqual(Number(before - ANCHOR));
    expect(fromCycles).toBeGreaterThan(Number(before - ANCHOR - 3n * SECOND));
  });

  test("a stop after the last trip and before a reading of the clock is in doubt since the trip", () => {
    const pair = new Pair(-(1n << 49n));
    pair.run(6);
    pair.now += SECOND / 2n;
    pair.ping();
    pair.conversion.refresh();
    const stopped = pair.now;
    pair.stop(SECOND / 5n);
    pair.now += SECOND / 10n;
    pair.read();
    pair.conversion.refresh();
    pair.run(6);
    expectHeld(pair.event());
    const fromCycles = Math.min(...pair.steps.map((found) => found.fromCycles));
    expect(fromCycles).toBeLessThanOrEqual(Number(stopped - ANCHOR));
  });

  test("whatever a guest claims of its clocks, it gives numbers or no conversion", () => {
    let converted = 0;
    fc.assert(
      fc.property(fc.nat(5), fc.array(claim, { maxLength: 30 }), (honestSeconds, claims) => {
        const pair = new Pair(0n);
        pair.run(honestSeconds);
        for (const { kind, cpu, epoch, ns, tsc, width, mult, shift, eventNs, count } of claims) {
          for (let i = 0n; i < count; i++) {
            const sent = pair.now;
            pair.now += TRIP;
            const at = BigInt.asUintN(64, tsc + 3n * i * TRIP);
            if (kind === "pong") pair.claimTrip(sent, at, at + width);
            else if (kind === "exact") {
              const value = { timeZero: ns, mult, shift };
              pair.claimSample({ cpu, epoch, conversion: { $case: "exact", value } });
            } else {
              const perfNs = BigInt.asUintN(64, ns + i * TRIP);
              const value = { tscBefore: at, perfNs, tscAfter: at + width };
              pair.claimSample({ cpu, epoch, conversion: { $case: "fitted", value } });
            }
          }
          pair.conversion.refresh();
          pair.conversion.canonical(tsc, cpu);
          pair.conversion.boundCycles(cpu, tsc);
          pair.alignment.describe();
          const [lo, hi] = [lowHalf(eventNs), highHalf(eventNs)];
          const segment = pair.conversion.mapFor(cpu)?.at(lo, hi);
          if (segment === undefined) continue;
          converted++;
          const guestCycles = convert(segment, lo, hi);
          expect(guestCycles).not.toBeNaN();
          expect(boundAt(segment, segmentDelta(segment, lo, hi))).toBeGreaterThanOrEqual(0);
          const host = { hostCycles: 0, hostBoundCycles: 0, isGuestEffect: true };
          pair.conversion.addPair({ ...host, machine: 1, guestCycles, guestSegment: segment });
        }
      }),
      { numRuns: perNight(500, 100_000) },
    );
    expect(converted).toBeGreaterThan(0);
  });
});
