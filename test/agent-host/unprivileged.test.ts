/**
 * Every function of the agents as a user who is not root, with exactly the capabilities that
 * SECURITY.md names for it, and what is said when one of them lacks.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { chownSync, existsSync, readFileSync } from "node:fs";
import { EXIT } from "../../shared/cli/failure.ts";
import { readLineOf } from "../../shared/event/machine.ts";
import { GuestClient } from "../agent-guest/support/guest_client.ts";
import { StreamReader } from "../agent-guest/support/stream_reader.ts";
import { freePort } from "../agent-guest/support/trace.ts";
import { openPty } from "../bench/pty.ts";
import { callGetppid, GETPPID, NO_TRACING, OWN_GETPPID, ownTid } from "../shared/event/kernel.ts";
import { MsiInjector } from "../spec/msi_injector.ts";
import { Workspace } from "../vm/workspace.ts";
import { type AgentProcess, runAgent, startAgent } from "./support/agent_process.ts";
import { asNobody, NO_SETPRIV, NOBODY_UID, nobodysFolder } from "./support/unprivileged.ts";

const TRACING = ["perfmon", "dac_read_search"];
const EVENTS = 500;
const PRIVILEGED_PORT = 79;
const noUprobes = !existsSync("/sys/kernel/tracing/uprobe_events");
if (noUprobes) console.warn("skipped: unprivileged uprobes: this kernel has no uprobe_events");
const noKvm = !existsSync("/dev/kvm");
if (noKvm) console.warn("skipped: unprivileged KVM debugfs: there is no /dev/kvm");

let workspace: Workspace;
let folder: string;

beforeAll(() => {
  workspace = new Workspace();
  folder = nobodysFolder(workspace);
});

afterAll(() => workspace.dispose());

function start(
  name: "agent-guest" | "agent-host",
  args: readonly string[],
  capabilities: readonly string[] = TRACING,
): AgentProcess {
  return startAgent(workspace, name, args, { wrapper: asNobody(...capabilities) });
}

/** Runs agent-host to its end, which must be a failure; gives what it said. */
async function failure(
  name: "agent-guest" | "agent-host",
  args: readonly string[],
  capabilities: readonly string[],
): Promise<string> {
  const wrapper = asNobody(...capabilities);
  const { code, stderr } = await runAgent(workspace, name, args, { wrapper });
  expect({ code, stderr }).toMatchObject({ code: EXIT.FAILED });
  return stderr;
}

/** The two ends of a channel as nobody: every event arrives, and the ledger balances. */
async function expectChannel(push: string, pull: string): Promise<void> {
  const guest = start("agent-guest", ["trace", "-e", `${OWN_GETPPID()}push="${push}"/`]);
  await guest.said(/^Pushing /m);
  const pulled = `raw_syscalls:sys_enter//pull="${pull}"/`;
  const host = start("agent-host", ["trace", "-e", pulled, "-N", `${EVENTS}`]);
  await host.said(/^Tracing/m);
  callGetppid(EVENTS);
  expect({ ending: await host.end(), said: host.stderr }).toMatchObject({ ending: { code: 0 } });
  expect(host.stdout.trimEnd().split("\n")).toHaveLength(EVENTS);
  expect(host.stderr).toContain("ledger: balances");
  expect(await guest.stop()).toMatchObject({ code: 0 });
}

