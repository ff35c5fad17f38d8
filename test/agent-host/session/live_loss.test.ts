/**
 * Loss, made on purpose: a host that does not read while events pour. Whatever the place where they
 * are lost, the ledger has them, and the latencies that it touches are marked.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { freePort } from "../../agent-guest/support/trace.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { startAgent } from "../support/agent_process.ts";
import { JsonOutput, startGuest, startHost } from "../support/live.ts";

/** 18 MB of samples: more than rings and sockets hold. */
const CALLS = 200_000;
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

for (const transport of ["unix", "tcp"] as const) {
  test.skipIf(NO_TRACING !== "")(`a host that stops reading over ${transport}`, async () => {
    const place = await TRANSPORTS[transport]();
    const exit = `${OWN_GETPPID().replace("sys_enter", "sys_exit")}push="${place}"/`;
    const guest = await startGuest(workspace, place, ["-m", "64", "-e", exit]);
    const events = ["enter", "exit"].flatMap((name) => [
      "-e",
      `raw_syscalls:sys_${name}//pull="${place}"/`,
    ]);
    const host = await startHost(workspace, ["multi-trace", ...events, "-k", "id", "--json"]);
    callGetppid(100);
    host.kill("SIGSTOP");
    callGetppid(CALLS);
    host.kill("SIGCONT");
    callGetppid(100);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(host.stdout);
    expect(output.faults).toEqual([]);
    expect(output.verdict).toMatchObject({ state: "balances" });
    expect(output.sum("guest 1", "produced")).toBe(2 * (CALLS + 200));
    const delivered = output.sum("guest 1", "delivered");
    const lost = output.sum("guest 1", "lost_kernel") + output.sum("guest 1", "dropped");
    expect(delivered).toBeGreaterThan(200);
    expect(lost).toBeGreaterThan(0);
    expect(delivered + lost).toBe(2 * (CALLS + 200));
    const [line] = output.latencies;
    expect(line!.calls).toBeLessThanOrEqual(delivered / 2);
    expect(line!.lost_events).toBeGreaterThan(0);
    expect(line!.violations).toBe(0);
    if (transport === "tcp") {
      expect(output.ledger.flatMap(({ drops }) => drops.map(({ place }) => place))).toContain(
        "slow client",
      );
    }
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });
}

describe.skipIf(NO_TRACING !== "")("local rings", () => {
  test("that overflow are the kernel's loss, to the event", async () => {
    const exit = OWN_GETPPID().replace("sys_enter", "sys_exit");
    const args = ["multi-trace", "-e", OWN_GETPPID(), "-e", exit, "-k", "id", "-m", "8", "--json"];
    const host = startAgent(workspace, "agent-host", args);
    await host.said(/^Tracing$/m);
    host.kill("SIGSTOP");
    callGetppid(CALLS);
    host.kill("SIGCONT");
    callGetppid(100);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(host.stdout);
    expect(output.verdict).toMatchObject({ state: "balances" });
    const counts = ["produced", "delivered", "lost_kernel", "dropped"] as const;
    const [produced, delivered, lost, dropped] = counts.map((name) => output.sum("host", name));
    expect(produced).toBe(2 * (CALLS + 100));
    expect(lost).toBeGreaterThan(0);
    expect({ sum: delivered! + lost!, dropped }).toEqual({ sum: produced!, dropped: 0 });
    expect(output.latencies[0]).toMatchObject({ violations: 0 });
    expect(output.latencies[0]!.lost_events).toBeGreaterThan(0);
  });
});
