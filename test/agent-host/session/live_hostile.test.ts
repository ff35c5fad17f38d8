/**
 * One agent-host with a real guest and a dozen hostile ones: what the real one measures is what it
 * would measure alone, each abuse is named once, and the host stays small. Some 20 s, most of it
 * waiting for guests that never get ready; a minute more at night.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { join } from "node:path";
import { EXIT } from "../../../shared/cli/failure.ts";
import { perNight } from "../../nightly.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { ABUSES } from "../hostile_guest/abuses.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { FakeGuest } from "../support/fake_guest.ts";
import { FAKE_EVENT, FAKE_FORMAT, fakeEvent } from "../support/guest_stream.ts";
import { CALL_NUMBER, JsonOutput, pulled, startGuest } from "../support/live.ts";

const KEY = `key="${CALL_NUMBER}"/`;
const CALLS = 4000;
const TURNS = perNight(4, 60);
/** Guests that never get ready are given up after 10 s, those behind after 5. */
const DEADLINE_MS = 60_000;
const RESIDENT_BYTES_MAX = 320 * 1024 * 1024;
const PROGRAM = join(import.meta.dirname, "../hostile_guest/hostile_guest.ts");
const LATE_SAID =
  /^agent-host: ERROR: Cannot use \S*late\.sock: Cannot parse expression: .*"common_pid"$/m;
const names = Object.keys(ABUSES);
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

async function startHostileGuests(): Promise<void> {
  const child = workspace.spawn(process.execPath, [PROGRAM, workspace.path], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout?.on("data", (chunk: Uint8Array) => {
    out += chunk.toString();
  });
  await waitUntil(() => out.includes("ready"), DEADLINE_MS, "the hostile guests");
}

/** A guest that is not ready before the run has begun, and has no field for the key. */
async function listenLate(hasBegun: () => boolean): Promise<FakeGuest> {
  const format = new TextEncoder().encode(FAKE_FORMAT.replace("common_pid", "another_pid"));
  const hello = { events: [fakeEvent({ format })] };
  const manners = { twoWay: true, answersAttach: hasBegun, hello };
  return await FakeGuest.listen({ path: workspace.file("late.sock") }, manners);
}

/**
 * The good guest first, so that it is guest 1. Its events are those of this host, which opened its
 * own later: the kernel calls them first.
 */
async function startHost(place: string): Promise<AgentProcess> {
  const hostile = [...names, "late"].flatMap((name) => [
    "-e",
    `${FAKE_EVENT}//pull=unix:${workspace.file(`${name}.sock`)}/untraced/`,
  ]);
  const good = ["-e", `${OWN_GETPPID()}${KEY}`, "-e", pulled(place, KEY)];
  const args = ["multi-trace", ...good, ...hostile, "-k", "common_pid", "--json", "-i", "100"];
  const host = startAgent(workspace, "agent-host", args);
  await host.said(/^Tracing$/m, DEADLINE_MS);
  return host;
}

function callsOf({ latencies }: JsonOutput): number {
  return latencies.reduce((sum, { calls }) => sum + calls, 0);
}

describe.skipIf(NO_TRACING !== "")("a guest among hostile ones", () => {
  test(
    "is measured as if it were alone, and each abuse is named",
    async () => {
      const place = `unix:${workspace.file("good")}`;
      const guest = await startGuest(workspace, place);
      await startHostileGuests();
      let hasBegun = false;
      await using _late = await listenLate(() => hasBegun);
      const host = await startHost(place);
      hasBegun = true;
      let residentBytesMax = 0;
      for (let turn = 0; turn < TURNS; turn++) {
        callGetppid(CALLS, turn * CALLS);
        const expected = (turn + 1) * CALLS;
        const isPaired = (): boolean => callsOf(new JsonOutput(host.stdout)) === expected;
        await host.until(isPaired, `${expected} pairs`, DEADLINE_MS);
        residentBytesMax = Math.max(residentBytesMax, host.residentBytes());
      }
      console.log(`${names.length} hostile guests, ${residentBytesMax >> 20} MiB at most`);
      expect(residentBytesMax).toBeLessThan(RESIDENT_BYTES_MAX);
      for (const name of names) await host.said(ABUSES[name]!.said, DEADLINE_MS);
      await host.said(LATE_SAID, DEADLINE_MS);
      expect(await host.stop("SIGINT", DEADLINE_MS)).toMatchObject({ code: EXIT.SOURCE });

      const output = new JsonOutput(host.stdout);
      expect(callsOf(output)).toBe(TURNS * CALLS);
      for (const line of output.latencies) {
        expect(line).toMatchObject({ violations: 0, lost_events: 0, left_out: 0 });
        expect(line.p50_ns).toBeLessThanOrEqual(line.bound_ns);
      }
      for (const machine of ["host", "guest 1"]) {
        expect(output.sum(machine, "produced")).toBe(TURNS * CALLS);
        expect(output.sum(machine, "delivered")).toBe(TURNS * CALLS);
      }
      expect(output.faults.some(({ machine }) => machine === "guest 1")).toBe(false);
      expectQuietLog(host.stderr);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    },
    180_000 + TURNS * 5000,
  );
});

/** Each fault of each guest once, nothing that moves the cursor, no bug of ours. */
function expectQuietLog(stderr: string): void {
  const warnings = stderr.match(/^WARNING: guest \d+ sends what it should not: .*$/gm) ?? [];
  const faults = warnings.flatMap((line) => {
    const [, guest, list] = /^WARNING: (guest \d+) sends what it should not: (.*)$/.exec(line)!;
    return list!.split(", ").map((fault) => `${guest} ${fault}`);
  });
  expect(new Set(faults).size).toBe(faults.length);
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are the point
  expect(stderr).not.toMatch(/[\x00-\x09\x0b-\x1f\x7f-\xff]/);
  expect(stderr).not.toContain("BUG");
}
