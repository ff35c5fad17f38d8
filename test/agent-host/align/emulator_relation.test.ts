/** When an emulator's clock is in force, what takes it out of force, and how that is told. */
import { describe, expect, test } from "bun:test";
import { GuestAlignment } from "../../../agent-host/align/alignment.ts";
import { formatAlignment } from "../../../agent-host/align/alignment_description.ts";
import { ROUNDS_REFUTE } from "../../../agent-host/align/emulator_relation.ts";
import { PINGS_READY_MIN, RATE_EQUAL, type RoundTrip } from "../../../agent-host/align/ping.ts";
import { guestTsc, hostTsc } from "../../../shared/tsc/tsc.ts";

const HZ = 3e9;
const START = 1n << 50n;
const OFFSET = -(1n << 44n);
const STEP = 600_000_000n;

/** Guest and host; the emulator adds `offset`, the guest has written `written` on top. */
class Machine {
  readonly alignment = new GuestAlignment({
    wanted: "auto",
    hostAnchor: hostTsc(START),
    rate: RATE_EQUAL,
  });
  now = START;
  offset = OFFSET;
  written = 0n;

  #trip(cycles: bigint, offset: bigint): RoundTrip {
    this.now += STEP;
    const guest = guestTsc(BigInt.asUintN(64, this.now + cycles / 2n + offset));
    return {
      hostSent: hostTsc(this.now),
      guestReceived: guest,
      guestSent: guest,
      hostReceived: hostTsc(this.now + cycles),
    };
  }

  round(count = 64): void {
    const trips = Array.from({ length: count }, () => this.#trip(6_000n, this.offset));
    this.alignment.addEmulatorRound(trips);
  }

  ping(count = 1) {
    const findings = [];
    for (let i = 0; i < count; i++) {
      const finding = this.alignment.addRoundTrip(
        this.#trip(1_200_000n, this.offset + this.written),
      );
      if (finding !== undefined) findings.push(finding);
    }
    return findings;
  }

  /** |error| now of what is in force, and its bound; in cycles. */
  error(): [number, number] {
    const { cycles, boundCycles } = this.alignment
      .mapFor(0)!
      .convert(BigInt.asUintN(64, this.now + this.offset + this.written));
    return [Math.abs(cycles - Number(this.now - START)), boundCycles];
  }

  lines(): string[] {
    return formatAlignment(this.alignment.describe(), HZ);
  }
}

function aligned(): Machine {
  const machine = new Machine();
  machine.alignment.expectEmulator();
  machine.round();
  machine.ping(PINGS_READY_MIN);
  return machine;
}

describe("emulator's clock", () => {
  test("is awaited, and in force as soon as enough pings agree", () => {
    const machine = new Machine();
    const { alignment } = machine;
    alignment.expectEmulator();
    machine.ping(20);
    expect([alignment.method, alignment.isReady]).toEqual(["ping", false]);
    expect(alignment.segmentFor(0)).toBeUndefined();
    machine.round();
    machine.ping(PINGS_READY_MIN - 1);
    expect(alignment.isReady).toBe(false);
    machine.ping();
    expect([alignment.method, alignment.isReady]).toEqual(["emulator", true]);
    const [error, bound] = machine.error();
    expect(error).toBeLessThanOrEqual(bound);
    // Half a sandwich, and the whole of one that may hide a move of the emulator's.
    expect(bound).toBeLessThan(9_001);
    const lines = machine.lines();
    expect(lines.length).toBe(2);
    expect(lines[0]).toMatch(
      /^guest TSC = host TSC \+ 0x\w+ \+-3 us \(QEMU's emulated TSC, 64 readings\)$/,
    );
    expect(lines[1]).toMatch(/^ping agrees: 25 round trips, \+-200 us$/);
  });

  test("that moves on by less than a sandwich shows in none, and stays within the bound", () => {
    const machine = new Machine();
    machine.alignment.expectEmulator();
    machine.round();
    machine.ping(PINGS_READY_MIN);
    for (let i = 0; i < 5; i++) {
      machine.offset += 1_000n;
      machine.round(8);
      const [error, bound] = machine.error();
      expect(error).toBeLessThanOrEqual(bound);
    }
    // It was 2,500 cycles from where its sandwiches intersect, and none of them told.
    expect(machine.error()[0]).toBeGreaterThan(2_000);
  });

  test("that cannot be read leaves ping in force, and the reason is told", () => {
    const machine = new Machine();
    const { alignment } = machine;
    alignment.expectEmulator();
    machine.ping(PINGS_READY_MIN);
    expect(alignment.isReady).toBe(false);
    alignment.emulatorFailed("Cannot create uprobe", "run as root");
    expect([alignment.method, alignment.isReady]).toEqual(["ping", true]);
    expect(machine.lines()).toContain(
      "QEMU's emulated TSC not used: Cannot create uprobe; run as root",
    );
    machine.round();
    machine.ping(PINGS_READY_MIN);
    expect(alignment.method).toBe("emulator");
  });

  test("a stopped and resumed guest: ping at once, the emulator's again after a new round", () => {
    const machine = aligned();
    const { alignment } = machine;
    machine.offset -= 5_000_000_000n;
    expect(machine.ping()).toEqual([]);
    expect([alignment.method, alignment.isReady]).toEqual(["ping", false]);
    expect(alignment.wantsEmulatorRound).toBe(true);
    machine.ping(PINGS_READY_MIN);
    expect([alignment.method, alignment.isReady]).toEqual(["ping", true]);
    machine.round(8);
    expect(machine.ping(PINGS_READY_MIN)).toEqual([]);
    expect(alignment.method).toBe("emulator");
    expect(alignment.wantsEmulatorRound).toBe(false);
    const [error, bound] = machine.error();
    expect(error).toBeLessThanOrEqual(bound);
    expect(bound).toBeLessThan(9_001);
  });

  test("a TSC that the guest has written: never in force from then on, and told once", () => {
    const machine = aligned();
    const { alignment } = machine;
    machine.written = 1n << 33n;
    const findings = [];
    for (let i = 0; i <= ROUNDS_REFUTE; i++) {
      findings.push(...machine.ping(3));
      expect(alignment.method).toBe("ping");
      machine.round(8);
    }
    findings.push(...machine.ping(2 * PINGS_READY_MIN));
    expect(findings.length).toBe(1);
    expect(findings[0]).toMatchObject({ kind: "ping-disagrees", method: "emulator" });
    expect(findings[0]!.excessCycles).toBeGreaterThan(Number(machine.written) - 1_300_000);
    expect([alignment.method, alignment.isReady]).toEqual(["ping", true]);
    machine.round();
    machine.ping(20);
    expect(alignment.method).toBe("ping");
    expect(machine.lines()).toContain(
      "QEMU's emulated TSC not used: round trips contradict it; has the guest written its TSC?",
    );
  });

  test("a TSC written before: it is never in force at all", () => {
    const machine = new Machine();
    machine.written = -(1n << 40n);
    machine.alignment.expectEmulator();
    let findings = 0;
    for (let i = 0; i < 10; i++) {
      machine.round(8);
      findings += machine.ping(3).length;
      expect(machine.alignment.method).toBe("ping");
    }
    expect(findings).toBe(1);
    const [error, bound] = machine.error();
    expect(error).toBeLessThanOrEqual(bound);
  });

  test("a step of the guest's clock takes it out of force until pings agree again", () => {
    const machine = aligned();
    machine.alignment.onClockStep();
    expect(machine.alignment.method).toBe("ping");
    machine.ping(PINGS_READY_MIN);
    expect(machine.alignment.method).toBe("emulator");
  });
});
