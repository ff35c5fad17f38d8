/**
 * Round trips over the channel of a real guest against the truth, which QEMU keeps (qemu_truth.ts):
 * at each round, what ping alone says of the guest's TSC now has to contain it. With the rates
 * known to be equal, as agent-host takes them for this QEMU, and with nothing known; in the last
 * third of the time all cores are busy, and a third estimate begins: what load makes of the bound.
 *
 * The guest's port has no ioeventfd: its answer does not take the way through QEMU's main loop.
 *
 * The offset is nearly constant: whenever two threads of QEMU read the TSC in the wrong order, it
 * adds the difference to the offset for good, some hundred cycles a minute on a busy machine.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";

import { PingEstimator, RATE_EQUAL, RATE_UNKNOWN } from "../../agent-host/align/ping.ts";
import { readTsc } from "../../shared/sys/clock.ts";
import { hostTsc } from "../../shared/tsc/tsc.ts";
import { LiveSession } from "../agent-host/support/live_session.ts";
import { busyCores } from "../agent-host/support/load.ts";
import { ClockProof } from "../clock_proof.ts";
import { perNight } from "../nightly.ts";
import { agentBinary } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites, type Prerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { QemuTruth } from "./qemu_truth.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";

/** A minute, ten at night: the bound settles, then all cores are busy. */
const RUN_MS = perNight(60_000, 600_000);
const BUSY_FROM_MS = (RUN_MS * 2) / 3;
const SETTLED_MS = 5_000;
/** Rounds of the engine in which each estimate is held against the truth, at least. */
const READINGS_MIN = [RUN_MS / 100, RUN_MS / 100, RUN_MS / 1000];
const TRIPS_MIN = [100, 100, 10];
const READY_DEADLINE_MS = 60_000;
/** More than this is no creeping any more, but a step. */
const OFFSET_CREEP_MAX = 1_000_000;
/** How long the guest is stopped. */
const STOP_MS = 200;
const EVENT = "irq:irq_handler_entry";

setDefaultTimeout(RUN_MS + 180_000);

const STEP_WARNING =
  /^WARNING: guest 1: its clocks stepped .* within the last ([\d.]+) ms .* off by up to ([\d.]+) ms$/;

