/**
 * A guest that serves and a host that pulls, as users start them: nothing is said in the guest but
 * `agent-guest serve`. Over a unix socket and over tcp, with limits that load crosses.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { EXIT } from "../../../shared/cli/failure.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { range } from "../../agent-guest/support/numbers.ts";
import { freePort } from "../../agent-guest/support/trace.ts";
import { callGetppid, libcPath, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { findProgram } from "../../vm/prerequisites.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, runAgent, startAgent } from "../support/agent_process.ts";
import { CALL_NUMBER, JsonOutput, startHost } from "../support/live.ts";

setDefaultTimeout(90_000);

const CALLS = 2000;
const KEY = `key="${CALL_NUMBER}"/`;
/** Calls between two looks at whether the guest sheds. */
const BURST = 20_000;
const SHED_MS_MAX = 30_000;
let workspace: Workspace;
let sockets = 0;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

async function startServing(place: string, args: readonly string[] = []): Promise<AgentProcess> {
  const guest = startAgent(workspace, "agent-guest", ["serve", place, ...args]);
  await guest.said(/^Waiting for a host at /m);
  return guest;
}

/** This thread's calls, as the host has to ask for them. */
function asked(place: string, attributes = ""): string {
  return `${OWN_GETPPID()}pull="${place}"/${attributes}`;
}

const TRANSPORTS = {
  unix: async () => `unix:${workspace.file(`served${sockets++}.sock`)}`,
  tcp: async () => `127.0.0.1:${await freePort()}`,
} as const;

for (const transport of ["unix", "tcp"] as const) {
  describe.skipIf(NO_TRACING !== "")(`served over ${transport}`, () => {
    test("trace and multi-trace ask for their events, one after the other", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startServing(place);
      const trace = await startHost(workspace, ["trace", "-e", asked(place), "--json"]);
      callGetppid(CALLS);
      await trace.printed(CALLS);
      expect(await trace.stop()).toMatchObject({ code: EXIT.DONE });
      const lines = new JsonOutput(trace.stdout);
      expect(lines.numbers.toSorted((a, b) => a - b)).toEqual(range(CALLS));
      expect(lines.verdict).toMatchObject({ state: "balances", delivered: CALLS });

      const events = ["-e", asked(place, KEY), "-e", `${OWN_GETPPID()}${KEY}`];
      const pairs = await startHost(workspace, ["multi-trace", ...events, "--json"]);
      callGetppid(CALLS);
      expect(await pairs.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(pairs.stdout);
      expect(output.verdict).toMatchObject({ state: "balances", delivered: 2 * CALLS });
      expect(output.latencies[0]).toMatchObject({ calls: CALLS, violations: 0, lost_events: 0 });
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
      expect(guest.stderr.split("Opened raw_syscalls:sys_enter").length).toBe(3);
    });

    test("two -e of the same event are two events, each with its filter", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startServing(place);
      const even = asked(place, "alias=all/").replace("/pull", `/pull`);
      const host = await startHost(workspace, [
        ...["trace", "-e", `${even}`, "-e", asked(place, "alias=same/"), "--json"],
      ]);
      callGetppid(100);
      await host.printed(200);
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      expect(new JsonOutput(host.stdout).verdict).toMatchObject({
        state: "balances",
        delivered: 200,
      });
      await guest.stop();
    });

    test("a second host is refused while the first one is there, with its name", async () => {
      const place = await TRANSPORTS[transport]();
      const guest = await startServing(place);
      const first = await startHost(workspace, ["trace", "-e", asked(place)]);
      const second = await runAgent(workspace, "agent-host", ["trace", "-e", asked(place)]);
      expect(second.code).toBe(EXIT.SOURCE);
      const who = transport === "unix" ? `process ${first.pid} \\(` : "127\\.0\\.0\\.1:\\d+ is ";
      expect(second.stderr).toMatch(new RegExp(`answers: Cannot attach to .*: ${who}.*\\(BUSY\\)`));
      callGetppid(10);
      await first.printed(10);
      expect(await first.stop()).toMatchObject({ code: EXIT.DONE });
      await guest.stop();
    });
  });
}

