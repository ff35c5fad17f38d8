/** How a trace ends: by a signal, by two, with its process; and what it leaves behind. */
import { describe, expect, test } from "bun:test";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync } from "node:fs";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { startAgent } from "../agent-host/support/agent_process.ts";
import { callGetppid, libcPath, NO_TRACING, OWN_GETPPID } from "../shared/event/kernel.ts";
import { waitUntil } from "../vm/deadline.ts";
import { Workspace } from "../vm/workspace.ts";
import { DEADLINE_MS, GuestClient } from "./support/guest_client.ts";
import { readStreamFile, startTrace, startTraceOf, untilSampling } from "./support/trace.ts";

const UPROBES = NO_TRACING === "" ? `${Tracefs.open().root}/uprobe_events` : "";

describe.skipIf(NO_TRACING !== "")("agent-guest trace", () => {
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    test(`${signal} ends it with its ledger and exit code 0`, async () => {
      await using trace = await startTrace("FOLDER/x.vms");
      await untilSampling(trace, "x.vms");
      callGetppid(10);
      expect(await trace.stop(signal)).toMatchObject([{ produced: 10, forwarded: 10 }]);
      expect(readStreamFile(trace, "x.vms").bye).toBeDefined();
    });
  }

  test("two signals at the same time, as timeout sends them, are one request to end", async () => {
    await using trace = await startTrace("FOLDER/x.vms");
    await untilSampling(trace, "x.vms");
    callGetppid(10);
    trace.agent.kill("SIGTERM");
    expect(await trace.stop("SIGINT")).toMatchObject([{ produced: 10, forwarded: 10 }]);
  });

  test("a later signal ends it at once, although a host may still come back", async () => {
    await using trace = await startTrace("unix:FOLDER/s");
    const client = GuestClient.connect({ kind: "unix", path: trace.workspace.file("s") });
    client.attach();
    await client.untilSampling();
    callGetppid(10);
    client.close();
    await trace.agent.said(/Disconnected from/);
    const isOver = (): boolean => {
      trace.agent.kill("SIGINT");
      return trace.agent.hasEnded;
    };
    await waitUntil(isOver, DEADLINE_MS, "the end");
    expect(await trace.agent.end()).toEqual({ code: 1, signal: null });
    expect(trace.ledgers()).toEqual([]);
  });

  for (const option of ["--pid", "--tid"]) {
    test(`${option} ends with its task, by itself`, async () => {
      const child = spawn("/bin/sleep", ["60"]);
      await using trace = await startTraceOf(
        ({ path }) => [`raw_syscalls:sys_enter//push=${path}/x.vms/`],
        [option, `${child.pid}`],
      );
      await untilSampling(trace, "x.vms");
      const ended = once(child, "exit");
      child.kill("SIGTERM");
      await ended;
      expect(await trace.agent.end()).toEqual({ code: 0, signal: null });
      const [ledger] = trace.ledgers();
      expect(ledger!.forwarded).toBe(ledger!.produced);
      expect(readStreamFile(trace, "x.vms").ledger().final).toBe(true);
    });
  }

  test("-C samples these CPUs only", async () => {
    await using trace = await startTrace("FOLDER/x.vms", ["-C", "0"]);
    await untilSampling(trace, "x.vms");
    await trace.stop();
    expect(readStreamFile(trace, "x.vms").hello!.cpus.map(({ cpu }) => cpu)).toEqual([0]);
  });

  test("-q prints the ledger and nothing else", async () => {
    const events = ({ path }: { path: string }): string[] => [
      `${OWN_GETPPID()}push=${path}/x.vms/`,
    ];
    await using trace = await startTraceOf(events, ["--quiet"], true);
    await untilSampling(trace, "x.vms");
    const [ledger] = await trace.stop();
    expect(ledger).toBeDefined();
    expect(trace.agent.stderr.trim().split("\n").length).toBe(1);
  });

  const hasUprobes = libcPath() !== "" && existsSync(UPROBES);
  const probesOf = (pid: number): string[] =>
    readFileSync(UPROBES, "utf8")
      .split("\n")
      .filter((line) => line.includes(`:vmspan_${pid}_`));

  test.skipIf(!hasUprobes)("probes are there while it runs, and gone when it ends", async () => {
    const probe = `uprobe:getppid@"${libcPath()}"`;
    // One function for two sinks: a probe for each.
    await using trace = await startTraceOf(({ path }) => [
      `${probe}//push=${path}/a.vms/`,
      `${probe}//push=${path}/b.vms/`,
    ]);
    expect(probesOf(trace.agent.pid).length).toBe(2);
    await untilSampling(trace, "a.vms", "b.vms");
    await trace.stop();
    expect(probesOf(trace.agent.pid)).toEqual([]);
    for (const name of ["a.vms", "b.vms"]) {
      const { events } = readStreamFile(trace, name);
      expect(events.map((event) => [event.system, event.name])).toEqual([["uprobe", "getppid"]]);
      expect(events[0]!.definition).toContain("libc");
    }
  });

  test.skipIf(!hasUprobes)("a wrong option leaves no probe behind", async () => {
    const workspace = new Workspace();
    const event = `uprobe:getppid@"${libcPath()}"//push=${workspace.path}/x.vms/`;
    const agent = startAgent(workspace, "agent-guest", ["trace", "-e", event, "-C", "8000"]);
    expect(await agent.end()).toEqual({ code: 2, signal: null });
    expect(probesOf(agent.pid)).toEqual([]);
    await workspace.dispose();
  });
});
