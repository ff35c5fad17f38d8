/**
 * agent-host killed by SIGKILL at random moments while events pour, again and again: with --resume
 * the output of all runs together holds each event exactly once, or the ledger has it. Some 25 s;
 * 1,000 kills at night.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, existsSync, openSync, readFileSync, writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { NIGHTLY } from "../../nightly.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { JsonOutput, pulled, startGuest } from "../support/live.ts";

const KILLS_MIN = 5;
const KILLS_NIGHTLY = 1000;
/** In `make test`: as many as fit. */
const BUDGET_MS = 12_000;
/** A host starts within some 300 ms, or 1,000 on a busy machine: kills come before and after. */
const KILL_MS_MAX = 1500;
const CALLS_PER_LOOK = 200;
const DEADLINE_MS = 60_000;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** A run of agent-host that appends to `out`. */
function startRun(place: string, out: string, resume: string): AgentProcess {
  const stdoutFd = openSync(out, "a");
  const args = ["trace", "-e", pulled(place), "--json", "--resume", resume];
  const host = startAgent(workspace, "agent-host", args, { stdoutFd });
  closeSync(stdoutFd);
  return host;
}

describe.skipIf(NO_TRACING !== "")("--resume", () => {
  test(
    "events of a host that is killed at any moment come exactly once",
    async () => {
      const place = `unix:${workspace.file("kill.sock")}`;
      const [out, resume] = [workspace.file("out"), workspace.file("resume")];
      const guest = await startGuest(workspace, place);
      let host = startRun(place, out, resume);
      await host.said(/^Tracing$/m);
      const startMs = performance.now();
      let [calls, kills] = [0, 0];
      const isOver = (): boolean =>
        NIGHTLY
          ? kills === KILLS_NIGHTLY
          : kills >= KILLS_MIN && performance.now() - startMs > BUDGET_MS;
      while (!isOver()) {
        const killMs = performance.now() + Math.random() * KILL_MS_MAX;
        // Calls are made each time that the condition is looked at, some 50 times a second.
        const isTime = (): boolean => {
          callGetppid(CALLS_PER_LOOK, calls);
          calls += CALLS_PER_LOOK;
          return performance.now() >= killMs;
        };
        await waitUntil(isTime, DEADLINE_MS, "the moment to kill");
        expect(await host.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
        kills++;
        host = startRun(place, out, resume);
      }
      await host.said(/^Tracing$/m);
      // A ring that is still full has no room for the first of these.
      const lastFrom = calls;
      const isThere = (): boolean => {
        callGetppid(1, calls++);
        const last = /.*\n$/.exec(readFileSync(out, "latin1"))?.[0] ?? "";
        return Number(/"args":\[(\d+)/.exec(last)?.[1]) >= lastFrom;
      };
      await waitUntil(isThere, DEADLINE_MS, "the last calls");
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(readFileSync(out, "latin1"));
      const { numbers } = output;
      const [produced, delivered] = [
        output.sum("guest 1", "produced"),
        output.sum("guest 1", "delivered"),
      ];
      console.log(`${kills} kills: ${calls} calls = ${delivered} delivered + the rest lost`);
      expect(produced).toBe(calls);
      expect(output.verdict).toMatchObject({ state: "balances" });
      expect(numbers.length).toBe(delivered);
      expect(new Set(numbers).size).toBe(delivered);
      expect(output.sum("guest 1", "lost_kernel") + output.sum("guest 1", "dropped")).toBe(
        calls - delivered,
      );
      expect(output.faults).toEqual([]);
      expect(existsSync(resume)).toBe(false);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    },
    120_000 + (NIGHTLY ? 3_600_000 : 0),
  );

  test("of a guest agent that was killed meanwhile begins anew, and says so", async () => {
    const place = `unix:${workspace.file("anew.sock")}`;
    const [out, resume] = [workspace.file("anew"), workspace.file("anew.resume")];
    const killed = await startGuest(workspace, place);
    const first = startRun(place, out, resume);
    await first.said(/^Tracing$/m);
    callGetppid(100);
    await waitUntil(() => existsSync(resume), DEADLINE_MS, "the file of --resume");
    await first.stop("SIGKILL");
    await killed.stop("SIGKILL");
    const guest = await startGuest(workspace, place);
    const host = startRun(place, out, resume);
    await host.said(/^Tracing$/m);
    expect(host.stderr).toMatch(/ has begun anew since --resume's file was written$/m);
    callGetppid(100, 100);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(readFileSync(out, "latin1"));
    expect(output.numbers.slice(-100)).toEqual(Array.from({ length: 100 }, (_, i) => 100 + i));
    expect(output.sum("guest 1", "produced")).toBe(100);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  for (const [what, text] of [
    ["something else", "a log\n"],
    ["another version", '{"version":2,"sources":[]}'],
    [
      "negative positions",
      '{"version":1,"sources":[{"name":"x","streamNonce":"1","cpus":[{"cpu":-1}]}]}',
    ],
  ] as const) {
    test(`with a file that holds ${what} is a wrong command line`, async () => {
      const resume = workspace.file("broken");
      writeFileSync(resume, text);
      const args = ["trace", "-e", pulled("unix:/nowhere"), "--resume", resume];
      const host = startAgent(workspace, "agent-host", args);
      expect(await host.end()).toMatchObject({ code: EXIT.USAGE });
      expect(host.stderr).toMatch(/^agent-host: ERROR: Cannot resume from "\S+broken": /m);
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
