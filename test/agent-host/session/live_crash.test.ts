/**
 * What becomes of one agent when the other is killed, stopped or leaves, in mid-run, both live on
 * this machine.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { freePort } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { SerialBridge } from "../../spec/serial_bridge.ts";
import { Workspace } from "../../vm/workspace.ts";
import type { AgentProcess } from "../support/agent_process.ts";
import { JsonOutput, pulled, startGuest, startHost } from "../support/live.ts";

const CALLS = 500;
const KILLS = 3;
/** More than the two seconds that the end waits for a guest, and less than a hang. */
const END_DEADLINE_MS = 10_000;
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

const TRANSPORTS = {
  unix: async () => `unix:${workspace.file(`${sockets++}.sock`)}`,
  tcp: async () => `127.0.0.1:${await freePort()}`,
} as const;

/** The numbers that whole lines of a killed host's output hold. */
function numbersOf(host: AgentProcess): number[] {
  return new JsonOutput(host.stdout).numbers;
}

for (const transport of ["unix", "tcp"] as const) {
  describe.skipIf(NO_TRACING !== "")(`over ${transport}`, () => {
    test("agent-host killed in mid-run and started again finds the guest going on", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const seen = new Set<number>();
      let next = 0;
      for (let kill = 0; kill < KILLS; kill++) {
        const host = await startHost(workspace, ["trace", "-e", pulled(place), "--json"]);
        callGetppid(CALLS, next);
        next += CALLS;
        await host.printed(10);
        expect(await host.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
        const numbers = numbersOf(host);
        expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
        // Each run begins with the first call that was made after it said that it traces, or with
        // what the guest still held of those before: never with gaps, never twice.
        expect(numbers.at(-1)! - numbers[0]!).toBe(numbers.length - 1);
        for (const number of numbers) seen.add(number);
        expect(guest.hasEnded).toBe(false);
      }
      const host = await startHost(workspace, ["trace", "-e", pulled(place), "--json"]);
      callGetppid(CALLS, next);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(host.stdout);
      expect(output.numbers.slice(-CALLS)).toEqual(
        Array.from({ length: CALLS }, (_, i) => next + i),
      );
      expect(output.faults).toEqual([]);
      expect(output.verdict!.state).not.toBe("unbalanced");
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    });

    test("agent-guest killed ends the host with its results and exit code 4", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const key = `key="args[0]"/`;
      const events = ["-e", pulled(place, key), "-e", `${OWN_GETPPID()}${key}`];
      const host = await startHost(workspace, ["multi-trace", ...events, "-i", "50"]);
      callGetppid(CALLS);
      await host.showed(/^guest 1 sys_enter => host sys_enter/m);
      expect(await guest.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
      expect(await host.end(END_DEADLINE_MS)).toMatchObject({ code: EXIT.SOURCE });
      expect(host.stdout).toMatch(/^guest 1 sys_enter => host sys_enter +\d+ /m);
      expect(host.stderr).toMatch(/^ledger: cannot be checked, not every machine told its totals/m);
      expect(host.stderr).toMatch(/^guest 1 +\d+ +\? .* unknown from byte \d+ on$/m);
      expect(host.stderr).toMatch(
        /^ledger: guest 1 ended without a goodbye: all that it recorded before 2\d{3}-.* is unknown$/m,
      );
      expect(host.stderr).toMatch(
        /^agent-host: ERROR: Lost \S+: it closed the connection in mid-stream\nHINT: .*\n$/m,
      );
    });

    test("agent-guest that ends by itself ends the host, with everything and exit code 0", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startGuest(workspace, place);
      const host = await startHost(workspace, ["trace", "-e", pulled(place), "--json"]);
      callGetppid(CALLS);
      expect(await guest.stop("SIGTERM")).toMatchObject({ code: EXIT.DONE });
      expect(await host.end()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(host.stdout);
      expect(output.numbers).toEqual(Array.from({ length: CALLS }, (_, i) => i));
      expect(output.verdict).toMatchObject({ state: "balances", delivered: CALLS });
    });
  });
}

/** A guest and its host over each transport; all of them see the same calls. */
async function startPairs(
  argsOf: (place: string) => readonly string[],
): Promise<readonly { readonly guest: AgentProcess; readonly host: AgentProcess }[]> {
  const places = [await TRANSPORTS.unix(), await TRANSPORTS.tcp()];
  const guests = await Promise.all(places.map((place) => startGuest(workspace, place)));
  const hosts = await Promise.all(places.map((place) => startHost(workspace, argsOf(place))));
  return guests.map((guest, i) => ({ guest, host: hosts[i]! }));
}

describe.skipIf(NO_TRACING !== "")("over unix and tcp", () => {
  test("agent-guest stopped does not keep the host from ending at SIGINT", async () => {
    const pairs = await startPairs((place) => [
      ...["multi-trace", "-e", pulled(place), "-e", OWN_GETPPID(), "-k", "args[0]", "-i", "50"],
    ]);
    callGetppid(CALLS);
    const endOf = async ({ guest, host }: (typeof pairs)[number]): Promise<void> => {
      await host.showed(/^guest 1 sys_enter => host sys_enter/m);
      guest.kill("SIGSTOP");
      expect(await host.stop("SIGINT", END_DEADLINE_MS)).toMatchObject({ code: EXIT.DONE });
      expect(host.stdout).toMatch(/^guest 1 sys_enter => host sys_enter +\d+ /m);
      expect(host.stderr).toMatch(/^ledger: cannot be checked/m);
      guest.kill("SIGCONT");
      expect(await guest.stop("SIGINT", END_DEADLINE_MS)).toMatchObject({ code: EXIT.DONE });
    };
    await Promise.all(pairs.map(endOf));
  });

  test("agent-guest stopped does not keep the host's own events from being shown", async () => {
    const pairs = await startPairs((place) => [
      ...["trace", "-e", pulled(place), "-e", `${OWN_GETPPID()}alias=ours/`],
    ]);
    for (const { guest } of pairs) guest.kill("SIGSTOP");
    callGetppid(CALLS);
    for (const { guest, host } of pairs) {
      await host.said(/ is silent: going on without it until it returns$/m);
      await host.printed(CALLS);
      guest.kill("SIGCONT");
      await host.said(/ is back$/m);
    }
    callGetppid(CALLS);
    for (const { guest, host } of pairs) {
      await host.printed(4 * CALLS);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      expect(host.stderr).toMatch(/^ledger: .*2000 produced = 2000 delivered/m);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    }
  });
});

