/**
 * Pairs of events beside round trips, with both agents on this machine: the true offset of the TSCs
 * is 0, each call is seen by the host first, because its event was opened last, and the next call
 * comes after both.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { CALL_NUMBER, pulled, startGuest, startHost } from "../support/live.ts";

const TURNS = 12;
const CALLS = 50;
const KEY = `key="${CALL_NUMBER}"/`;
let workspace: Workspace;

setDefaultTimeout(60_000);
beforeAll(() => {
  workspace = new Workspace();
});
afterAll(() => workspace.dispose());

describe.skipIf(NO_TRACING !== "")("multi-trace with relations of round trips", () => {
  /** Calls in turns, so that several pairs are looked at; gives the lines about the clocks. */
  async function run(name: string, args: readonly string[]): Promise<string> {
    const place = `unix:${workspace.file(name)}`;
    const guest = await startGuest(workspace, place);
    // Both ways: the guest sees call n after the host, which sees call n + 1 after the guest.
    const next = `key="${CALL_NUMBER}-1" alias=next/`.replace(" ", "/");
    const ours = OWN_GETPPID();
    const events = ["-e", `${ours}${KEY}`, "-e", pulled(place, KEY), "-e", `${ours}${next}`];
    const host = await startHost(workspace, ["multi-trace", ...events, "-i", "100", ...args]);
    let seen = 0;
    for (let turn = 0; turn < TURNS; turn++) {
      callGetppid(CALLS, turn * CALLS);
      seen += CALLS;
      await host.until(() => callsIn(host.stdout) >= seen, `${seen} calls in tables`);
    }
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    return host.stderr;
  }

  function callsIn(stdout: string): number {
    const rows = stdout.matchAll(/^ *host sys_enter => guest 1 sys_enter +(\d+) /gm);
    return [...rows].reduce((sum, [, calls]) => sum + Number(calls), 0);
  }

  /** The true offset, 0, is in the interval that is printed. */
  function expectTruth(stderr: string): void {
    const match = /guest TSC = host TSC \+ (0x[0-9a-f]+) \+-([\d.]+) (ns|us|ms)/.exec(stderr)!;
    const offset = Number(BigInt.asIntN(64, BigInt(match[1]!)));
    const weight = { ns: 1, us: 1e3, ms: 1e6 }[match[3] as "ns" | "us" | "ms"];
    // Cycles against nanoseconds: no TSC ticks faster than 6 GHz; digits are rounded to three.
    expect(Math.abs(offset) / 6).toBeLessThanOrEqual(Number(match[2]) * weight * 1.01);
  }

  test("says what pairs would give, and leaves the relation alone", async () => {
    const stderr = await run("say.sock", []);
    expect(stderr).toMatch(/^guest 1: causality says \+-\S+ \S+ if each pair is cause and effect/m);
    expect(stderr).toMatch(/; --trust-pairs takes that$/m);
    expectTruth(stderr);
  });

  test("--trust-pairs makes them part of it, and the truth stays inside", async () => {
    const stderr = await run("trust.sock", ["--trust-pairs"]);
    expect(stderr).toMatch(/^guest 1: --trust-pairs: \d+ pairs are part of it/m);
    expect(stderr).not.toContain("causality says");
    expect(stderr).not.toContain("PAIRS DISAGREE");
    expectTruth(stderr);
  });
});
