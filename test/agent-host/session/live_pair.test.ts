/**
 * Both agents live on this machine, over a unix socket and tcp: each call of the test is seen by
 * both, so the number of pairs is known, and the ledger has to balance.
 *
 *   call entered ... [host's perf event stamps] ... [guest's perf event stamps] ... call returns
 *
 * Of two perf events on one tracepoint the kernel serves the one first that was opened last, here
 * the host's, some 500 ns before the other; an interrupt, or a hypervisor below, that comes in
 * between makes it 100 us. So from guest to host the true latency is a little below zero, never
 * further than a call takes, which the test measures; from host to guest none is below zero.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { CLOCK_MONOTONIC_RAW } from "../../../shared/sys/abi.ts";
import { clockBracket } from "../../../shared/sys/clock.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { freePort } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { CALL_NUMBER, JsonOutput, pulled, startGuest, startHost } from "../support/live.ts";

const CALLS = 2000;
const KEY = `key="${CALL_NUMBER}"/`;
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** Calls in all tables so far. */
function callsOf(stdout: string): number {
  return new JsonOutput(stdout).latencies.reduce((sum, { calls }) => sum + calls, 0);
}

/** Makes the numbered calls; gives the length of the longest one in ns. */
function longestOfCalls(count: number): number {
  const rawNs = (): bigint => clockBracket(CLOCK_MONOTONIC_RAW, 1).ns;
  let longest = 0;
  for (let i = 0; i < count; i++) {
    const before = rawNs();
    callGetppid(1, i);
    longest = Math.max(longest, Number(rawNs() - before));
  }
  return longest;
}

const TRANSPORTS = {
  unix: async () => `unix:${workspace.file(`${sockets++}.sock`)}`,
  tcp: async () => `127.0.0.1:${await freePort()}`,
} as const;

for (const transport of ["unix", "tcp"] as const) {
  describe.skipIf(NO_TRACING !== "")(`over ${transport}`, () => {
    test("multi-trace pairs every call of the guest with the host's, within the call", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const events = ["-e", pulled(place, KEY), "-e", `${OWN_GETPPID()}${KEY}`];
      const host = await startHost(workspace, ["multi-trace", ...events, "--json"]);
      const longestNs = longestOfCalls(CALLS);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(host.stdout);
      expect(output.verdict).toMatchObject({ state: "balances", delivered: 2 * CALLS });
      for (const machine of ["host", "guest 1"]) {
        expect(output.sum(machine, "produced")).toBe(CALLS);
        expect(output.sum(machine, "delivered")).toBe(CALLS);
      }
      const line = output.latencies[0]!;
      expect(line).toMatchObject({ left_out: 0, lost_events: 0 });
      // A pair beyond its bound is one whose effect did come first, by no more than the call took;
      // by more than four bounds it is no pair.
      const { unmatched_ends, waiting_starts } = output.intervals.at(-1)!;
      expect(line.calls + line.violations + unmatched_ends!).toBe(CALLS);
      expect(waiting_starts).toBe(unmatched_ends!);
      expect(line.calls).toBeGreaterThan(CALLS * 0.9);
      expect(line.violation_max_ns).toBeLessThanOrEqual(longestNs + line.bound_ns);
      expect(line.max_ns).toBeLessThanOrEqual(longestNs + line.bound_ns);
      expect(line.bound_ns).toBeGreaterThan(0);
      expect(line.p50_ns).toBeLessThanOrEqual(line.bound_ns);
      const [alignment, ...others] = output.alignments;
      expect(others).toEqual([]);
      expect(alignment).toMatchObject({ machine: "guest 1", method: "ping", ready: true });
      const [cpu] = alignment!.cpus as { bound_ns: number; event_bound_ns: number }[];
      expect(cpu!.bound_ns).toBeGreaterThan(0);
      expect(cpu!.event_bound_ns).toBeGreaterThan(0);
      expect(output.faults).toEqual([]);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    });

    test("multi-trace the other way round finds no effect before its cause", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const events = ["-e", `${OWN_GETPPID()}${KEY}`, "-e", pulled(place, KEY)];
      const host = await startHost(workspace, ["multi-trace", ...events, "--json", "-i", "50"]);
      for (let turn = 0; turn < 4; turn++) {
        callGetppid(CALLS / 4, (turn * CALLS) / 4);
        const expected = ((turn + 1) * CALLS) / 4;
        await host.until(() => callsOf(host.stdout) === expected, `${expected} calls in tables`);
      }
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(host.stdout);
      expect(output.intervals.length).toBeGreaterThanOrEqual(4);
      expect(callsOf(host.stdout)).toBe(CALLS);
      for (const { violations, min_ns } of output.latencies) {
        expect(violations).toBe(0);
        expect(min_ns).toBeGreaterThanOrEqual(0);
      }
      expect(output.verdict).toMatchObject({ state: "balances", delivered: 2 * CALLS });
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    });

    test("trace shows each call of both once, in time order, marked by machine", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const events = ["-e", pulled(place, "alias=theirs/"), "-e", `${OWN_GETPPID()}alias=ours/`];
      const host = await startHost(workspace, ["trace", ...events]);
      callGetppid(CALLS);
      await host.printed(2 * CALLS);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const lines = host.stdout.trimEnd().split("\n");
      const layout =
        /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6} (.) .{16} +\d+ \S{4,5} \[\d{3}\] (\d+\.\d{6}): raw_syscalls:(ours|theirs): NR 110 \(([0-9a-f]+), 0, 0, 0, 0, 0\)$/;
      const numbers: Record<string, number[]> = { "G theirs": [], "  ours": [] };
      let last = 0;
      for (const line of lines) {
        const [, mark, time, name, number] = layout.exec(line) ?? [];
        numbers[`${mark} ${name}`]!.push(Number.parseInt(number!, 16));
        expect(Number(time)).toBeGreaterThanOrEqual(last);
        last = Number(time);
      }
      expect(numbers).toEqual({ "G theirs": range(CALLS), "  ours": range(CALLS) });
      expect(host.stderr).toMatch(/^ledger: balances: 4000 produced = 4000 delivered/m);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    });

    test("trace -N prints exactly so many lines, beside local events too", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const both = ["-e", pulled(place), "-e", OWN_GETPPID()];
      for (const events of [both, both.slice(0, 2)]) {
        const host = await startHost(workspace, ["trace", ...events, "-N", "7"]);
        callGetppid(CALLS);
        expect(await host.end()).toMatchObject({ code: EXIT.DONE });
        expect(host.stdout.trimEnd().split("\n")).toHaveLength(7);
        expect(host.stderr).toMatch(/^ledger: balances: /m);
      }
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    });
  });
}
