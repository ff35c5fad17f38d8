/**
 * `agent-host clock` with both agents on this machine, whose TSCs are one: the true offset is 0 and
 * the true rate 1, and every bound has to hold them. Those that wait for ten seconds wait together.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { accessSync, constants, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { KVM_DEBUGFS } from "../../../agent-host/align/kvm_debugfs.ts";
import { EXIT } from "../../../shared/cli/failure.ts";
import { onlineCpus, parseApicIds } from "../../../shared/event/machine.ts";
import { freePort } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { KvmMachine } from "../align/kvm_truth/kvm_machine.ts";
import { type AgentProcess, runAgent, startAgent } from "../support/agent_process.ts";
import { startGuest } from "../support/live.ts";

interface Cpu {
  readonly cpu: number | null;
  readonly offset: string;
  readonly rate: number;
  readonly rate_error_ppb: number;
  readonly bound_ns: number;
  readonly event_bound_ns: number;
}

interface ClockObject {
  readonly machine: string;
  readonly settled?: boolean;
  readonly tsc_hz: number;
  readonly cpus_checked: number;
  readonly cpus_apart: readonly unknown[];
  readonly drift_ppb?: number;
  readonly drift_error_ppb?: number;
  readonly method?: string;
  readonly vm_pid?: number;
  readonly round_trips?: number;
  readonly ping_disagreements?: number;
  readonly not_used?: readonly { readonly method: string; readonly reason: string }[];
  readonly cpus?: readonly Cpu[];
}

const whyNoKvm = ((): string => {
  try {
    accessSync("/dev/kvm", constants.R_OK | constants.W_OK);
    accessSync(KVM_DEBUGFS, constants.R_OK);
    return "";
  } catch (error) {
    return (error as Error).message;
  }
})();
if (whyNoKvm !== "") console.warn(`skipped: agent-host clock beside KVM: ${whyNoKvm}`);

setDefaultTimeout(60_000);

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});
afterAll(() => workspace.dispose());

function parse(stdout: string): ClockObject[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as ClockObject);
}

/** The measured relation holds the true one: offset 0, rate 1. */
function expectTruth({ tsc_hz, cpus, drift_ppb, drift_error_ppb }: ClockObject): void {
  const [cpu] = cpus!;
  const offsetNs = (Math.abs(Number(cpu!.offset)) / tsc_hz) * 1e9;
  expect(offsetNs).toBeLessThanOrEqual(cpu!.bound_ns + 1);
  expect(Math.abs(cpu!.rate - 1) * 1e9).toBeLessThanOrEqual(cpu!.rate_error_ppb + 0.01);
  expect(Math.abs(drift_ppb!)).toBeLessThanOrEqual(drift_error_ppb!);
}

