/** agent-host dump and --dump-on-than against live flight recorders of this machine. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { CAPACITY, fire, startRecorder } from "../../agent-guest/support/recorder.ts";
import { freePort, startTrace } from "../../agent-guest/support/trace.ts";
import { NO_TRACING, OWN_GETPPID, ownTid } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { runAgent, startAgent } from "../support/agent_process.ts";
import { JsonOutput, startHost } from "../support/live.ts";

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Guest and host are one machine: where that is said, nothing has to be measured. */
const KNOWN = ["--tsc-offset", "0"];

interface Dumped {
  readonly code: number | null;
  readonly output: JsonOutput;
  readonly stderr: string;
}

async function dump(source: string): Promise<Dumped> {
  const args = ["dump", "--pull", source, "--json", ...KNOWN];
  const { code, stdout, stderr } = await runAgent(workspace, "agent-host", args);
  return { code, output: new JsonOutput(stdout), stderr };
}

describe.skipIf(NO_TRACING !== "")("agent-host dump", () => {
  test("prints what the ring holds, in order, and says what was overwritten", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const source = `unix:${trace.workspace.file("s")}`;
    fire(20_000, 0);
    const first = await dump(source);
    expect(first).toMatchObject({ code: EXIT.DONE });
    const { numbers, verdict } = first.output;
    expect(numbers.length).toBeGreaterThan(CAPACITY / 2);
    expect(numbers).toEqual(range(20_000).slice(-numbers.length));
    const overwritten = 20_000 - numbers.length;
    expect(verdict).toMatchObject({
      state: "balances",
      produced: 20_000,
      delivered: numbers.length,
      dropped: overwritten,
    });
    expect(first.output.ledger).toMatchObject([
      { drops: [{ place: "overwritten", events: overwritten }] },
    ]);
    expect(first.output.faults).toEqual([]);
    // The next one has only what is new.
    fire(30, 20_000);
    const second = await dump(source);
    expect(second.output.numbers).toEqual(range(20_030).slice(-30));
    expect(second.output.verdict).toMatchObject({ state: "balances", produced: 30, dropped: 0 });
    await trace.stop();
  });

  test("over tcp", async () => {
    const port = await freePort();
    await using trace = await startRecorder(`${port}`);
    fire(40, 0);
    const { code, output } = await dump(`${port}`);
    expect(code).toBe(EXIT.DONE);
    expect(output.numbers).toEqual(range(40));
    expect(output.verdict).toMatchObject({ state: "balances", produced: 40, dropped: 0 });
    await trace.stop();
  });

  test("trace shows each dump when it comes, however it was triggered", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const pull = `raw_syscalls:sys_enter//pull=unix:${trace.workspace.file("s")}/`;
    const host = await startHost(workspace, ["trace", "-e", pull, "-N", "30", ...KNOWN]);
    fire(10, 0);
    trace.agent.kill("SIGUSR2");
    await host.said(/^guest 1: dump 1 \(SIGUSR2\)$/m);
    await host.printed(10);
    fire(20, 10);
    trace.agent.kill("SIGUSR2");
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    expect(host.stdout.trimEnd().split("\n")).toHaveLength(30);
    expect(host.stderr).toContain("ledger: balances");
    expect(host.stderr).not.toContain("is silent");
    await trace.stop();
  });

  test("a recording of dumps is read like any other", async () => {
    await using trace = await startRecorder("FOLDER/x.vms");
    fire(5_000, 0);
    trace.agent.kill("SIGUSR2");
    await trace.agent.said(/^Dump 1 /m);
    await trace.stop();
    const pull = `raw_syscalls:sys_enter//pull="${trace.workspace.file("x.vms")}"/`;
    const args = ["trace", "-e", pull, "--json"];
    const { code, stdout } = await runAgent(workspace, "agent-host", args);
    const { numbers, verdict } = new JsonOutput(stdout);
    expect(code).toBe(EXIT.DONE);
    expect(numbers).toEqual(range(5_000).slice(-numbers.length));
    expect(verdict).toMatchObject({ state: "balances", produced: 5_000 });
  });

  test("an agent that is no recorder is told apart, with the way to start one", async () => {
    await using trace = await startTrace("unix:FOLDER/s");
    const args = ["dump", "--pull", `unix:${trace.workspace.file("s")}`];
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", args);
    expect({ code, stdout }).toEqual({ code: EXIT.SOURCE, stdout: "" });
    expect(stderr).toContain("it sends its events as they happen");
    expect(stderr).toContain(
      "HINT: a flight recorder is started with agent-guest trace --overwrite",
    );
  });

  test("an agent that serves is told apart too", async () => {
    const socket = workspace.file("serve.sock");
    const guest = startAgent(workspace, "agent-guest", ["serve", `unix:${socket}`]);
    await guest.said(/^Waiting for a host/m);
    const args = ["dump", "--pull", `unix:${socket}`];
    const { code, stderr } = await runAgent(workspace, "agent-host", args);
    expect({ code, stderr }).toMatchObject({ code: EXIT.SOURCE });
    expect(stderr).toContain("it serves, and is no flight recorder");
    await guest.stop();
  });

  test("a pair over --than has the recorder dump, whose events are printed", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const source = `unix:${trace.workspace.file("s")}`;
    const exit = `raw_syscalls:sys_exit/common_pid==${ownTid()}&&id==110/`;
    const stages = ["-e", `${OWN_GETPPID()}key=common_pid/`, "-e", `${exit}key=common_pid/`];
    const thresholds = ["--than", "1ns", "--dump-on-than", source, ...KNOWN];
    const host = await startHost(workspace, ["multi-trace", ...stages, ...thresholds]);
    fire(3, 0);
    await host.said(/^guest 1: dump 1 \(host\)$/m);
    await host.showed(/^\S+ \S+ G .* raw_syscalls:sys_enter: /m);
    expect(await host.stop()).toMatchObject({ code: EXIT.THRESHOLD });
    const lines = host.stdout.split("\n").filter((line) => / G .*sys_enter/.test(line));
    expect(lines).toHaveLength(3);
    expect(host.stdout).toMatch(/^ *host sys_enter => sys_exit +3 /m);
    expect(host.stderr).toContain("ledger: balances");
    expect(host.stderr).not.toContain("too late");
    expect(host.stderr).toMatch(/^clock bound: [\d.]+ us \(guest 1: --tsc-offset, /m);
    await trace.stop();
  });

  test("says how far off its times are, and round trips bound those of before it", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const source = `unix:${trace.workspace.file("s")}`;
    const boundUsOf = async (options: readonly string[], method: string): Promise<number> => {
      fire(10, 0);
      const args = ["dump", "--pull", source, ...options];
      const { code, stdout, stderr } = await runAgent(workspace, "agent-host", args);
      expect({ code, lines: stdout.trimEnd().split("\n").length }).toEqual({ code: 0, lines: 10 });
      const found = /^clock bound: ([\d.]+) us \(guest 1: (.+), \w+ perf clock\)$/m.exec(stderr);
      expect(found?.[2]).toBe(method);
      return Number(found?.[1]);
    };
    const [known, measured] = [await boundUsOf(KNOWN, "--tsc-offset"), await boundUsOf([], "ping")];
    expect(known).toBeLessThan(measured);
    // After one burst of round trips it was minutes to hours.
    expect(measured).toBeLessThan(1_000_000);
    await trace.stop();
  });
});

describe("wrong command lines", () => {
  const cases: [string, string[], string][] = [
    ["dump without a source", ["dump"], "HINT: --pull 9900"],
    [
      "dump of a recording",
      ["dump", "--pull", "FILE"],
      "a recording holds what was dumped already",
    ],
    ["dump of nonsense", ["dump", "--pull", "nonsense"], "Cannot pull from"],
    [
      "--dump-on-than without --than",
      ["multi-trace", "-e", "a:b", "-e", "c:d", "--dump-on-than", "9900"],
      "HINT: --than 1ms",
    ],
  ];
  for (const [name, args, said] of cases) {
    test(name, async () => {
      const file = workspace.file("x.vms");
      writeFileSync(file, "");
      const words = args.map((word) => (word === "FILE" ? file : word));
      const { code, stderr } = await runAgent(workspace, "agent-host", words);
      expect({ code, stderr }).toMatchObject({ code: EXIT.USAGE });
      expect(stderr).toContain(said);
    });
  }
});
