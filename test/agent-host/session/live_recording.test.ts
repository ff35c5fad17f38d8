/**
 * Recordings: agent-guest pushes to a file, agent-host reads it: exactly what was recorded, once,
 * in order; files that are cut off, damaged, of several agents, or of different machines.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { readFileSync, writeFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { CLOCK_MONOTONIC_RAW } from "../../../shared/sys/abi.ts";
import { clockBracket } from "../../../shared/sys/clock.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { readStreamFile, startTraceOf, untilSampling } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { runAgent } from "../support/agent_process.ts";
import { markerRecord, recording } from "../support/guest_stream.ts";
import { JsonOutput, pulled, startHost } from "../support/live.ts";

const CALLS = 20_000;
const RUNS_AT_ONCE = 3;
const KEY = `key="args[0]"/`;
const ORIGIN_NS = clockBracket(CLOCK_MONOTONIC_RAW, 1).ns;
let workspace: Workspace;
/** Both ends of the calls in one file; the entries a second time, by another agent. */
let both: string;
let entries: string;
/** By call: ns from the stamp of the second agent to that of the first, by the clock of both. */
const stampsApart: number[] = [];

beforeAll(async () => {
  workspace = new Workspace();
  if (NO_TRACING !== "") return;
  both = workspace.file("both.vms");
  entries = workspace.file("entries.vms");
  const exit = OWN_GETPPID().replace("sys_enter", "sys_exit");
  await using first = await startTraceOf(
    () => [`${OWN_GETPPID()}push=${both}/`, `${exit}push=${both}/`],
    ["-m", "4096"],
  );
  await using second = await startTraceOf(() => [`${OWN_GETPPID()}push=${entries}/`], ["--tsc"]);
  const at = (name: string): string => `../${workspace.path.split("/").pop()}/${name}`;
  await untilSampling(first, at("both.vms"));
  await untilSampling(second, at("entries.vms"));
  callGetppid(CALLS);
  expect(await first.stop()).toMatchObject([{ produced: 2 * CALLS, forwarded: 2 * CALLS }]);
  expect(await second.stop()).toMatchObject([{ produced: CALLS, forwarded: CALLS }]);
  const bothRead = readStreamFile(first, at("both.vms"));
  const entriesRead = readStreamFile(second, at("entries.vms"));
  expect(bothRead.bye).toBeDefined();
  for (const { number, ns } of entriesRead.stamps) stampsApart[number] = -Number(ns - ORIGIN_NS);
  for (const { number, ns, type } of bothRead.stamps) {
    if (type === entriesRead.stamps[0]!.type) stampsApart[number]! += Number(ns - ORIGIN_NS);
  }
});

afterAll(() => workspace.dispose());

const pulledExit = (file: string, attributes = ""): string =>
  pulled(file, attributes).replace("sys_enter", "sys_exit");

/** Said of thousands of numbers, whose difference nobody would read. */
function isAscending(numbers: readonly number[]): boolean {
  return numbers.every((number, i) => i === 0 || number > numbers[i - 1]!);
}

async function runJson(args: readonly string[]) {
  const { code, stdout, stderr } = await runAgent(workspace, "agent-host", [...args, "--json"]);
  return { code, stderr, output: new JsonOutput(stdout) };
}