describe.skipIf(NO_TRACING !== "")("two hosts", () => {
  test("on a unix socket: the second is told that it is taken", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startGuest(workspace, place);
    const first = await startHost(workspace, ["trace", "-e", pulled(place)]);
    const second = await startHost(workspace, ["trace", "-e", pulled(place)]).catch(
      (error: Error) => error.message,
    );
    expect(second).toContain("answers: Cannot attach to");
    expect(second).toMatch(/process \d+ \(.+\) is attached/);
    callGetppid(CALLS);
    await first.printed(CALLS);
    expect(await first.stop()).toMatchObject({ code: EXIT.DONE });
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("on tcp: both see everything, and one leaving does not disturb the other", async () => {
    const place = await TRANSPORTS.tcp();
    const guest = await startGuest(workspace, place);
    const hosts = [
      await startHost(workspace, ["trace", "-e", pulled(place), "--json"]),
      await startHost(workspace, ["trace", "-e", pulled(place), "--json"]),
    ] as const;
    callGetppid(CALLS);
    for (const host of hosts) await host.printed(CALLS);
    expect(await hosts[0].stop()).toMatchObject({ code: EXIT.DONE });
    callGetppid(CALLS, CALLS);
    expect(await hosts[1].stop()).toMatchObject({ code: EXIT.DONE });
    const numbers = numbersOf(hosts[1]);
    expect(numbers).toEqual(Array.from({ length: 2 * CALLS }, (_, i) => i));
    expect(numbersOf(hosts[0])).toEqual(numbers.slice(0, CALLS));
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });
});

/** Makes calls from a number on, and expects the host to print them, each once and nothing else. */
async function expectCalls(host: AgentProcess, from: number): Promise<void> {
  callGetppid(CALLS, from);
  const last = (): number[] => numbersOf(host).slice(-CALLS);
  await host.until(() => last().at(-1) === from + CALLS - 1, `call ${from + CALLS - 1}`);
  expect(last()).toEqual(Array.from({ length: CALLS }, (_, i) => from + i));
}

describe.skipIf(NO_TRACING !== "")("behind a port that stays connected", () => {
  test("an agent that is killed and started again is attached again", async () => {
    await using bridge = new SerialBridge();
    const pull = String(await bridge.listen(0));
    const startMs = Date.now();
    const killed = await startGuest(workspace, bridge.pty.path);
    const host = await startHost(workspace, ["trace", "-e", pulled(pull), "--json"]);
    callGetppid(CALLS);
    await host.printed(CALLS);
    await killed.stop("SIGKILL");
    const guest = await startGuest(workspace, bridge.pty.path);
    let next = CALLS;
    const isSeen = (): boolean => {
      callGetppid(1, next++);
      return numbersOf(host).length > CALLS;
    };
    await host.until(isSeen, "a call that the new agent saw");
    await expectCalls(host, next);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(host.stdout);
    // Each of its streams is accounted for; of the first one's end only so much is known.
    expect(output.verdict).toMatchObject({ state: "unknown" });
    expect(output.streamEnds).toMatchObject([{ machine: "guest 1", stream: "1", goodbye: false }]);
    expect(Number(output.streamEnds[0]!.complete_ns)).toBeGreaterThan(startMs * 1e6);
    expect(Number(output.streamEnds[0]!.complete_ns)).toBeLessThan(Date.now() * 1e6);
    const rowsOf = (stream: string) => output.ledger.filter((row) => row.stream === stream);
    const first = rowsOf("1");
    expect(first.reduce((sum, { delivered }) => sum + delivered, 0)).toBe(CALLS);
    for (const row of first) expect(row).toMatchObject({ produced: null, lost_kernel: 0 });
    expect(first.some(({ end_position }) => end_position! > CALLS * 8)).toBe(true);
    const second = rowsOf("2");
    expect(second.length).toBeGreaterThan(0);
    for (const row of second) expect(row.produced).toBe(row.delivered);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("a host that is killed and started again finds the agent going on", async () => {
    await using bridge = new SerialBridge();
    const pull = String(await bridge.listen(0));
    const guest = await startGuest(workspace, bridge.pty.path);
    for (let kill = 0; kill < KILLS; kill++) {
      const host = await startHost(workspace, ["trace", "-e", pulled(pull), "--json"]);
      callGetppid(CALLS, kill * CALLS);
      await host.printed(10);
      expect(await host.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
    }
    const host = await startHost(workspace, ["trace", "-e", pulled(pull), "--json"]);
    await expectCalls(host, KILLS * CALLS);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(new JsonOutput(host.stdout).verdict).toMatchObject({ state: "balances" });
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });
});
