/**
 * The probes on QEMU's emulated TSC against the truth (qemu_truth.ts): every reading has to agree
 * with it, also after the guest was stopped for a while.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { PingEstimator, RATE_EQUAL, type RoundTrip } from "../../agent-host/align/ping.ts";
import { EmulatorProbe, EmulatorProbeError } from "../../agent-host/session/emulator_probe.ts";
import { HostClock } from "../../agent-host/session/host_clock.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import { hostTsc } from "../../shared/tsc/tsc.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites, type Prerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { QemuTruth } from "./qemu_truth.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";

const ROUND_DEADLINE_MS = 10_000;
setDefaultTimeout(120_000);

describe("EmulatorProbe on a real guest", () => {
  let prerequisites: Prerequisites;
  let guest: QemuGuest;
  let clock: HostClock;
  let truth: QemuTruth;
  let aheadMs = 0;

  /** One round, as the engine's loop drives it; the guest reads its clocks meanwhile. */
  async function round(probe: EmulatorProbe): Promise<RoundTrip[]> {
    let trips: RoundTrip[] | undefined;
    const shell = guest.shell.output("i=0; while [ $i -lt 40 ]; do i=$((i+1)); date; done");
    await waitUntil(
      () => {
        const nowMs = performance.now() + aheadMs;
        clock.tick(nowMs);
        trips = probe.tick(nowMs, true);
        return trips !== undefined;
      },
      ROUND_DEADLINE_MS,
      "a round of readings",
    );
    await shell;
    // The pause until the next round is over.
    aheadMs += 60_000;
    return trips!;
  }

  function expectTruth(trips: readonly RoundTrip[], offset: bigint): void {
    for (const { hostSent, guestSent, hostReceived } of trips) {
      const host = BigInt.asUintN(64, guestSent - offset);
      expect(hostSent <= host && host <= hostReceived).toBe(true);
    }
  }

  beforeAll(async () => {
    ensureTracingMounts();
    prerequisites = ensurePrerequisites({ progress: console.log });
    const initramfsPath = buildInitramfs(prerequisites, { programs: [] });
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config: { tsc: "reliable" } });
    truth = new QemuTruth(guest, prerequisites.qemuPath);
    clock = new HostClock(readTsc());
  });

  afterAll(async () => {
    await guest?.shutdown();
  });

  test("every reading holds the true offset, also after a stop; no probe stays behind", async () => {
    const probe = new EmulatorProbe(guest.pid, clock);
    try {
      const estimator = new PingEstimator(hostTsc(readTsc()), RATE_EQUAL);
      for (let i = 0; i < 2; i++) {
        const trips = await round(probe);
        expect(trips.length).toBeGreaterThan(0);
        for (const trip of trips) estimator.add(trip);
        const bound = Math.round(estimator.boundCycles);
        const widths = trips.map((trip) => Number(trip.hostReceived - trip.hostSent));
        const width = Math.min(...widths);
        let error = "the truth cannot be read here";
        if (truth.isKnown) {
          expectTruth(trips, truth.offset());
          const off = Number(estimator.offset! - truth.offset());
          error = `error ${off}`;
          expect(Math.abs(off)).toBeLessThanOrEqual(bound + 1);
        }
        console.log(`${trips.length} readings of ${width}+ cycles: +-${bound}, ${error}`);
        await guest.qmp.execute("stop");
        await guest.qmp.execute("cont");
      }
      expect(estimator.epoch).toBe(1);
    } finally {
      probe.close();
    }
    const probes = readFileSync("/sys/kernel/tracing/uprobe_events", "utf8");
    expect(probes).not.toContain(`vmspan_${process.pid}_`);
  });

  test("a process that does not have the function is refused with the reason", () => {
    const probe = new EmulatorProbe(process.pid, clock);
    expect(() => probe.tick(0, false)).toThrow(EmulatorProbeError);
    expect(() => probe.tick(0, false)).toThrow("cpu_get_tsc");
  });
});
