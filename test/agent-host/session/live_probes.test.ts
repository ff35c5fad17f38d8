/**
 * Probes of agents that are killed: nothing of theirs outlives the next agent's start, and nothing
 * of a living one is touched by it.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync, readFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { libcPath, NO_TRACING } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import {
  type AgentName,
  type AgentProcess,
  runAgent,
  startAgent,
} from "../support/agent_process.ts";

const UPROBES = NO_TRACING === "" ? `${Tracefs.open().root}/uprobe_events` : "";
const REASON =
  NO_TRACING !== "" ? NO_TRACING : existsSync(UPROBES) ? "" : "this kernel has no uprobe_events";
if (REASON !== "") console.warn(`skipped: probes of killed agents: ${REASON}`);

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function probesOf({ pid }: AgentProcess): string[] {
  const lines = readFileSync(UPROBES, "utf8").split("\n");
  return lines.filter((line) => line.includes(`:vmspan_${pid}_`));
}

const PROBES = (): string =>
  `uprobe:getppid@"${libcPath()}" a=%di:u64,uretprobe:getppid@"${libcPath()}"`;

/** An agent with two probes, once they are there. */
async function startWithProbes(agent: AgentName): Promise<AgentProcess> {
  const args: Record<AgentName, string[]> = {
    "agent-host": ["trace", "-e", PROBES()],
    "agent-guest": ["trace", "-e", `${PROBES()}//push="${workspace.file("probes.vms")}"/`],
  };
  const process = startAgent(workspace, agent, args[agent]);
  await process.said(agent === "agent-host" ? /^Tracing$/m : /^Pushing /m);
  expect(probesOf(process)).toHaveLength(2);
  return process;
}

describe.skipIf(REASON !== "")("probes of an agent", () => {
  for (const agent of ["agent-host", "agent-guest"] as const) {
    test(`that is told to stop are removed by itself (${agent})`, async () => {
      const process = await startWithProbes(agent);
      await process.stop("SIGTERM");
      expect(probesOf(process)).toEqual([]);
    });

    test(`that was killed are removed by the next one (${agent})`, async () => {
      const [killed, living] = [await startWithProbes(agent), await startWithProbes("agent-host")];
      expect(await killed.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
      // The kernel has closed its events; their definitions stay.
      expect(probesOf(killed)).toHaveLength(2);
      const before = probesOf(living);
      const next = ["trace", "-e", "sched:sched_switch", "-N", "1"];
      expect((await runAgent(workspace, "agent-host", next)).code).toBe(EXIT.DONE);
      expect(probesOf(killed)).toEqual([]);
      expect(probesOf(living)).toEqual(before);
      await living.stop();
      expect(probesOf(living)).toEqual([]);
    });
  }

  test("fire with their arguments, filtered by them", async () => {
    const event = `uprobe:getpgid@"${libcPath()}" pid=%di:s32/pid==-4711/`;
    const host = startAgent(workspace, "agent-host", ["trace", "-e", event, "-N", "1", "--json"]);
    await host.said(/^Tracing$/m);
    const perl = ["-e", "getpgrp($_) for 1, -4711, 2"];
    workspace.spawn("perl", perl, { stdio: "ignore" });
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    const [line] = host.stdout.split("\n");
    expect(JSON.parse(line!)).toMatchObject({ event: "uprobe:getpgid", fields: { pid: -4711 } });
  });
});
