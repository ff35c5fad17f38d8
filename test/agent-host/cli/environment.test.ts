/**
 * What agent-host says when the machine lacks something: privileges, tracefs, room for its output,
 * a reader of its output.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { readLineOf } from "../../../shared/event/machine.ts";
import { Workspace } from "../../vm/workspace.ts";
import { runAgent, type StartOptions, startAgent } from "../support/agent_process.ts";

const TRACE = ["trace", "-e", "sched:sched_switch", "-N", "3"];
const NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"];
const PARANOID = Number(readLineOf("/proc/sys/kernel/perf_event_paranoid"));
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Expects a failure in one line, with a HINT. */
async function expectFailure(options: StartOptions, message: RegExp, hint: RegExp): Promise<void> {
  const { code, stdout, stderr } = await runAgent(workspace, "agent-host", TRACE, options);
  expect({ code, stdout }).toEqual({ code: EXIT.FAILED, stdout: "" });
  const lines = stderr.trimEnd().split("\n");
  expect(lines).toHaveLength(2);
  expect(lines[0]).toMatch(message);
  expect(lines[1]).toMatch(hint);
}

test("agent-host without privileges says what it wants", async () => {
  const wrapper = [...NOBODY, "--"];
  await expectFailure(
    { wrapper },
    /Cannot read tracefs: permission denied, wants/,
    /^HINT: run as/,
  );
});

test.skipIf(PARANOID < 0)("agent-host that may not open events names the privilege", async () => {
  const caps = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"];
  const wrapper = [...NOBODY, ...caps, "--"];
  await expectFailure(
    { wrapper },
    /Cannot open event \S+ on CPU \d+: EACCES \(permission denied\)$/,
    /^HINT: run as root or with CAP_PERFMON, or lower .*perf_event_paranoid/,
  );
});

test("agent-host with two capabilities and no other privilege traces", async () => {
  const caps = "+dac_read_search,+perfmon";
  const wrapper = [...NOBODY, `--inh-caps=${caps}`, `--ambient-caps=${caps}`, "--"];
  const { code, stdout, stderr } = await runAgent(workspace, "agent-host", TRACE, { wrapper });
  expect({ code, stderr }).toMatchObject({ code: EXIT.DONE });
  expect(stdout.trimEnd().split("\n")).toHaveLength(3);
});

test("agent-host without tracefs says how to mount it", async () => {
  // In a mount namespace of its own: an empty folder lies over each place that tracefs may have.
  const script = `mount -t tmpfs none /sys/kernel && exec "$@"`;
  const wrapper = ["unshare", "--mount", "--", "sh", "-c", script, "sh"];
  await expectFailure({ wrapper }, /Cannot (find|mount) tracefs: /, /^HINT: mount -t tracefs /);
});

test("agent-host on a full disk fails, it does not lose lines in silence", async () => {
  const stdoutFd = openSync("/dev/full", "w");
  await expectFailureLine({ stdoutFd }, "Cannot write stdout: ENOSPC (no space left on device)");
});

async function expectFailureLine(options: StartOptions, message: string): Promise<void> {
  const { code, stderr } = await runAgent(workspace, "agent-host", TRACE, options);
  expect({ code, stderr }).toEqual({
    code: EXIT.FAILED,
    stderr: `Tracing\nagent-host: ERROR: ${message}\n`,
  });
}

test("agent-host whose reader goes away ends quietly, as a filter does", async () => {
  const wrapper = ["sh", "-c", `"$@" | head -n 1; exit 0`, "sh"];
  const args = ["trace", "-e", "sched:sched_switch"];
  const agent = startAgent(workspace, "agent-host", args, { wrapper });
  expect(await agent.end()).toMatchObject({ code: 0 });
  expect(agent.stdout.split("\n")).toHaveLength(2);
  expect(agent.stderr).not.toContain("ERROR");
});
