// The display of a session: what is shown follows the clocks, whose rate is known the better the
// longer.
import { expect, test } from "bun:test";
import { PingEstimator } from "../../agent-host/align/ping.ts";
import type { Machines } from "../../agent-host/machines.ts";
import { timeDisplay } from "../../agent-host/time_display.ts";
import type { TimeSegment } from "../../shared/tsc/time_segment.ts";
import { guestTsc, hostTsc } from "../../shared/tsc/tsc.ts";

const ANCHOR = 2n ** 60n;
const START_NS = 186_430_038_050_123n;
const DAY_NS = 1_681_278_446_370_747_123n;
/** The clocks' true rate is 2.5 GHz; at first they are taken to run 10 ppm faster. */
const TRUE_HZ = 2_500_000_000;
const DAY_AHEAD_PPM = 40n;

/** A host whose clocks are as they are after `seconds`. */
class Host {
  version = 0;
  frequency = { hz: TRUE_HZ * (1 + 1e-5), errorHz: 30_000 };
  wall = { tsc: ANCHOR, realtimeNs: DAY_NS };
  raw = { tsc: ANCHOR, realtimeNs: START_NS };

  at(seconds: number): void {
    const tsc = ANCHOR + BigInt(seconds * TRUE_HZ);
    const ns = BigInt(seconds) * 1_000_000_000n;
    this.version++;
    this.frequency = { hz: TRUE_HZ, errorHz: 10 };
    this.raw = { tsc, realtimeNs: START_NS + ns };
    this.wall = { tsc, realtimeNs: DAY_NS + ns + (ns * DAY_AHEAD_PPM) / 1_000_000n };
  }
}

/** A guest whose TSC runs at half the host's rate, with an offset, known by round trips alone. */
class PingedGuest {
  static readonly OFFSET = 123_456_789_012_345n;
  readonly isReady = true;
  readonly hello = { cpus: [{ cpu: 0 }] };
  readonly time = { version: 0, segmentFor: (): TimeSegment | undefined => this.#ping.map.newest };
  readonly #ping = new PingEstimator(hostTsc(ANCHOR));

  /** The truth. */
  tscAt(cycles: number): number {
    return Math.floor(cycles / 2);
  }

  /** Ten round trips, one after the other; the way there takes longer. */
  burst(fromCycles: number): void {
    const host = (cycles: number) => hostTsc(ANCHOR + BigInt(cycles));
    const guest = (cycles: number) => guestTsc(PingedGuest.OFFSET + BigInt(this.tscAt(cycles)));
    for (let i = 0; i < 10; i++) {
      const sent = fromCycles + i * 200_000;
      this.#ping.add({
        hostSent: host(sent),
        guestReceived: guest(sent + 90_000 + i * 1000),
        guestSent: guest(sent + 100_000 + i * 1000),
        hostReceived: host(sent + 150_000),
      });
      this.time.version++;
    }
  }
}

function displayOf(host: Host, isTsc: boolean, guests: readonly PingedGuest[] = []) {
  const machines = { hostClock: host, guests } as unknown as Machines;
  return timeDisplay(machines, ANCHOR, isTsc);
}

test("timeDisplay() shows the clocks as they are, an hour after it began, and never goes back", () => {
  const host = new Host();
  const display = displayOf(host, false);
  const { unit } = display;
  let [shown, day] = [display.clock.exact(0), display.wall.scale.exact(0)];
  for (let second = 1; second <= 3600; second++) {
    host.at(second);
    const cycles = second * TRUE_HZ;
    // Events are shown some time after they have happened.
    display.renew(cycles - TRUE_HZ / 10);
    for (const at of [cycles - TRUE_HZ / 10, cycles]) {
      expect(display.clock.exact(at)).toBeGreaterThanOrEqual(shown);
      expect(display.wall.scale.exact(at)).toBeGreaterThanOrEqual(day);
      [shown, day] = [display.clock.exact(at), display.wall.scale.exact(at)];
    }
  }
  // Without following it would be 36 ms off, and 144 ms the day.
  expect(Math.abs(Number(shown - host.raw.realtimeNs))).toBeLessThan(1000);
  expect(Math.abs(Number(day - host.wall.realtimeNs))).toBeLessThan(100_000);
  expect(unit.nsPerCycle).toBe(1e9 / TRUE_HZ);
  expect(unit.perCycle).toBe(unit.nsPerCycle / 1000);
});

test("timeDisplay() with --tsc goes on to show TSC cycles", () => {
  const host = new Host();
  const display = displayOf(host, true);
  const shown = display.clock.exact(12_345);
  host.at(10);
  display.renew(10 * TRUE_HZ);
  expect(display.clock.exact(12_345)).toBe(shown);
  expect(shown).toBe(ANCHOR + 12_345n);
  expect(display.unit.perCycle).toBe(1e-3);
  expect(display.nsPerCycle).toBe(1e9 / TRUE_HZ);
});

test("timeDisplay() with --tsc follows a guest's TSC, whose rate round trips tell by and by", () => {
  const host = new Host();
  const guest = new PingedGuest();
  let cycles = TRUE_HZ / 10;
  guest.burst(cycles);
  const display = displayOf(host, true, [guest]);
  const { unit } = display;
  let shown = display.clock.exact(0);
  const check = (): void => {
    cycles += TRUE_HZ / 50;
    guest.burst(cycles);
    const shownCycles = cycles - TRUE_HZ / 100;
    display.renew(shownCycles);
    for (const at of [shownCycles, cycles]) {
      expect(display.clock.exact(at)).toBeGreaterThanOrEqual(shown);
      shown = display.clock.exact(at);
    }
  };
  // The display follows it between the host's own readings, too.
  for (let i = 0; i < 50; i++) check();
  expect(Math.abs(unit.perCycle / 0.5e-3 - 1)).toBeLessThan(1e-4);
  for (let second = 2; second <= 60; second++) {
    host.at(second);
    cycles = second * TRUE_HZ;
    check();
  }
  expect(Math.abs(unit.perCycle / 0.5e-3 - 1)).toBeLessThan(2e-6);
  const truth = PingedGuest.OFFSET + BigInt(guest.tscAt(cycles));
  expect(Math.abs(Number(shown - truth))).toBeLessThan(100_000);
});
