/**
 * A guest's conversion out of its clock samples and round trips, as the engine feeds it: what steps
 * make of times that were converted before they were known, and clocks that contradict each other.
 */
import { describe, expect, test } from "bun:test";
import { GuestAlignment } from "../../../agent-host/align/alignment.ts";
import type { ChainStep } from "../../../agent-host/align/guest_time_map.ts";
import { GuestConversion } from "../../../agent-host/session/guest_conversion.ts";
import type { GuestTime } from "../../../agent-host/session/guest_time.ts";
import { boundAt, convert, segmentDelta } from "../../../shared/tsc/time_segment.ts";
import { guestTsc, highHalf, hostTsc, lowHalf } from "../../../shared/tsc/tsc.ts";
import type { ClockSample } from "../../../shared/wire/gen/vmspan/v1/channel.ts";

const ANCHOR = 1n << 50n;
const SECOND = 3_000_000_000n;
const TRIP = 60_000n;

/** A host and a guest of 3 GHz; the guest's clock goes on through a written TSC. */
class Pair {
  now = ANCHOR;
  offset: bigint;
  readonly steps: ChainStep[] = [];
  readonly alignment: GuestAlignment;
  readonly conversion: GuestConversion;
  readonly #time: Pick<GuestTime, "alignment" | "version" | "onClockStep">;

  constructor(offset: bigint, wanted: "auto" | "ping" = "ping") {
    this.offset = offset;
    this.alignment = new GuestAlignment({ wanted, hostAnchor: hostTsc(ANCHOR) });
    this.alignment.setCpus([0, 1].map((cpu) => ({ cpu, apicId: cpu })));
    this.#time = {
      alignment: this.alignment,
      version: 0,
      onClockStep: () => this.alignment.onClockStep(),
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
    return (this.now - ANCHOR) / 3n + 1_000_000_000n;
  }

  /** A reading of the guest's clock, with a TSC that is `aside` of the true one. */
  read(aside = 0n): void {
    const tsc = BigInt.asUintN(64, this.tsc + aside);
    const value = { tscBefore: tsc - 50n, perfNs: this.ns, tscAfter: tsc + 50n };
    const sample: ClockSample = {
      cpu: 0,
      epoch: 0,
      conversion: { $case: "fitted", value },
      realtimeNs: this.ns,
      realtimeTsc: tsc,
    };
    this.conversion.addSample(sample);
  }

  ping(): void {
    const hostSent = hostTsc(this.now);
    this.now += TRIP / 2n;
    const guestReceived = guestTsc(this.tsc);
    this.now += TRIP / 2n;
    const hostReceived = hostTsc(this.now);
    this.alignment.addRoundTrip({
      hostSent,
      guestReceived,
      guestSent: guestReceived,
      hostReceived,
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
});