describe.skipIf(NO_TRACING !== "" || NO_SETPRIV !== "")("without root", () => {
  test("multi-trace of local events wants CAP_PERFMON and CAP_DAC_READ_SEARCH", async () => {
    const stage = (name: string, field: string): string[] => [
      "-e",
      `raw_syscalls:${name}/common_pid==${ownTid()}&&${field}==${GETPPID}/key=common_pid/`,
    ];
    const stages = [...stage("sys_enter", "id"), ...stage("sys_exit", "id")];
    const host = start("agent-host", ["multi-trace", ...stages]);
    await host.said(/^Tracing/m);
    callGetppid(EVENTS);
    expect(await host.stop()).toMatchObject({ code: 0 });
    expect(host.stdout).toMatch(new RegExp(`^ *sys_enter => sys_exit +${EVENTS} `, "m"));
  });

  test("tcp: a port is listened on and pulled from", async () => {
    const port = await freePort();
    await expectChannel(`${port}`, `${port}`);
  });

  test("unix socket: is created, and pulled from", async () => {
    await expectChannel(`unix:${folder}/guest.sock`, `unix:${folder}/guest.sock`);
  });

  test("file: a recording is written, and read", async () => {
    const path = `${folder}/x.vms`;
    const guest = start("agent-guest", ["trace", "-e", `${OWN_GETPPID()}push="${path}"/`]);
    const isSampling = (): boolean => readStream(path).stats.length > 0;
    await guest.until(isSampling, "the first Stats in the file");
    callGetppid(EVENTS);
    expect(await guest.stop()).toMatchObject({ code: 0 });
    const pulled = ["trace", "-e", `raw_syscalls:sys_enter//pull="${path}"/`];
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", pulled, {
      wrapper: asNobody("dac_read_search"),
    });
    expect({ code, stderr }).toMatchObject({ code: EXIT.DONE });
    expect(stdout.trimEnd().split("\n")).toHaveLength(EVENTS);
  });

  test.skipIf(!existsSync("/dev/ptmx"))("port: a device that udev gave to the user", async () => {
    const pty = openPty();
    chownSync(pty.path, NOBODY_UID, NOBODY_UID);
    const guest = start("agent-guest", ["trace", "-e", `${OWN_GETPPID()}push="${pty.path}"/`]);
    await guest.said(/^Connected to "\/dev\/pts/m);
    pty.slave.close();
    const client = new GuestClient(pty.master);
    client.attach();
    client.isAcknowledging = true;
    await client.untilSampling();
    callGetppid(EVENTS);
    await client.until(() => client.reader.samples === EVENTS, `${EVENTS} samples`);
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    // The port goes with the client: not before the agent, which would end with that fault.
    expect(await guest.stop()).toMatchObject({ code: 0 });
    client.close();
  });

  test("a port that is another user's is refused", async () => {
    const pty = openPty();
    const event = `${OWN_GETPPID()}push="${pty.path}"/`;
    const said = await failure("agent-guest", ["trace", "-e", event], TRACING);
    expect(said).toContain(`Cannot open "${pty.path}": EACCES`);
    pty.slave.close();
    pty.master.close();
  });

  const UPROBE = ["trace", "-N", "1", "-e", `uprobe:malloc@"${libc()}"`];

  test.skipIf(noUprobes)("uprobes want CAP_DAC_OVERRIDE, and leave nothing behind", async () => {
    const host = start("agent-host", UPROBE, [...TRACING, "dac_override"]);
    expect({ ending: await host.end(), said: host.stderr }).toMatchObject({ ending: { code: 0 } });
    expect(host.stdout).toContain("uprobe:malloc");
    expect(readLineOf("/sys/kernel/tracing/uprobe_events")).not.toContain(`vmspan_${host.pid}`);
  });

  test.skipIf(noUprobes)("uprobes without CAP_DAC_OVERRIDE: it is named", async () => {
    const said = await failure("agent-host", UPROBE, TRACING);
    expect(said).toMatch(/HINT: probes want root, or CAP_DAC_OVERRIDE/);
  });

  const LOW_PORT = ["trace", "-e", `${OWN_GETPPID()}push=${PRIVILEGED_PORT}/`];

  test("a port below 1024 without CAP_NET_BIND_SERVICE: it is named", async () => {
    const said = await failure("agent-guest", LOW_PORT, TRACING);
    expect(said).toMatch(/HINT: a port below 1024 wants CAP_NET_BIND_SERVICE/);
  });

  test("a port below 1024 wants CAP_NET_BIND_SERVICE", async () => {
    const guest = start("agent-guest", LOW_PORT, [...TRACING, "net_bind_service"]);
    await guest.said(/^Pushing /m);
    expect(await guest.stop()).toMatchObject({ code: 0 });
  });

  const LARGE = ["trace", "-m", "16384", "-e", `${OWN_GETPPID()}push=FILE/`];
  const large = (): string[] => LARGE.map((word) => word.replace("FILE", `"${folder}/m.vms"`));

  test("rings beyond the limits without CAP_IPC_LOCK: it is named", async () => {
    const said = await failure("agent-guest", large(), TRACING);
    expect(said).toMatch(/HINT: raise .*perf_event_mlock_kb or run with CAP_IPC_LOCK/);
  });

  test("rings beyond the limits want CAP_IPC_LOCK", async () => {
    const guest = start("agent-guest", large(), [...TRACING, "ipc_lock"]);
    await guest.said(/^Pushing /m);
    expect(await guest.stop()).toMatchObject({ code: 0 });
  });

  test.skipIf(noKvm)("KVM's debugfs wants CAP_DAC_READ_SEARCH", async () => {
    const vm = new MsiInjector();
    try {
      const doctor = async (...capabilities: string[]): Promise<string> => {
        const wrapper = asNobody(...capabilities);
        return (await runAgent(workspace, "agent-host", ["doctor"], { wrapper })).stdout;
      };
      expect(await doctor(...TRACING)).toMatch(
        new RegExp(
          `^ok +TSC offsets +KVM debugfs, .*: .*\\b${process.pid}-\\d+ \\(1 vCPUs\\)`,
          "m",
        ),
      );
      expect(await doctor("perfmon")).toMatch(
        /TSC offsets.*\n +HINT: run with CAP_DAC_READ_SEARCH/,
      );
    } finally {
      vm.close();
    }
  });

  test("doctor tells what each missing capability costs", async () => {
    const { code, stdout } = await runAgent(workspace, "agent-host", ["doctor"], {
      wrapper: asNobody(...TRACING),
    });
    expect(code).toBe(EXIT.DONE);
    expect(stdout).toMatch(/^ok +CAP_PERFMON +held$/m);
    expect(stdout).toMatch(/^ok +CAP_DAC_READ_SEARCH +held$/m);
    for (const missing of ["IPC_LOCK", "SYSLOG", "DAC_OVERRIDE", "SYS_PTRACE"]) {
      expect(stdout).toMatch(new RegExp(`^warn +CAP_${missing} +missing: \\S`, "m"));
    }
  });
});

function readStream(path: string): StreamReader {
  const reader = new StreamReader();
  if (existsSync(path)) reader.push(readFileSync(path));
  return reader;
}

function libc(): string {
  const paths = ["/lib/x86_64-linux-gnu/libc.so.6", "/lib64/libc.so.6", "/usr/lib/libc.so.6"];
  return paths.find((path) => existsSync(path)) ?? "/lib/libc.so";
}
