/**
 * The options of multi-trace on real local events whose numbers are known: each getppid of this
 * thread is one sys_enter and one sys_exit.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID, ownTid } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { JsonOutput } from "../support/live.ts";

const CALLS = 1000;
const SLOW_PAIR =
  /^.{26} {3}.{16} +\d+ \S+ \[\d{3}\] \d+\.\d{6}: raw_syscalls:sys_enter: NR 110 \(.*\)$/gm;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const ENTER = (): string[] => ["-e", OWN_GETPPID()];
const PAIR = (): string[] => [
  ...ENTER(),
  "-e",
  OWN_GETPPID().replace("sys_enter", "sys_exit"),
  "-k",
  "common_pid",
];

/** Runs multi-trace on local events, makes the calls while it traces, and ends it by SIGINT. */
async function measure(args: readonly string[], calls = CALLS): Promise<AgentProcess> {
  const host = startAgent(workspace, "agent-host", ["multi-trace", ...args]);
  await host.said(/^Tracing$/m);
  callGetppid(calls);
  if (!args.includes("-N")) host.kill("SIGINT");
  await host.end();
  return host;
}

async function measureJson(args: readonly string[], calls = CALLS) {
  const host = await measure([...args, "--json"], calls);
  return { output: new JsonOutput(host.stdout), ending: await host.end() };
}

describe.skipIf(NO_TRACING !== "")("multi-trace on local events", () => {
  test("pairs every call, and balances", async () => {
    const { output, ending } = await measureJson(PAIR());
    expect(ending).toMatchObject({ code: EXIT.DONE });
    expect(output.verdict).toMatchObject({ state: "balances", delivered: 2 * CALLS });
    const [line, ...others] = output.latencies;
    expect(others).toEqual([]);
    expect(line).toMatchObject({ start: "sys_enter", end: "sys_exit", calls: CALLS });
    expect(line!.min_ns).toBeGreaterThan(0);
    expect(output.intervals.at(-1)).toMatchObject({ unmatched_ends: 0, replaced_starts: 0 });
  });

  test("--perins gives each key its row", async () => {
    const { output } = await measureJson([...PAIR().slice(0, 4), "-k", "id", "--perins"]);
    expect(output.latencies).toMatchObject([{ calls: CALLS, key: "110", key_name: "id" }]);
    const host = await measure([...PAIR(), "--perins"]);
    expect(host.stdout).toMatch(new RegExp(`^${ownTid()} +sys_enter => sys_exit +${CALLS} `, "m"));
  });

  test("--cycle measures from each call to the next", async () => {
    const { output } = await measureJson([...ENTER(), "-k", "common_pid", "--cycle"]);
    expect(output.latencies).toMatchObject([{ start: "sys_enter", end: "sys_enter" }]);
    expect(output.latencies[0]!.calls).toBe(CALLS - 1);
  });

  test("--than prints each pair above it, and the exit code says so", async () => {
    const host = await measure([...PAIR(), "--than", "1ns"]);
    expect(await host.end()).toMatchObject({ code: EXIT.THRESHOLD });
    expect(host.stdout.match(SLOW_PAIR)).toHaveLength(CALLS);
  });

  test("--than above every latency prints nothing and ends with 0", async () => {
    const host = await measure([...PAIR(), "--than", "100s"]);
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    expect(host.stdout).not.toMatch(SLOW_PAIR);
    expect(host.stdout).toMatch(new RegExp(`^sys_enter => sys_exit +${CALLS} `, "m"));
  });

  test("--only-than prints no table without a slow pair", async () => {
    const host = await measure([...PAIR(), "--than", "100s", "--only-than"]);
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    expect(host.stdout).toBe("");
  });

  test("--detail shows both events and what lies between", async () => {
    const host = await measure([...PAIR(), "--than", "1ns", "--detail=samecpu"], 10);
    expect(await host.end()).toMatchObject({ code: EXIT.THRESHOLD });
    expect(host.stdout.match(/raw_syscalls:sys_enter: NR 110/g)).toHaveLength(10);
    expect(host.stdout.match(/raw_syscalls:sys_exit: NR 110 = \d+/g)).toHaveLength(10);
    expect(host.stdout.match(/^\| *\+? *\d+\.\d+ us *$|\d+\.\d{3} us/gm)!.length).toBeGreaterThan(
      9,
    );
  });

  test("-N ends after exactly so many events", async () => {
    const { output, ending } = await measureJson([...PAIR(), "-N", "100"]);
    expect(ending).toMatchObject({ code: EXIT.DONE });
    expect(output.latencies).toMatchObject([{ calls: 50 }]);
    expect(output.verdict).toMatchObject({ state: "balances" });
  });

  test("-i prints a table per interval that has something in it", async () => {
    const host = startAgent(workspace, "agent-host", [
      "multi-trace",
      ...PAIR(),
      "-i",
      "50",
      "--json",
    ]);
    await host.said(/^Tracing$/m);
    const callsSoFar = (): number =>
      new JsonOutput(host.stdout).latencies.reduce((sum, { calls }) => sum + calls, 0);
    for (let turn = 1; turn <= 3; turn++) {
      callGetppid(CALLS);
      await host.until(() => callsSoFar() === turn * CALLS, `${turn * CALLS} calls in tables`);
    }
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(callsSoFar()).toBe(3 * CALLS);
  });

  test("--tsc shows kilocycles", async () => {
    const host = await measure([...PAIR(), "--tsc"]);
    expect(host.stdout).toContain("total(kcyc)    min(kcyc)    p50(kcyc)");
  });

  test("untraced events are shown by --detail only", async () => {
    const events = [...PAIR(), "-e", "sched:sched_switch//untraced/"];
    const { output } = await measureJson(events);
    expect(output.latencies).toMatchObject([{ calls: CALLS }]);
  });
});
