/**
 * Round trips over the channel of a real guest against the truth, which QEMU keeps (qemu_truth.ts):
 * at each round, what ping alone says of the guest's TSC now has to contain it. Once with the rates
 * known to be equal, as agent-host takes them for this QEMU, and once with nothing known.
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

/** A minute in all, ten at night: the bound settles, then both cores are busy. */
const QUIET_MS = perNight(40_000, 400_000);
const BUSY_MS = perNight(20_000, 200_000);
const SETTLED_MS = 5_000;
const READY_DEADLINE_MS = 60_000;
/** More than this is no creeping any more, but a step. */
const OFFSET_CREEP_MAX = 1_000_000;
/** How long the guest is stopped. */
const STOP_MS = 200;
const EVENT = "irq:irq_handler_entry";

setDefaultTimeout(perNight(240_000, 900_000));

describe("ping on a real guest", () => {
  let prerequisites: Prerequisites;
  let guest: QemuGuest;
  let truth: QemuTruth;
  let session: LiveSession;
  let equal: PingEstimator;
  let unknown: PingEstimator;

  beforeAll(async () => {
    ensureTracingMounts();
    prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    const config = { transport: "unix", tsc: "stock" } as const;
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
    truth = new QemuTruth(guest, prerequisites.qemuPath);
    const port = `/dev/virtio-ports/${PERF_PORT_NAME}`;
    await guest.startInGuest(`agent-guest trace -e '${EVENT}//push="${port}"/' --tsc`);
    await guest.console.waitForLine(/^Pushing /, READY_DEADLINE_MS);
    session = new LiveSession([`${EVENT}//pull=${guest.channel}/`]);
    equal = new PingEstimator(hostTsc(session.anchor), RATE_EQUAL);
    unknown = new PingEstimator(hostTsc(session.anchor), RATE_UNKNOWN);
    const alignment = session.machines.guests[0]!.time!.alignment;
    const taken = alignment.addRoundTrip.bind(alignment);
    alignment.addRoundTrip = (trip) => {
      equal.add(trip);
      unknown.add(trip);
      return taken(trip);
    };
    await session.start(READY_DEADLINE_MS);
  });

  afterAll(async () => {
    session?.close();
    await guest?.shutdown();
  });

  /** Holds both estimates against the truth, round by round; gives how often there was a pong. */
  async function prove(name: string, ms: number): Promise<number> {
    const { anchor, nsPerCycle } = session;
    const proofs = [new ClockProof(`ping, ${name}`), new ClockProof(`ping, rate unknown, ${name}`)];
    const begin = truth.offset();
    const pongs = equal.pingCount;
    const [beginMs, deadlineMs] = [performance.now(), performance.now() + ms];
    let settledNs = Infinity;
    await waitUntil(
      () => {
        session.round();
        const offset = truth.offset();
        const now = readTsc();
        const cycles = Number(now - anchor);
        const guestNow = BigInt.asUintN(64, now + offset);
        [equal, unknown].forEach((estimator, i) => {
          if (!estimator.isReady) return;
          const claimed = estimator.map.convert(guestNow);
          proofs[i]!.count(claimed.cycles, claimed.boundCycles, cycles, cycles, nsPerCycle);
        });
        if (settledNs === Infinity && performance.now() - beginMs > SETTLED_MS) {
          settledNs = equal.boundCycles * nsPerCycle;
        }
        return performance.now() >= deadlineMs;
      },
      2 * ms,
      `the end of ${ms} ms`,
    );
    for (const proof of proofs) proof.report(ms / 100);
    const trips = equal.pingCount - pongs;
    console.log(
      `  ${trips} round trips, bound after ${SETTLED_MS / 1000} s ${settledNs.toFixed(0)} ns`,
    );
    expect(Math.abs(Number(truth.offset() - begin))).toBeLessThan(OFFSET_CREEP_MAX);
    return trips;
  }

  test("contains the truth at every moment", async () => {
    expect(truth.isKnown).toBe(true);
    expect(await prove("emulated guest", QUIET_MS)).toBeGreaterThan(100);
  });

  test("finds that the guest was stopped, tells, and contains the truth anew", async () => {
    const { anchor, nsPerCycle, statuses } = session;
    const before = truth.offset();
    const epochs = [equal, unknown].map(({ epoch }) => epoch);
    await guest.qmp.execute("stop");
    const stoppedMs = performance.now();
    await waitUntil(() => performance.now() - stoppedMs > STOP_MS, READY_DEADLINE_MS, "a pause");
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
    const { apartCycles } = equal.lastStep!;
    expect(Math.abs(apartCycles - stepped)).toBeLessThan(stepped / 2 + 10_000_000);
    const warning = statuses.find((text) =>
      text.startsWith("WARNING: the guest's TSC stepped by some"),
    );
    expect(warning).toBeDefined();
    console.log(`  stopped for ${((stepped * nsPerCycle) / 1000).toFixed(0)} us: ${warning}`);
  });

  test("with all cores busy too", async () => {
    await using _load = busyCores();
    expect(await prove("emulated guest, cores busy", BUSY_MS)).toBeGreaterThan(10);
  });
});
