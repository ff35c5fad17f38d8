/**
 * What a root agent gives up before it opens anything: read from /proc of all its threads, for both
 * agents, as source and as binary.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { EXIT } from "../../shared/cli/failure.ts";
import {
  CAP_DAC_READ_SEARCH,
  CAP_IPC_LOCK,
  CAP_NET_BIND_SERVICE,
  CAP_PERFMON,
  CAP_SYS_PTRACE,
  CAP_SYSLOG,
  capabilityMask,
  parsePrivileges,
  readPrivileges,
  type ThreadPrivileges,
} from "../../shared/sys/capability.ts";
import {
  AgentProcess,
  END_DEADLINE_MS,
  runAgent,
  startAgent,
} from "../agent-host/support/agent_process.ts";
import { NO_TRACING, OWN_GETPPID } from "../shared/event/kernel.ts";
import { Workspace } from "../vm/workspace.ts";
import { freePort } from "./support/trace.ts";

const TRACING = capabilityMask(CAP_PERFMON, CAP_DAC_READ_SEARCH, CAP_IPC_LOCK, CAP_SYSLOG);
const BINARY = join(import.meta.dirname, "../../dist/agent-guest");
const NOBODY_UID = 65534;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Of every thread of a process. */
function threadsOf(pid: number): ThreadPrivileges[] {
  return readdirSync(`/proc/${pid}/task`).map((tid) =>
    parsePrivileges(readFileSync(`/proc/${pid}/task/${tid}/status`, "latin1")),
  );
}

/** Expects that no thread has, and none can get, anything but `kept`. */
function expectConfined(pid: number, kept: bigint): void {
  const threads = threadsOf(pid);
  // The engine has threads of its own, and the Worker is one.
  expect(threads.length).toBeGreaterThan(2);
  for (const thread of threads) {
    expect(thread).toEqual({
      effectiveUid: 0,
      inheritable: kept,
      permitted: kept,
      effective: kept,
      bounding: kept,
      ambient: kept,
      hasNoNewPrivileges: true,
    });
  }
}

function pushArgs(to: string, ...options: readonly string[]): readonly string[] {
  return ["trace", "-e", `${OWN_GETPPID()}push="${to}"/`, ...options];
}

function guestPushing(to: string, ...options: readonly string[]): AgentProcess {
  return startAgent(workspace, "agent-guest", pushArgs(to, ...options));
}

