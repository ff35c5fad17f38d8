/**
 * agent-guest killed by SIGKILL under load, and agent-host with it or before it, again and again:
 * what an agent held that was killed is gone, but nothing comes twice, each stream has its rows in
 * the ledger of the last run, and what that says is complete is complete.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { rmSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { perNight } from "../../nightly.ts";
import { NO_TRACING } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import type { AgentProcess } from "../support/agent_process.ts";
import { KillRun } from "../support/kill_run.ts";
import { JsonOutput, type LedgerObject, pulled, startGuest } from "../support/live.ts";
import { NumberedCalls } from "../support/numbered_calls.ts";

/** The last 16 streams are told one by one. */
const DEATHS = perNight(4, 12);
const ROUNDS = perNight(1, 5);
const CALLS_PER_LOOK = 100;
/** Between a stream's begin and its death, at most. */
const LIFE_MS_MAX = 600;
/** Dates are the TSC's since the start: the system's clock may be slewed against it meanwhile. */
const SLEW_MS_MAX = 10;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** When calls were made: those before `end` were there before `ns`. */
interface Made {
  readonly end: number;
  readonly ns: bigint;
}

/** One life of agent-guest: it is killed, and agent-host before it, after it or not at all. */
async function liveAndDie(run: KillRun, guest: AgentProcess, death: number): Promise<void> {
  const host = run.start();
  await run.untilTracing(host);
  await run.untilPrinted(host);
  await run.pass(host, LIFE_MS_MAX);
  if (death % 3 === 0) await host.stop("SIGKILL");
  await guest.stop("SIGKILL");
  if (death % 3 === 1) await host.stop("SIGKILL");
  run.hold();
  const { code } = await host.end();
  if (code !== null) expect(code).toBe(EXIT.SOURCE);
}

describe.skipIf(NO_TRACING !== "")("both agents killed", () => {
  test.each(Array.from({ length: ROUNDS }, (_, round) => round))(
    "--resume shows each stream's ledger, and holds what it says is complete (round %d)",
    async (round) => {
      const socket = workspace.file(`both${round}.sock`);
      const place = `unix:${socket}`;
      const calls = new NumberedCalls();
      const made: Made[] = [];
      const run = new KillRun(workspace, ["trace", "-e", pulled(place)], `both${round}`, () => {
        const count = calls.make(CALLS_PER_LOOK);
        made.push({ end: calls.count, ns: BigInt(Date.now() + SLEW_MS_MAX) * 1_000_000n });
        return count;
      });
      /** The first call of each stream. */
      const begins = [0];
      for (let death = 0; death < DEATHS; death++) {
        const guest = await startGuest(workspace, place, ["-m", "4096"]);
        await liveAndDie(run, guest, death);
        begins.push(calls.count);
        rmSync(socket, { force: true });
      }
      const guest = await startGuest(workspace, place, ["-m", "4096"]);
      const host = run.start();
      await run.untilTracing(host);
      await run.pass(host, LIFE_MS_MAX);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
      expect(run.hasFile).toBe(false);
      const printed = checkStreams(new JsonOutput(run.output()), begins, made);
      const last = calls.count - begins.at(-1)!;
      expect(printed.inLast).toEqual({ produced: last, delivered: last });
      console.log(
        `${DEATHS} agents killed: ${calls.count} calls, ${printed.calls} printed, ` +
          `${calls.count - printed.calls} gone with their agent, after what is said to be complete`,
      );
    },
    120_000 + DEATHS * 10_000,
  );
});

/** Each stream's rows count what was printed of it, and nothing lacks before what is complete. */
function checkStreams(output: JsonOutput, begins: readonly number[], made: readonly Made[]) {
  const { ledger } = output.lastRun;
  const printed = new Set(output.numbers);
  expect(printed.size).toBe(output.numbers.length);
  const names = Array.from({ length: DEATHS }, (_, i) => String(i + 1));
  expect(output.streamEnds.map(({ stream }) => stream)).toEqual(names);
  for (const [i, { stream, complete_ns }] of output.streamEnds.entries()) {
    const [from, to] = [begins[i]!, begins[i + 1]!];
    const inStream = output.numbers.filter((number) => number >= from && number < to);
    const rows = ledger.filter((row) => row.stream === stream);
    expect([stream, sumOf(rows, "delivered")]).toEqual([stream, inStream.length]);
    expect(sumOf(rows, "lost_kernel") + sumOf(rows, "dropped")).toBe(0);
    // A host that was killed may not have got to saying anything about the stream.
    if (i % 3 === 2) expect(complete_ns).not.toBeNull();
    const known = made.findLast(({ ns, end }) => end <= to && ns < BigInt(complete_ns ?? 0));
    const complete = range((known?.end ?? from) - from, from);
    expect(complete.filter((number) => !printed.has(number))).toEqual([]);
  }
  const last = ledger.filter(({ stream }) => stream === String(DEATHS + 1));
  const inLast = { produced: sumOf(last, "produced"), delivered: sumOf(last, "delivered") };
  return { calls: printed.size, inLast };
}

type Count = "produced" | "delivered" | "lost_kernel" | "dropped";

function sumOf(rows: readonly LedgerObject[], of: Count): number {
  return rows.reduce((sum, row) => sum + row[of]!, 0);
}
