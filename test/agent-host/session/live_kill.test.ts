/**
 * agent-host killed by SIGKILL at random moments while events pour, again and again: with --resume
 * the output of all runs together holds each event exactly once, or the ledger has it. Some 25 s;
 * 1,000 kills at night.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readdirSync, readFileSync, writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { perNight } from "../../nightly.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { startAgent } from "../support/agent_process.ts";
import { KillRun } from "../support/kill_run.ts";
import { JsonOutput, pulled, startGuest } from "../support/live.ts";
import { type CallsFound, findCalls, NumberedCalls } from "../support/numbered_calls.ts";

/** Of each kind of ring: 1,000 kills at night. */
const ROUNDS = perNight(1, 25);
const KILLS_PER_ROUND = perNight(8, 20);
const ROUND_MS_MAX = 180_000;
/** A look is some 20 ms. */
const CALLS_PER_LOOK = 100;
const DEADLINE_MS = 60_000;
let workspaceFiles = 0;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Whether all threads stand still: one that runs goes on until another has taken the signal. */
function isStopped(pid: number): boolean {
  const tasks = readdirSync(`/proc/${pid}/task`);
  const stats = tasks.map((task) => readFileSync(`/proc/${pid}/task/${task}/stat`, "latin1"));
  return stats.every((text) => /\) T /.test(text));
}

/** Rings of 16 MiB keep what is made in half a minute, those of 64 KiB what is made in 0.1 s. */
const RINGS = [
  { name: "rings that hold it all", pages: 4096, isLossless: true },
  { name: "rings that overflow", pages: 16, isLossless: false },
] as const;

