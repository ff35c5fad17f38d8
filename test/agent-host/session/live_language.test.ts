/**
 * The event language on the real kernel, end to end: filters that the kernel refuses, functions,
 * roles, keys as text, triggers, CPUs. The test's own numbered calls say what must come out.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { existsSync, readFileSync, symlinkSync } from "node:fs";
import { basename } from "node:path";
import { EXIT } from "../../../shared/cli/failure.ts";
import { onlineCpus, readMachineInfo } from "../../../shared/event/machine.ts";
import { readStreamFile, startTraceOf } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING, ownTid } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { CALL_NUMBER, JsonOutput, startHost } from "../support/live.ts";

const CALLS = 400;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** This thread's calls of getppid and nothing else, by a filter that every kernel takes. */
const OWN = (): string => `id==110&&common_pid==${ownTid()}`;

/** A host that has seen CALLS numbered calls, and what it printed. */
async function measure(args: readonly string[]): Promise<AgentProcess> {
  const host = await startHost(workspace, args);
  callGetppid(CALLS);
  expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
  return host;
}

async function measureJson(
  args: readonly string[],
): Promise<{ readonly output: JsonOutput; readonly stderr: string }> {
  const host = await measure([...args, "--json"]);
  return { output: new JsonOutput(host.stdout), stderr: host.stderr };
}

function filteredOf(output: JsonOutput): number {
  const rows = output.objects.filter(({ type }) => type === "filtered");
  return rows.reduce((sum, { events }) => sum + Number(events), 0);
}

interface ForkFields {
  readonly parent_pid: number;
}

const ODD = Array.from({ length: CALLS / 2 }, (_, i) => 2 * i + 1);

describe.skipIf(NO_TRACING !== "")("a filter that the kernel refuses", () => {
  const C_FILTER = (): string => `${CALL_NUMBER}%2==1 && syscall_name(id)=="getppid"`;

  test("runs in agent-host, which says why, and counts what it kept out", async () => {
    const event = `raw_syscalls:sys_enter/${C_FILTER()}/`;
    const { output, stderr } = await measureJson(["trace", "-e", event, "-t", `${ownTid()}`]);
    expect(output.numbers).toEqual(ODD);
    expect(stderr).toMatch(
      /^HINT: the kernel refuses the filter of raw_syscalls:sys_enter \(.+\): agent-host runs it$/m,
    );
    const lines = stderr.split("\n");
    expect(lines[lines.findIndex((line) => line.startsWith("HINT")) + 1]).toBe(`  ${C_FILTER()}`);
    expect(lines.some((line) => /^ +\^$/.test(line))).toBe(true);
    // Delivered is what the kernel produced; the filter's share is told beside it.
    expect(output.verdict!.state).toBe("balances");
    expect(filteredOf(output)).toBe(output.verdict!.delivered - ODD.length);
    expect(filteredOf(output)).toBeGreaterThanOrEqual(CALLS / 2);
  });

  test("leaves the event's own filter file as it was", async () => {
    const file = "/sys/kernel/tracing/events/raw_syscalls/sys_enter/filter";
    const before = readFileSync(file, "latin1");
    await measure(["trace", "-e", `raw_syscalls:sys_enter/${C_FILTER()}/`, "-t", `${ownTid()}`]);
    expect(readFileSync(file, "latin1")).toBe(before);
  });

  test("in a guest is run by the host, for every event and in pairs", async () => {
    const path = workspace.file("guest.sock");
    const event = `raw_syscalls:sys_enter/${C_FILTER()}/push="unix:${path}"/`;
    const guest = startAgent(workspace, "agent-guest", [
      ...["trace", "-e", event, "-t", `${ownTid()}`],
    ]);
    await guest.said(/^Pushing /m);
    expect(guest.stderr).toContain("HINT: the kernel refuses the filter of raw_syscalls:sys_enter");
    const { output, stderr } = await measureJson([
      ...["trace", "-e", `raw_syscalls:sys_enter//pull="unix:${path}"/`],
    ]);
    expect(output.numbers).toEqual(ODD);
    expect(stderr).toMatch(
      /^HINT: the guest's kernel refuses the filter of raw_syscalls:sys_enter \(.+\): agent-host runs it\n {2}args.*\n +\^$/m,
    );
    expect(filteredOf(output)).toBe(output.verdict!.delivered - ODD.length);
    // The host's own filter is applied on top of it.
    const { output: both } = await measureJson([
      ...["trace", "-e", `raw_syscalls:sys_enter/${CALL_NUMBER}<100/pull="unix:${path}"/`],
    ]);
    expect(both.numbers).toEqual(ODD.filter((number) => number < 100));
    await guest.stop();
  });

  test("of a recording is kept in it", async () => {
    const file = workspace.file("odd.vms");
    const event = `raw_syscalls:sys_enter/${C_FILTER()}/push="${file}"/`;
    await using guest = await startTraceOf(() => [event], ["-t", `${ownTid()}`]);
    const name = `../${basename(workspace.path)}/odd.vms`;
    const readings = (): number => readStreamFile(guest, name).clockSamples.length;
    await waitUntil(() => existsSync(file) && readings() >= 3, 20_000, "readings of the clock");
    callGetppid(CALLS);
    await guest.stop();
    const host = startAgent(workspace, "agent-host", [
      ...["trace", "-e", `raw_syscalls:sys_enter//pull="${file}"/`, "--json"],
    ]);
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    expect(new JsonOutput(host.stdout).numbers).toEqual(ODD);
  });

  test("-N counts what passes it", async () => {
    const enter = `raw_syscalls:sys_enter/${C_FILTER()}/key=_tid/`;
    const exit = `raw_syscalls:sys_exit/${OWN()}&&1+1==2/key=_tid/`;
    const host = await startHost(workspace, [
      ...["multi-trace", "-e", enter, "-e", exit, "-t", `${ownTid()}`, "-N", "30", "--json"],
    ]);
    callGetppid(CALLS);
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    // Calls 0 1 2 3 ...: each exit passes, each second entry does, and those pair.
    expect(new JsonOutput(host.stdout).latencies).toMatchObject([{ calls: 10 }]);
  });
});