describe("ping on a real guest", () => {
  let prerequisites: Prerequisites;
  let guest: QemuGuest;
  let truth: QemuTruth;
  let session: LiveSession;
  let equal: PingEstimator;
  let unknown: PingEstimator;
  /** All that is told of round trips; one more joins them when the cores become busy. */
  let estimators: PingEstimator[];

  beforeAll(async () => {
    ensureTracingMounts();
    prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    const config = { transport: "unix", tsc: "stock", ioeventfd: false } as const;
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
    truth = new QemuTruth(guest, prerequisites.qemuPath);
    const port = `/dev/virtio-ports/${PERF_PORT_NAME}`;
    await guest.startInGuest(`agent-guest trace -e '${EVENT}//push="${port}"/' --tsc`);
    await guest.console.waitForLine(/^Pushing /, READY_DEADLINE_MS);
    session = new LiveSession([`${EVENT}//pull=${guest.channel}/`]);
    equal = new PingEstimator(hostTsc(session.anchor), RATE_EQUAL);
    unknown = new PingEstimator(hostTsc(session.anchor), RATE_UNKNOWN);
    estimators = [equal, unknown];
    const alignment = session.machines.guests[0]!.time!.alignment;
    const taken = alignment.addRoundTrip.bind(alignment);
    alignment.addRoundTrip = (trip) => {
      for (const estimator of estimators) estimator.add(trip);
      return taken(trip);
    };
    await session.start(READY_DEADLINE_MS);
  });

  afterAll(async () => {
    session?.close();
    await guest?.shutdown();
  });

  /** Holds what an estimate says of the guest's TSC now against the truth. */
  function hold(proof: ClockProof, estimator: PingEstimator): void {
    if (!estimator.isReady) return;
    const offset = truth.offset();
    const now = readTsc();
    const cycles = Number(now - session.anchor);
    const claimed = estimator.map.convert(BigInt.asUintN(64, now + offset));
    proof.count(claimed.cycles, claimed.boundCycles, cycles, cycles, session.nsPerCycle);
  }

  test("contains the truth at every moment, while all cores are busy too", async () => {
    expect(truth.isKnown).toBe(true);
    const { nsPerCycle } = session;
    const names = ["emulated guest", "rate unknown", "begun with all cores busy"];
    const proofs = names.map((name) => new ClockProof(`ping, ${name}`));
    const settledNs = [Infinity, Infinity, Infinity];
    const beginsMs = [0, 0, BUSY_FROM_MS];
    const offset = truth.offset();
    const begin = performance.now();
    await using load = new AsyncDisposableStack();
    const isOver = (): boolean => {
      const ms = performance.now() - begin;
      if (ms >= BUSY_FROM_MS && estimators.length === 2) {
        load.use(busyCores());
        estimators.push(new PingEstimator(hostTsc(session.anchor), RATE_EQUAL));
      }
      session.round();
      estimators.forEach((estimator, i) => {
        hold(proofs[i]!, estimator);
        if (settledNs[i] === Infinity && ms > beginsMs[i]! + SETTLED_MS) {
          settledNs[i] = estimator.boundCycles * nsPerCycle;
        }
      });
      return ms >= RUN_MS;
    };
    await waitUntil(isOver, 2 * RUN_MS, `the end of ${RUN_MS} ms`);
    proofs.forEach((proof, i) => {
      proof.report(READINGS_MIN[i]!);
      const trips = estimators[i]!.pingCount;
      console.log(`  ${trips} round trips, +-${(1e-3 * settledNs[i]!).toFixed(1)} us after 5 s`);
      expect(trips).toBeGreaterThan(TRIPS_MIN[i]!);
    });
    expect(Math.abs(Number(truth.offset() - offset))).toBeLessThan(OFFSET_CREEP_MAX);
  });

  test("finds that the guest was stopped, tells, and contains the truth anew", async () => {
    const { anchor, nsPerCycle, statuses } = session;
    const { conversion, progressTsc } = session.machines.guests[0]!;
    const boundCycles = conversion.boundOf(0, progressTsc!);
    const before = truth.offset();
    const epochs = [equal, unknown].map(({ epoch }) => epoch);
    await guest.qmp.execute("stop");
    const stoppedCycles = Number(readTsc() - anchor);
    const stoppedMs = performance.now();
    await waitUntil(() => performance.now() - stoppedMs > STOP_MS, READY_DEADLINE_MS, "a pause");
    const resumedCycles = Number(readTsc() - anchor);
    await guest.qmp.execute("cont");
    const stepped = Number(before - truth.offset());
    expect(stepped).toBeGreaterThan(0);
    const hasSeen = (): boolean => {
      session.round();
      return [equal, unknown].every(({ epoch, isReady }, i) => isReady && epoch > epochs[i]!);
    };
    await waitUntil(hasSeen, READY_DEADLINE_MS, "a ping after the stop");
    for (const estimator of [equal, unknown]) {
      const now = readTsc();
      const claimed = estimator.map.convert(BigInt.asUintN(64, now + truth.offset()));
      expect(Math.abs(claimed.cycles - Number(now - anchor))).toBeLessThanOrEqual(
        claimed.boundCycles,
      );
    }
    // Until then events were converted as if nothing had happened: who used them is told by how
    // much more they are off than their own bound says.
    const isInDoubt = (): boolean => {
      session.round();
      return session.doubts.some(
        ({ fromCycles, toCycles, extraCycles }) =>
          fromCycles < stoppedCycles &&
          toCycles > resumedCycles &&
          extraCycles + boundCycles >= stepped,
      );
    };
    await waitUntil(isInDoubt, READY_DEADLINE_MS, "what came meanwhile to be in doubt");
    const steppedMs = stepped * nsPerCycle * 1e-6;
    const warning = statuses.find((text) => {
      const [, withinMs, offMs] = STEP_WARNING.exec(text) ?? [];
      return Number(withinMs) > steppedMs && Number(offMs) > steppedMs - 0.1;
    });
    expect(warning).toBeDefined();
    console.log(`  stopped for ${((stepped * nsPerCycle) / 1000).toFixed(0)} us: ${warning}`);
  });
});