describe.skipIf(NO_TRACING !== "")("a recording", () => {
  test("is traced to the last event, each once, in order", async () => {
    const { code, output } = await runJson(["trace", "-e", pulled(both)]);
    expect(code).toBe(EXIT.DONE);
    expect(output.numbers).toHaveLength(CALLS);
    expect(isAscending(output.numbers)).toBe(true);
    expect(output.verdict).toMatchObject({ state: "balances", delivered: 2 * CALLS });
    const others = { type: "filtered", machine: "guest 1", event: null, events: CALLS };
    expect(output.objects.filter(({ type }) => type === "filtered")).toEqual([others]);
    expect(output.faults).toEqual([]);
  });

  test("is paired to the last event", async () => {
    const args = ["multi-trace", "-e", pulled(both), "-e", pulledExit(both), "-k", "common_pid"];
    const { code, output } = await runJson(args);
    expect(code).toBe(EXIT.DONE);
    expect(output.latencies).toMatchObject([{ calls: CALLS, violations: 0, lost_events: 0 }]);
    expect(output.latencies[0]!.min_ns).toBeGreaterThan(0);
    expect(output.intervals.at(-1)).toMatchObject({ unmatched_ends: 0, waiting_starts: 0 });
    expect(output.verdict).toMatchObject({ state: "balances" });
  });

  test("has a table for each interval of its own time, however fast it is read", async () => {
    const args = ["multi-trace", "-e", pulled(both), "-e", pulledExit(both), "-k", "common_pid"];
    const { output } = await runJson([...args, "-i", "1"]);
    const calls = output.latencies.map((line) => line.calls);
    expect(calls.reduce((sum, count) => sum + count, 0)).toBe(CALLS);
    // 20,000 calls take over a microsecond each under a tracer: several milliseconds.
    expect(output.latencies.length).toBeGreaterThan(3);
    const walls = output.intervals.map((interval) => BigInt(interval.wall_ns!));
    expect(walls).toEqual(walls.toSorted((a, b) => Number(a - b)));
  });

  test("-N stops early, without a word about the rest", async () => {
    const { code, output, stderr } = await runJson(["trace", "-e", pulled(both), "-N", "10"]);
    expect({ code, stderr }).toEqual({ code: EXIT.DONE, stderr: "" });
    expect(output.numbers).toEqual(range(10));
  });

  test("merges with another one of the same boot", async () => {
    const sources = ["-e", pulled(both, "alias=first/"), "-e", pulled(entries, "alias=second/")];
    const { code, output } = await runJson(["trace", ...sources]);
    expect(code).toBe(EXIT.DONE);
    const numbers = output.numbers;
    expect(numbers).toHaveLength(2 * CALLS);
    const sorted = numbers.toSorted((a, b) => a - b);
    expect(sorted.every((number, i) => number === i >> 1)).toBe(true);
    const clock = output.objects.flatMap(({ clock_ns }) => clock_ns as string).map(Number);
    const times = clock.slice(0, 2 * CALLS);
    expect(times.every((time, i) => i === 0 || time >= times[i - 1]!)).toBe(true);
  });

  test("and another one see the same calls as far apart as their stamps are", async () => {
    // Of two perf events on one tracepoint the kernel serves the one first that was opened last.
    // Both stamp with one clock, so how far they are apart is known to the nanosecond.
    const sources = ["-e", pulled(entries, KEY), "-e", pulled(both, KEY)];
    const { code, output } = await runJson(["multi-trace", ...sources]);
    expect(code).toBe(EXIT.DONE);
    const line = output.latencies[0]!;
    expect(line).toMatchObject({ calls: CALLS, violations: 0 });
    const sum = stampsApart.reduce((total, apart) => total + apart, 0);
    const errors = [
      line.min_ns - stampsApart.reduce((least, apart) => Math.min(least, apart), Infinity),
      line.max_ns - stampsApart.reduce((most, apart) => Math.max(most, apart), 0),
      (line.total_ns - sum) / CALLS,
    ];
    for (const error of errors) expect(Math.abs(error)).toBeLessThanOrEqual(line.bound_ns);
  });

  test("of another boot is refused beside it", async () => {
    const other = workspace.file("other.vms");
    writeFileSync(other, recording([markerRecord(1000, 1)]).bytes);
    const sources = ["-e", pulled(both), "-e", `fake:marker//pull="${other}"/`];
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", ["trace", ...sources]);
    expect({ code, stdout }).toEqual({ code: EXIT.SOURCE, stdout: "" });
    expect(stderr).toMatch(/^agent-host: ERROR: Cannot put \S+ and \S+ on one time line: .*boots/);
    expect(stderr).toMatch(/^HINT: /m);
  });

  test("beside local events wants --tsc-offset, and works with it", async () => {
    const sources = ["-e", pulled(both), "-e", OWN_GETPPID()];
    const refused = await runAgent(workspace, "agent-host", ["trace", ...sources]);
    expect(refused).toMatchObject({ code: EXIT.SOURCE, stdout: "" });
    expect(refused.stderr).toMatch(/Cannot put \S+ on the host's time line: a recording answers/);
    expect(refused.stderr).toMatch(/^HINT: say --tsc-offset N/m);
    const offset = ["--tsc-offset", "0", "--json"];
    const host = await startHost(workspace, ["trace", ...sources, ...offset]);
    callGetppid(10);
    await host.until(
      () => new JsonOutput(host.stdout).numbers.length >= CALLS + 10,
      "all calls, recorded and live",
    );
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const { numbers } = new JsonOutput(host.stdout);
    expect(numbers).toHaveLength(CALLS + 10);
    expect(isAscending(numbers.slice(0, CALLS))).toBe(true);
    expect(numbers.slice(CALLS)).toEqual(range(10));
  });
});

describe.skipIf(NO_TRACING !== "")("a damaged recording", () => {
  test("that is cut off gives what lies before the cut, and one error", async () => {
    const bytes = readFileSync(both);
    const shares = [0.001, 0.01, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.99];
    const lengths = [...shares.map((s) => Math.floor(bytes.length * s)), bytes.length - 1];
    const traceOf = async (length: number) => {
      const cut = workspace.file(`cut-${length}.vms`);
      writeFileSync(cut, bytes.subarray(0, length));
      const args = ["trace", "-e", pulled(cut), "--json"];
      return { length, ...(await runAgent(workspace, "agent-host", args)) };
    };
    const runs: Awaited<ReturnType<typeof traceOf>>[] = [];
    for (let at = 0; at < lengths.length; at += RUNS_AT_ONCE) {
      runs.push(...(await Promise.all(lengths.slice(at, at + RUNS_AT_ONCE).map(traceOf))));
    }
    let linesBefore = 0;
    for (const { length, code, stdout, stderr } of runs) {
      expect({ length, code }).toEqual({ length, code: EXIT.SOURCE });
      const errors = stderr.split("\n").filter((line) => line.includes("ERROR"));
      expect(errors).toHaveLength(1);
      expect(errors[0]).toMatch(
        /Cannot (?:read|use) .*: (?:it ends in mid-stream|no stream|it ended before its clock)/,
      );
      expect(stderr).not.toMatch(/BUG|^ +at /m);
      const { numbers } = new JsonOutput(stdout);
      expect(isAscending(numbers)).toBe(true);
      expect(numbers.length).toBeGreaterThanOrEqual(linesBefore);
      linesBefore = numbers.length;
    }
    expect(linesBefore).toBe(CALLS);
  }, 120_000);

  test("with flipped bytes gives the frames that are sound, and counts the others", async () => {
    const bytes = readFileSync(both);
    const damaged = workspace.file("damaged.vms");
    for (let at = bytes.length >> 1; at < bytes.length - 1000; at += bytes.length >> 2) {
      bytes[at]! ^= 0x55;
    }
    writeFileSync(damaged, bytes);
    const { code, output, stderr } = await runJson(["trace", "-e", pulled(damaged)]);
    expect(code).toBe(EXIT.SOURCE);
    expect(stderr).not.toContain("BUG");
    expect(output.faults).toMatchObject([{ machine: "guest 1" }]);
    expect(Number(output.faults[0]!.bad_checksums)).toBeGreaterThan(0);
    expect(output.verdict).toMatchObject({ state: "unbalanced" });
    const { numbers } = output;
    expect(isAscending(numbers)).toBe(true);
  });

  test("without a clock ends, however many samples it has", async () => {
    const { writer, position } = recording([]);
    const span = range(1000).flatMap((i) => markerRecord(1000 + i, i));
    const parts = [recording([]).bytes.subarray(0, helloBytes())];
    for (let i = 0; i < 2000; i++) parts.push(writer.samples(0, position + i * span.length, span));
    const clockless = workspace.file("clockless.vms");
    writeFileSync(clockless, Buffer.concat(parts));
    const { code, stdout, stderr } = await runAgent(workspace, "agent-host", [
      ...["trace", "-e", `fake:marker//pull="${clockless}"/`],
    ]);
    expect({ code, stdout }).toEqual({ code: EXIT.SOURCE, stdout: "" });
    expect(stderr).toMatch(/: it ended before its clock was known$/m);
  });
});

/** Length of the Hello with which recording() begins. */
function helloBytes(): number {
  const { bytes } = recording([]);
  return 16 + new DataView(bytes.buffer).getUint32(8, true);
}