describe.skipIf(NO_TRACING !== "")("a guest that sheds", () => {
  /** Loads the guest until it sheds, and some more. */
  async function load(guest: AgentProcess): Promise<number> {
    let calls = 0;
    const burst = (): boolean => {
      callGetppid(BURST, calls);
      calls += BURST;
      return guest.stderr.includes("Records only a part of each second");
    };
    await waitUntil(burst, SHED_MS_MAX, "the guest to shed");
    for (let i = 0; i < 10; i++) burst();
    return calls;
  }

  const LIMITS = [
    ["--max-rate", "2k/s"],
    ["--max-rate", "64kB/s"],
    ["--max-cpu", "0.1%"],
  ] as const;

  for (const [option, value] of LIMITS) {
    test(`${option} ${value}: what is not recorded is counted, to the event`, async () => {
      const place = await TRANSPORTS.unix();
      const guest = await startServing(place, [option, value]);
      const host = await startHost(workspace, ["trace", "-e", asked(place), "--json"]);
      const calls = await load(guest);
      await host.said(new RegExp(`guest 1 does not record all the time \\(shed by ${option}\\)`));
      expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
      const output = new JsonOutput(host.stdout);
      expect(output.verdict).toMatchObject({ state: "balances" });
      expect(output.sum("guest 1", "produced")).toBe(calls);
      const shed = output.ledger
        .flatMap(({ drops }) => drops)
        .filter(({ place: where }) => where === `shed by ${option}`);
      const events = shed.reduce((sum, drop) => sum + drop.events, 0);
      expect(events).toBeGreaterThan(0);
      expect(output.sum("guest 1", "delivered") + output.sum("guest 1", "lost_kernel")).toBe(
        calls - events,
      );
      expect(new Set(output.numbers).size).toBe(output.sum("guest 1", "delivered"));
      await guest.stop();
    });
  }

  test("records all again when the load is over, and says so", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--max-rate", "5k/s"]);
    const host = await startHost(workspace, ["trace", "-e", asked(place), "--json"]);
    const calls = await load(guest);
    await guest.said(/^Records all events again$/m);
    callGetppid(1000, calls);
    await host.until(
      () =>
        new JsonOutput(`${host.stdout.slice(0, host.stdout.lastIndexOf("\n") + 1)}`).numbers.at(
          -1,
        ) ===
        calls + 999,
      "the last call",
    );
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const numbers = new JsonOutput(host.stdout).numbers.filter((number) => number >= calls);
    expect(numbers.toSorted((a, b) => a - b)).toEqual(range(1000).map((n) => n + calls));
    await guest.stop();
  });

  test("tables say that events are missing, and pair none across what is", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--max-rate", "2k/s"]);
    const events = ["-e", asked(place, KEY), "-e", `${OWN_GETPPID()}${KEY}`];
    const host = await startHost(workspace, ["multi-trace", ...events]);
    await load(guest);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(host.stderr).toMatch(/shed by --max-rate \d+/);
    expect(host.stdout + host.stderr).toMatch(/lost|rest on/);
    expect(host.stderr).toContain("ledger: balances");
    await guest.stop();
  });
});

const CANNOT_PROBE = NO_TRACING !== "" || libcPath() === "" || findProgram("perl") === undefined;
if (CANNOT_PROBE) console.warn("skipped: probes that a host asks for: no tracing, libc or perl");

/** Probes that tracefs holds for a process. */
function probesOf(pid: number): string[] {
  return readFileSync(`${Tracefs.open().root}/uprobe_events`, "utf8")
    .split("\n")
    .filter((line) => line.includes(`:vmspan_${pid}_`));
}

describe.skipIf(CANNOT_PROBE)("a guest that allows probes", () => {
  test("makes the uprobe that the host asks for, and removes it when the host leaves", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--allow-probes"]);
    const probe = `uprobe:getppid@"${libcPath()}"/comm=="perl"/pull="${place}"/`;
    const host = await startHost(workspace, ["trace", "-e", probe]);
    expect(probesOf(guest.pid)).toHaveLength(1);
    // A program that calls libc's own function: ours makes system calls of its own.
    spawnSync("perl", ["-e", "getppid() for 1..7"]);
    await host.printed(7);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    await guest.said(/^Closed the events of the host at /m);
    expect(probesOf(guest.pid)).toEqual([]);
    await guest.stop();
  });
});

describe.skipIf(NO_TRACING !== "")("a host that may not", () => {
  test("says goodbye when it is its own command line that is wrong", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--grace", "3600s"]);
    const wrong = await runAgent(workspace, "agent-host", [
      ...["multi-trace", "-e", asked(place), "-e", asked(place), "-k", "nofield"],
    ]);
    expect(wrong.code).toBe(EXIT.USAGE);
    await guest.said(/^Closed the events of the host at /m);
    await guest.stop();
  });

  test("is told why, with a caret and a hint, and exits 4", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--max-events", "1", "--max-ring", "64kB"]);
    const run = (event: string, ...args: string[]) =>
      runAgent(workspace, "agent-host", ["trace", "-e", event, ...args]);
    const pull = `pull="${place}"/`;
    const filter = await run(`irq:irq_handler_entry/irq==1 && nofield==2/${pull}`);
    expect(filter).toMatchObject({ code: EXIT.SOURCE, stdout: "" });
    expect(filter.stderr).toMatch(/\(BAD_FILTER\)\n {2}irq==1 && nofield==2\n {12}\^\nHINT: /);
    const unknown = await run(`irq:irq_handler_enty//${pull}`);
    expect(unknown.code).toBe(EXIT.SOURCE);
    expect(unknown.stderr).toMatch(/\(UNKNOWN_EVENT\)\nHINT: did you mean irq:irq_handler_entry\?/);
    const many = await run(`irq:irq_handler_*//${pull}`);
    expect(many.code).toBe(EXIT.SOURCE);
    expect(many.stderr).toMatch(/Cannot open 2 events: this guest allows 1 \(LIMIT\)\nHINT: /);
    const ring = await run(`irq:irq_handler_entry//${pull}`, "-m", "1024");
    expect(ring.code).toBe(EXIT.SOURCE);
    expect(ring.stderr).toMatch(/rings of 4194304 bytes: this guest allows 65536 \(LIMIT\)/);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test("a host that is killed leaves events that are closed after the grace period", async () => {
    const place = await TRANSPORTS.unix();
    const guest = await startServing(place, ["--grace", "200ms"]);
    const host = await startHost(workspace, ["trace", "-e", asked(place)]);
    await host.stop("SIGKILL");
    await guest.said(/^Closed the events of the host at /m);
    const again = await startHost(workspace, ["trace", "-e", asked(place)]);
    callGetppid(5);
    await again.printed(5);
    expect(await again.stop()).toMatchObject({ code: EXIT.DONE });
    await guest.stop();
  });
});