describe.skipIf(NO_TRACING !== "")("agent-host clock", () => {
  test.concurrent("shows the host's own clocks without any guest", async () => {
    const { code, stdout } = await runAgent(workspace, "agent-host", ["clock", "--json"]);
    expect(code).toBe(EXIT.DONE);
    const objects = parse(stdout);
    expect(objects.length).toBe(1);
    expect(objects[0]).toMatchObject({ machine: "host", cpus_apart: [] });
    expect(objects[0]!.cpus_checked).toBe(onlineCpus().length - 1);
  });

  test.concurrent("holds the truth over a unix socket and tcp at once, and ends when both have settled", async () => {
    const places = [`unix:${workspace.file("clock.sock")}`, `127.0.0.1:${await freePort()}`];
    const guests: AgentProcess[] = [];
    for (const place of places) guests.push(await startGuest(workspace, place));
    const args = ["clock", places[0]!, "--pull", places[1]!, "--json"];
    const { code, stdout } = await runAgent(workspace, "agent-host", args);
    expect(code).toBe(EXIT.DONE);
    const [, ...channels] = parse(stdout);
    channels.forEach((channel, i) => {
      expect(channel).toMatchObject({ settled: true, method: "ping", vm_pid: guests[i]!.pid });
      expect(channel.not_used).toMatchObject([{ method: "kvm" }]);
      expect(channel.cpus_checked).toBe(onlineCpus().length - 1);
      expectTruth(channel);
    });
    expect(channels.length).toBe(2);
    for (const guest of guests) expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test.concurrent("shows the clock of a recording, and relates it only by --tsc-offset", async () => {
    const file = workspace.file("clock.vms");
    const guest = await startGuest(workspace, file);
    callGetppid(100);
    // Three readings of the clock have to be in it.
    const isEnough = async (): Promise<boolean> =>
      (await runAgent(workspace, "agent-host", ["clock", file, "--for", "1"])).code === EXIT.DONE;
    await waitUntil(isEnough, 40_000, "a recording of the clock");
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    for (const [args, method] of [
      [[], null],
      [["--tsc-offset", "0"], "manual"],
    ] as const) {
      const command = ["clock", file, "--json", ...args];
      const { code, stdout } = await runAgent(workspace, "agent-host", command);
      expect(code).toBe(EXIT.DONE);
      const [host, recording] = parse(stdout);
      expect(recording).toMatchObject({ machine: "guest 1", method, cpus_apart: [] });
      expect(Math.abs(recording!.tsc_hz / host!.tsc_hz - 1)).toBeLessThan(1e-3);
    }
  });

  test.concurrent.skipIf(whyNoKvm !== "")(
    "--vm takes KVM's relation of the VM that it names",
    async () => {
      const place = `unix:${workspace.file("kvm.sock")}`;
      const guest = await startGuest(workspace, place);
      // A VM whose vCPUs have the ids of this machine's CPUs, and the host's TSC.
      const ids = parseApicIds(readFileSync("/proc/cpuinfo", "utf8"));
      const machine = new KvmMachine(onlineCpus().map((cpu) => ids.get(cpu) ?? cpu));
      for (const vcpu of machine.vcpus) vcpu.setTscOffset(0n);
      try {
        const args = ["clock", place, "--vm", `${process.pid}`, "--json"];
        const { code, stdout } = await runAgent(workspace, "agent-host", args);
        expect(code).toBe(EXIT.DONE);
        const [, channel] = parse(stdout);
        expect(channel).toMatchObject({ settled: true, method: "kvm", ping_disagreements: 0 });
        expect(channel).toMatchObject({
          vm_pid: process.pid,
          changes_followed: true,
          not_used: [],
        });
        expect(channel!.round_trips).toBeGreaterThan(5);
        expect(channel!.cpus!.map(({ cpu, offset }) => [cpu, offset])).toEqual(
          onlineCpus().map((cpu) => [cpu, "0"]),
        );
      } finally {
        machine.close();
      }
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    },
  );

  test("--watch appends pictures, events or not, until it is stopped", async () => {
    const place = `unix:${workspace.file("watch.sock")}`;
    const guest = await startGuest(workspace, place);
    const host = startAgent(workspace, "agent-host", ["clock", place, "--watch", "0.2", "--json"]);
    await host.showed(/"method":"ping","ready":true/);
    const before = host.stdout.split("\n").length;
    callGetppid(2000);
    await host.printed(before + 8);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const ready = parse(host.stdout).filter(({ cpus }) => cpus?.[0]?.event_bound_ns != null);
    expect(ready.length).toBeGreaterThan(2);
    for (const object of ready) expectTruth(object);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("--for ends it, and a source that says nothing is an error of its own code", async () => {
    const { promise: listening, resolve } = Promise.withResolvers<number>();
    const server = createServer(() => {});
    server.listen(0, "127.0.0.1", () => resolve((server.address() as { port: number }).port));
    const place = `127.0.0.1:${await listening}`;
    try {
      const args = ["clock", place, "--for", "1"];
      const { code, stdout, stderr } = await runAgent(workspace, "agent-host", args);
      expect(code).toBe(EXIT.SOURCE);
      expect(stdout).toMatch(/^ +waiting for agent-guest behind /m);
      expect(stderr).toMatch(/^agent-host: ERROR: Cannot tell the clock of 127.0.0.1:\d+ after 1/m);
    } finally {
      server.close();
    }
  });

  test("--tsc-offset is checked by round trips, and contradicted loudly", async () => {
    const place = `unix:${workspace.file("manual.sock")}`;
    const guest = await startGuest(workspace, place);
    for (const [offset, disagrees] of [
      ["0", false],
      ["5000000000", true],
    ] as const) {
      const args = ["clock", place, "--tsc-offset", offset, "--for", "2", "--json"];
      const { code, stdout, stderr } = await runAgent(workspace, "agent-host", args);
      expect(code).toBe(EXIT.DONE);
      const [, channel] = parse(stdout);
      expect(channel).toMatchObject({ method: "manual", cpus: [{ offset }] });
      expect(channel!.ping_disagreements! > 0).toBe(disagrees);
      expect(stderr.includes("WARNING: guest 1: round trips contradict")).toBe(disagrees);
      expect(/, round trips say 0x[0-9a-f]+ \+-[\d.]+ \S+\nHINT: leave/.test(stderr)).toBe(
        disagrees,
      );
    }
    const far = ["--tsc-offset", "0x1000000000000000"];
    const pulled = ["-e", `raw_syscalls:sys_enter//pull="${place}"/`, "-e", "sched:sched_switch"];
    for (const args of [
      ["clock", place],
      ["trace", ...pulled],
    ]) {
      const { code, stderr } = await runAgent(workspace, "agent-host", [...args, ...far]);
      expect(code).toBe(EXIT.SOURCE);
      expect(stderr).toMatch(
        /ERROR: Cannot use --tsc-offset 0x1000000000000000 with .*: round trips/,
      );
      expect(stderr).toMatch(/^HINT: leave --tsc-offset out/m);
    }
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });
});

describe("agent-host clock, misused", () => {
  for (const [what, args, message] of [
    ["a port where seconds are", ["--watch", "9900"], /Cannot use --watch 9900: wants seconds/],
    ["no seconds", ["--for", "soon"], /Cannot use --for soon: wants seconds/],
    ["no source", ["nowhere"], /Cannot pull from "nowhere"/],
    ["an offset that is none", ["9", "--tsc-offset", "x"], /Cannot use --tsc-offset x/],
    ["one VM for two", ["9", "10", "--vm", "1"], /Cannot use --vm 1: it names one virtual/],
    ["an unknown option", ["--events", "x"], /Cannot understand the command line/],
  ] as const) {
    test(`${what}: exits 2 and says why`, async () => {
      const { code, stdout, stderr } = await runAgent(workspace, "agent-host", ["clock", ...args]);
      expect(stderr).toMatch(message);
      expect(stdout).toBe("");
      expect(code).toBe(EXIT.USAGE);
    });
  }
});