/** So many kills of one stream; gives what became of each call. */
async function killMany(kills: number, pages: number): Promise<[KillRun, CallsFound[], number]> {
  const name = `kill${workspaceFiles++}`;
  const place = `unix:${workspace.file(`${name}.sock`)}`;
  const guest = await startGuest(workspace, place, ["-m", String(pages)]);
  const calls = new NumberedCalls();
  const run = new KillRun(workspace, ["trace", "-e", pulled(place)], name, () =>
    calls.make(CALLS_PER_LOOK),
  );
  while (run.kills < kills) await run.kill();
  const host = run.start();
  await run.untilTracing(host);
  // A ring that is still full has no room for the first of these.
  const lastFrom = calls.count;
  const isThere = (): boolean => {
    calls.make(1);
    const last = /.*\n$/.exec(run.output())?.[0] ?? "";
    return Number(/"args":\[(\d+)/.exec(last)?.[1]) >= lastFrom;
  };
  await waitUntil(isThere, DEADLINE_MS, "the last calls");
  expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
  const output = new JsonOutput(run.output());
  const found = findCalls(calls, output);
  for (const [i, verdict] of output.verdicts.entries())
    expect([i, verdict.state]).toEqual([i, "balances"]);
  expect(output.faults).toEqual([]);
  expect(run.hasFile).toBe(false);
  expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  return [run, found, calls.count];
}

describe.skipIf(NO_TRACING !== "")("--resume", () => {
  for (const { name, pages, isLossless } of RINGS) {
    test(
      `of a host that is killed at any moment: each event once, or counted (${name})`,
      async () => {
        const phases = new Map<string, number>();
        for (let round = 0; round < ROUNDS; round++) {
          const [run, found, made] = await killMany(KILLS_PER_ROUND, pages);
          for (const [phase, count] of run.phases) {
            phases.set(phase, (phases.get(phase) ?? 0) + count);
          }
          const printed = found.reduce((sum, cpu) => sum + cpu.printed, 0);
          const list = [...phases].map(([phase, count]) => `${phase} ${count}`).join(", ");
          console.log(
            `${run.kills} kills: ${made} calls, ${run.callsUnattended} of them with no host: ` +
              `${printed} printed, ${made - printed} counted as lost; so far: ${list}`,
          );
          for (const cpu of found) {
            expect(cpu).toMatchObject({ twice: 0, misplaced: 0, unordered: 0, produced: cpu.made });
            expect(cpu.lostKernel + cpu.dropped).toBe(cpu.missing);
          }
          if (isLossless) expect(printed).toBe(made);
          else expect(printed).toBeLessThan(made);
        }
      },
      ROUNDS * ROUND_MS_MAX,
    );
  }

  test("of a guest agent that was killed meanwhile begins anew, and says so", async () => {
    const place = `unix:${workspace.file("anew.sock")}`;
    const run = new KillRun(workspace, ["trace", "-e", pulled(place)], "anew", () => 0);
    const killed = await startGuest(workspace, place);
    const first = run.start();
    await first.said(/^Tracing$/m);
    callGetppid(100);
    await waitUntil(() => run.hasFile, DEADLINE_MS, "the file of --resume");
    await first.stop("SIGKILL");
    await killed.stop("SIGKILL");
    const guest = await startGuest(workspace, place);
    const host = run.start();
    await host.said(/^Tracing$/m);
    expect(host.stderr).toMatch(/ has begun anew since --resume's file was written$/m);
    callGetppid(100, 100);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(run.output());
    expect(output.numbers.slice(-100)).toEqual(range(100, 100));
    const last = output.ledger.filter(({ stream }) => stream === "2");
    expect(last.reduce((sum, row) => sum + row.produced!, 0)).toBe(100);
    expect(output.streamEnds).toMatchObject([{ stream: "1", goodbye: false }]);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("of a guest that does not answer the goodbye leaves its file for the rest", async () => {
    const place = `unix:${workspace.file("held.sock")}`;
    const run = new KillRun(workspace, ["trace", "-e", pulled(place)], "held", () => 0);
    const guest = await startGuest(workspace, place);
    const first = run.start();
    await first.said(/^Tracing$/m);
    guest.kill("SIGSTOP");
    await waitUntil(() => isStopped(guest.pid), DEADLINE_MS, "all threads to stand still");
    callGetppid(100);
    expect(await first.stop()).toMatchObject({ code: EXIT.DONE });
    expect(first.stderr).toMatch(/ has not handed over all that it holds: the next run with this/);
    expect(run.hasFile).toBe(true);
    guest.kill("SIGCONT");
    const host = run.start();
    await host.said(/^Tracing$/m);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(run.output());
    expect(output.numbers).toEqual(range(100));
    expect(output.verdicts.map(({ state }) => state)).toEqual(["unknown", "balances"]);
    expect(run.hasFile).toBe(false);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  for (const [what, text] of [
    ["something else", "a log\n"],
    ["another version", '{"version":2,"sources":[]}'],
    [
      "negative positions",
      '{"version":1,"sources":[{"name":"x","streamNonce":"1","cpus":[{"cpu":-1}],"ended":[]}]}',
    ],
  ] as const) {
    test(`with a file that holds ${what} is a wrong command line`, async () => {
      const resume = workspace.file("broken");
      writeFileSync(resume, text);
      const args = ["trace", "-e", pulled("unix:/nowhere"), "--resume", resume];
      const host = startAgent(workspace, "agent-host", args);
      expect(await host.end()).toMatchObject({ code: EXIT.USAGE });
      expect(host.stderr).toMatch(/^agent-host: ERROR: Cannot use --resume "\S+broken": /m);
      expect(readFileSync(resume, "utf8")).toBe(text);
    });
  }

  test("with events of this machine or a recording is a wrong command line", async () => {
    for (const event of ["sched:sched_switch", pulled("/tmp/recording.vms")]) {
      const args = ["trace", "-e", event, "--resume", workspace.file("unused")];
      const host = startAgent(workspace, "agent-host", args);
      expect(await host.end()).toMatchObject({ code: EXIT.USAGE });
      expect(host.stderr).toContain("Cannot use --resume: it is for what guests keep");
    }
  });
});