describe.skipIf(NO_TRACING !== "")("a root agent", () => {
  test("agent-guest keeps four capabilities, in all sets of all its threads", async () => {
    const agent = guestPushing(workspace.file("a.vms"));
    const { pid } = agent;
    await agent.said(/^Pushing /m);
    expectConfined(pid, TRACING);
    expect(await agent.stop()).toMatchObject({ code: 0 });
  });

  test("what another process was told of its privileges is not believed", async () => {
    const env = { VMSPAN_RESTARTED: "[1,[]]" };
    const args = pushArgs(workspace.file("stray.vms"));
    const agent = startAgent(workspace, "agent-guest", args, { env });
    await agent.said(/^Pushing /m);
    expectConfined(agent.pid, TRACING);
    expect(await agent.stop()).toMatchObject({ code: 0 });
  });

  test("agent-host keeps four for local events, and one more to find a live guest's VM", async () => {
    const socket = workspace.file("a.sock");
    const guest = guestPushing(`unix:${socket}`);
    await guest.said(/^Pushing /m);
    const local = startAgent(workspace, "agent-host", ["trace", "-e", OWN_GETPPID()]);
    await local.said(/^Tracing/m);
    expectConfined(local.pid, TRACING);
    await local.stop();
    const pulled = `raw_syscalls:sys_enter//pull=unix:${socket}/`;
    const live = startAgent(workspace, "agent-host", ["trace", "-e", pulled]);
    await live.said(/^Tracing/m);
    expectConfined(live.pid, TRACING | capabilityMask(CAP_SYS_PTRACE));
    await live.stop();
    const known = ["trace", "-e", pulled, "--tsc-offset", "0"];
    const told = startAgent(workspace, "agent-host", known);
    await told.said(/^Tracing/m);
    expectConfined(told.pid, TRACING);
    await told.stop();
    await guest.stop();
  });

  test("CAP_NET_BIND_SERVICE is kept for a port below 1024", async () => {
    const agent = guestPushing("77");
    await agent.said(/^Pushing /m);
    expectConfined(agent.pid, TRACING | capabilityMask(CAP_NET_BIND_SERVICE));
    await agent.stop();
  });

  test("--keep-privileges gives up nothing", async () => {
    const agent = guestPushing(workspace.file("k.vms"), "--keep-privileges");
    await agent.said(/^Pushing /m);
    const own = readPrivileges();
    for (const thread of threadsOf(agent.pid)) {
      expect([thread.effective, thread.bounding]).toEqual([own.effective, own.bounding]);
    }
    await agent.stop();
  });

  test("a recording in another user's folder is opened first, and written by who lacks the right", async () => {
    const folder = workspace.file("alice");
    mkdirSync(folder, { mode: 0o755 });
    chownSync(folder, NOBODY_UID, NOBODY_UID);
    const path = join(folder, "x.vms");
    const agent = guestPushing(path);
    await agent.said(/^Pushing /m);
    expectConfined(agent.pid, TRACING);
    expect(await agent.stop()).toMatchObject({ code: 0 });
    expect(statSync(path)).toMatchObject({ uid: 0, mode: 0o100600 });
    expect(statSync(path).size).toBeGreaterThan(0);
  });

  test("a wrong command line is told before anything is given up, and creates no file", async () => {
    const folder = workspace.file("bob");
    mkdirSync(folder, { mode: 0o755 });
    chownSync(folder, NOBODY_UID, NOBODY_UID);
    const event = `irq:no_such_event//push="${folder}/x.vms"/`;
    const { code } = await runAgent(workspace, "agent-guest", ["trace", "-e", event, "-m", "3"]);
    expect(code).toBe(EXIT.USAGE);
    expect(readdirSync(folder)).toEqual([]);
  });

  test("the variable by which it hands descriptors to itself is not obeyed when forged", async () => {
    const event = `${OWN_GETPPID()}push="${workspace.file("f.vms")}"/`;
    const { code, stderr } = await runAgent(workspace, "agent-guest", ["trace", "-e", event], {
      env: { VMSPAN_RESTARTED: "[[1" },
    });
    expect({ code, stderr }).toMatchObject({ code: EXIT.USAGE });
    expect(stderr).toContain("HINT: unset VMSPAN_RESTARTED");
  });
});

describe.skipIf(NO_TRACING !== "" || !existsSync(BINARY))("the binary", () => {
  test("is confined, keeps its name, and has a clean environment", async () => {
    const port = await freePort();
    const child = workspace.spawn(BINARY, ["trace", "-e", `${OWN_GETPPID()}push=${port}/`], {
      stdio: ["ignore", "pipe", "pipe"],
      env: { PATH: process.env.PATH, TZ: "UTC", BUN_JSC_useConcurrentGC: "0", X: "1" },
    });
    const agent = new AgentProcess(child);
    await agent.said(/^Pushing /m, END_DEADLINE_MS);
    expectConfined(agent.pid, TRACING);
    expect(readFileSync(`/proc/${agent.pid}/comm`, "utf8")).toBe("agent-guest\n");
    const variables = readFileSync(`/proc/${agent.pid}/environ`, "utf8").split("\0").slice(0, -1);
    expect(variables.map((text) => text.split("=")[0]).sort()).toEqual([
      "PATH",
      "TZ",
      "VMSPAN_RESTARTED",
    ]);
    expect(await agent.stop()).toMatchObject({ code: 0 });
  });

  test("with file capabilities or setuid it refuses", async () => {
    const copy = workspace.file("agent-guest-setuid");
    writeFileSync(copy, readFileSync(BINARY), { mode: 0o755 });
    chownSync(copy, NOBODY_UID, NOBODY_UID);
    chmodSync(copy, 0o4755);
    const child = workspace.spawn(copy, ["trace", "-e", `${OWN_GETPPID()}push=file:x.vms/`], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    const agent = new AgentProcess(child);
    expect(await agent.end()).toMatchObject({ code: EXIT.USAGE });
    expect(agent.stderr).toContain("Cannot run as a setuid program or with file capabilities");
  });
});
