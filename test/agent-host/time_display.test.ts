// The display of a session: what is shown follows the clocks, whose rate is known the better the
// longer.
import { expect, test } from "bun:test";
import type { Machines } from "../../agent-host/machines.ts";
import { timeDisplay } from "../../agent-host/time_display.ts";

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

function displayOf(host: Host, isTsc: boolean) {
  const machines = { hostClock: host, guests: [] } as unknown as Machines;
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
