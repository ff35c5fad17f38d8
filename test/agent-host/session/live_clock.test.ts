/**
 * The clock of a whole session against the TSC itself: rdtsc, a call that the host and an agent in
 * the guest's place both see, rdtsc. What either of them says of the call's time, less and plus the
 * bound that it claims for it, has to reach the time between the two readings. Every one of them.
 */
import { afterAll, beforeAll, describe, test } from "bun:test";
import { readTsc } from "../../../shared/sys/clock.ts";
import { ClockProof } from "../../clock_proof.ts";
import { perNight } from "../../nightly.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { startGuest } from "../support/live.ts";
import { LiveSession } from "../support/live_session.ts";
import { busyCores } from "../support/load.ts";

/** Calls of one turn; the clocks are read and pinged between turns. */
const CALLS = 20;
const TURNS = perNight(150, 6000);
const KEY = `key="args[0]"/`;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** TSC before and after each call, by its number. */
class Sandwiches {
  readonly before: bigint[] = [];
  readonly after: bigint[] = [];

  call(count: number): void {
    for (let i = 0; i < count; i++) {
      const number = this.before.length;
      this.before.push(readTsc());
      callGetppid(1, number);
      this.after.push(readTsc());
    }
  }
}

async function prove(name: string, place: string): Promise<void> {
  const guest = await startGuest(workspace, place);
  const pulled = `raw_syscalls:sys_enter//pull="${place}"/${KEY}`;
  const session = new LiveSession([pulled, `${OWN_GETPPID()}${KEY}`]);
  const sandwiches = new Sandwiches();
  try {
    await session.start();
    for (let turn = 0; turn < TURNS; turn++) {
      sandwiches.call(CALLS);
      session.round();
    }
    await session.until(2 * CALLS * TURNS);
    const { anchor, nsPerCycle, events } = session;
    const since = (tsc: bigint): number => Number(tsc - anchor);
    const proofs = [new ClockProof(`${name}, host`), new ClockProof(`${name}, guest by ping`)];
    for (const { machine, key, cycles, boundCycles } of events) {
      const [low, high] = [since(sandwiches.before[key]!), since(sandwiches.after[key]!)];
      proofs[machine]!.count(cycles, boundCycles, low, high, nsPerCycle);
    }
    for (const proof of proofs) proof.report(CALLS * TURNS);
  } finally {
    session.close();
    await guest.stop();
  }
}

describe.skipIf(NO_TRACING !== "")("every event lies within its bound", () => {
  test("from the first one on, over a unix socket", async () => {
    await prove("session", `unix:${workspace.file("quiet.sock")}`);
  }, 300_000);

  test("with all cores busy", async () => {
    await using _load = busyCores();
    await prove("session under load", `unix:${workspace.file("busy.sock")}`);
  }, 600_000);
});