describe.skipIf(NO_TRACING !== "")("the name of a task", () => {
  const [first, second] = onlineCpus();

  test.skipIf(second === undefined)("is its last, however it moved between CPUs", async () => {
    const last = workspace.file("vmspan-last");
    symlinkSync("/bin/true", last);
    const host = await startHost(workspace, [
      ...["trace", "-e", `sched:sched_process_exit/comm=="${basename(last)}"/`, "--json"],
    ]);
    const moving = `taskset -c ${first} ${last}`;
    spawnSync("taskset", ["-c", `${second}`, "bash", "-c", `${moving}; ${moving}; exec ${moving}`]);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const { objects } = new JsonOutput(host.stdout);
    const names = objects.filter(({ type }) => type === "event").map(({ comm }) => comm);
    expect(names).toEqual(Array.from({ length: 3 }, () => basename(last)));
  });

  test("in a filter is that at the event's time, not the one that it took soon after", async () => {
    const host = await startHost(workspace, [
      ...["trace", "-e", 'sched:sched_process_fork/comm_get(parent_pid)=="bash"/', "--json"],
    ]);
    const script = "/bin/true; /bin/true; exec sleep 0";
    const { pid } = spawnSync("taskset", ["-c", `${first}`, "bash", "-c", script]);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const { objects } = new JsonOutput(host.stdout);
    const parents = objects.map(({ fields }) => (fields as ForkFields | undefined)?.parent_pid);
    expect(parents.filter((parent) => parent === pid)).toHaveLength(2);
  });
});

describe.skipIf(NO_TRACING !== "")("attributes", () => {
  const ENTER = (attributes: string): string => `raw_syscalls:sys_enter/${OWN()}/${attributes}`;
  const EXIT_EVENT = (attributes = ""): string => `raw_syscalls:sys_exit/${OWN()}/${attributes}`;

  test("role= says which of an event's records may start a pair", async () => {
    const start = ENTER(`key=_tid/role="${CALL_NUMBER}%4==0?3:0"/`);
    const { output } = await measureJson([
      ...["multi-trace", "-e", start, "-e", EXIT_EVENT("key=_tid/")],
    ]);
    expect(output.latencies).toMatchObject([{ calls: CALLS / 4 }]);
  });

  test("role= bit 1 lets a record end a pair, bit 0 start one", async () => {
    // Calls 0 1 2 3 ... in a cycle of one event: only even ones start, only odd ones end.
    const event = ENTER(`key=_tid/role="1<<(${CALL_NUMBER}%2)"/`);
    const { output } = await measureJson(["multi-trace", "--cycle", "-e", event]);
    expect(output.latencies).toMatchObject([
      { start: "sys_enter", end: "sys_enter", calls: CALLS / 2 },
    ]);
  });

  test("printkey= shows keys as text, in tables and in JSON beside the number", async () => {
    const start = ENTER(
      `key="${CALL_NUMBER}%2"/printkey="printf(\\"%s %d\\", key ? \\"odd\\" : \\"even\\", (int)key)"/`,
    );
    // The exit has no number: keys are paired by thread, so the number goes into a cycle.
    const { output } = await measureJson(["multi-trace", "--cycle", "-e", start, "--perins"]);
    const rows = output.objects.filter(({ type }) => type === "latency");
    expect(rows).toMatchObject([
      { key: "0", key_text: "even 0", calls: CALLS / 2 - 1 },
      { key: "1", key_text: "odd 1", calls: CALLS / 2 - 1 },
    ]);
    const host = await measure(["multi-trace", "--cycle", "-e", start, "--perins"]);
    expect(host.stdout).toMatch(/^even 0 +sys_enter => sys_enter +199 /m);
    expect(host.stdout).toMatch(/^odd 1 +sys_enter => sys_enter +199 /m);
  });

  test("trigger prints a table before its event, and begins another one", async () => {
    const mark = ENTER("").replace("id==110", `id==110&&${CALL_NUMBER}%100==99`);
    const host = await measure([
      ...["multi-trace", "-e", ENTER("key=_tid/"), "-e", EXIT_EVENT("key=_tid/")],
      ...["-e", `${mark}alias=mark/untraced/trigger/`, "-t", `${ownTid()}`, "--json"],
    ]);
    const output = new JsonOutput(host.stdout);
    // Call 99 triggers when 99 calls have returned, call 199 a hundred later; then the rest.
    expect(output.latencies.map(({ calls }) => calls)).toEqual([99, 100, 100, 100, 1]);
    expect(output.numbers).toEqual([99, 199, 299, 399]);
  });

  test("without a key pairs are made within a CPU, and with -t within the thread", async () => {
    const stages = ["-e", ENTER(""), "-e", EXIT_EVENT()];
    const { output } = await measureJson(["multi-trace", ...stages, "-t", `${ownTid()}`]);
    expect(output.latencies).toMatchObject([{ calls: CALLS }]);
    const { output: byCpu } = await measureJson(["multi-trace", ...stages, "--perins"]);
    const keys = byCpu.latencies.map(({ key }) => Number(key));
    expect(keys.every((key) => onlineCpus().includes(key))).toBe(true);
    expect(byCpu.objects.find(({ key_name }) => key_name !== undefined)).toMatchObject({
      key_name: "_cpu",
    });
  });

  test("operations without a value count as 0, and are told", async () => {
    const filter = `${OWN()} && (100/(${CALL_NUMBER}-7))==0`;
    const { output } = await measureJson([
      ...["trace", "-e", `raw_syscalls:sys_enter/${filter}/`, "-t", `${ownTid()}`],
    ]);
    // 100/x is 0 beyond a hundred, which is where unsigned numbers below 0 are, and for x = 0.
    const isZero = (x: number): boolean => x <= 0 || x > 100;
    expect(output.numbers).toEqual(
      Array.from({ length: CALLS }, (_, i) => i).filter((i) => isZero(i - 7)),
    );
    expect(output.faults).toMatchObject([{ undefined_operations: 1 }]);
  });

  test("_pid is the process where samples are asked for it, _tid the thread", async () => {
    const filter = `common_pid==${ownTid()}&&id==110&&_pid==${process.pid}&&_tid==${ownTid()}`;
    const { output } = await measureJson([
      ...["trace", "-e", `raw_syscalls:sys_enter/${filter}/`, "-t", `${ownTid()}`],
    ]);
    expect(output.numbers).toHaveLength(CALLS);
  });

  test.skipIf(onlineCpus().length < 2)("cpus= samples an event on these CPUs only", async () => {
    const events = onlineCpus().slice(0, 2);
    const args = events.flatMap((cpu) => [
      ...["-e", `raw_syscalls:sys_enter/${OWN()}/cpus=${cpu}/alias=cpu${cpu}/`],
    ]);
    const host = await startHost(workspace, ["trace", ...args, "--json"]);
    for (const cpu of events) {
      spawnSync("taskset", ["-p", "-c", `${cpu}`, `${ownTid()}`]);
      callGetppid(CALLS, cpu * CALLS);
    }
    spawnSync("taskset", ["-p", "-c", "0-1023", `${ownTid()}`]);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const shown = new JsonOutput(host.stdout).objects.filter(({ type }) => type === "event");
    // Each call once: two events on one tracepoint, each on its own CPU.
    expect(shown).toHaveLength(2 * CALLS);
    const places = shown.map(({ event, cpu }) => `${event} on ${cpu}`);
    expect(new Set(places)).toEqual(
      new Set(events.map((cpu) => `raw_syscalls:cpu${cpu} on ${cpu}`)),
    );
  });

  test("_vcpu of a guest's event is the vCPU, by its APIC id", async () => {
    const path = workspace.file("vcpu.sock");
    const guest = startAgent(workspace, "agent-guest", [
      ...["trace", "-e", ENTER(`push="unix:${path}"/`)],
    ]);
    await guest.said(/^Pushing /m);
    const event = `raw_syscalls:sys_enter//pull="unix:${path}"/key="(_vm<<16)|_vcpu"/`;
    const { output } = await measureJson(["multi-trace", "--cycle", "--perins", "-e", event]);
    const { apicIds } = readMachineInfo();
    const keys = [...apicIds.values()].map((id) => String((1 << 16) | id));
    expect(output.latencies.length).toBeGreaterThan(0);
    for (const { key } of output.latencies) expect(keys).toContain(key!);
    await guest.stop();
  });

  test("pull= of one event holds for all of its -e, pull=local for this machine", async () => {
    const path = workspace.file("shared.sock");
    const push = `push="unix:${path}"/`;
    const guest = startAgent(workspace, "agent-guest", [
      ...["trace", "-e", `${ENTER(push)},${EXIT_EVENT(push)}`],
    ]);
    await guest.said(/^Pushing /m);
    const pull = `pull="unix:${path}"/`;
    const machinesOf = (output: JsonOutput): unknown[] => {
      const events = output.objects.filter(({ type }) => type === "event");
      return [...new Set(events.map(({ machine, event }) => `${machine} ${event}`))].sort();
    };
    const bare = `raw_syscalls:sys_enter,raw_syscalls:sys_exit//${pull}`;
    const { output } = await measureJson(["trace", "-e", bare]);
    expect(machinesOf(output)).toEqual([
      "guest 1 raw_syscalls:sys_enter",
      "guest 1 raw_syscalls:sys_exit",
    ]);
    const mixed = `${ENTER("pull=local/")},raw_syscalls:sys_exit//${pull}`;
    const { output: both } = await measureJson(["trace", "-e", mixed]);
    expect(machinesOf(both)).toEqual([
      "guest 1 raw_syscalls:sys_exit",
      "host raw_syscalls:sys_enter",
    ]);
    await guest.stop();
  });
});
