/**
 * Both agents under 200,000 events a second, as they would run for weeks: a guest that pushes to a
 * unix socket, a host that pairs the events by keys that never come again and prints percentiles
 * every second. They do not grow, and account for every event. A minute; an hour at night, or as
 * long as VMSPAN_SOAK_SECONDS says:
 *
 *   VMSPAN_SOAK_SECONDS=240 make test T=test/agent-host/session/live_soak.test.ts
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { perNight } from "../../nightly.ts";
import { GETPGRP, GETPPID, NO_TRACING } from "../../shared/event/kernel.ts";
import { Workspace } from "../../vm/workspace.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { JsonOutput } from "../support/live.ts";
import { type LoadMade, SteadyLoad } from "../support/steady_load.ts";
import { UsageLog, usageTable } from "../support/usage_log.ts";

const SECONDS = Number(process.env.VMSPAN_SOAK_SECONDS ?? perNight(60, 3600));
const PAIRS_PER_SECOND = 100_100;
/** What a machine that is busy otherwise may make of 200,000. */
const EVENTS_PER_SECOND_MIN = 100_000;
/**
 * Until then code is compiled, and buffers, the heap and the names of tasks that have ended (4,096
 * at most) get their size: some two minutes where fifty processes begin and end each second.
 */
const WARM_UP_SECONDS = Math.min(300, SECONDS / 3);
/** Compared with each other: the first after the warm-up, and the last. */
const WINDOW_SECONDS = WARM_UP_SECONDS;
const GROWTH_MAX = 1.1;
const THREADS_GROWTH_MAX = 4;
/** Rings of 8 MiB: 0.4 s of the load, all on one CPU. */
const RING_PAGES = "2048";
const DEADLINE_MS = 60_000;
let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

function expectNoGrowth(name: string, log: UsageLog): void {
  const first = [WARM_UP_SECONDS, WARM_UP_SECONDS + WINDOW_SECONDS] as const;
  const last = [SECONDS - WINDOW_SECONDS, SECONDS] as const;
  expect(log.between(...last).length).toBeGreaterThan(WINDOW_SECONDS / 2);
  const [before, after] = [log.residentMedian(...first), log.residentMedian(...last)];
  const percent = ((100 * after) / before - 100).toFixed(1);
  console.log(
    `${name}: resident ${(before / 1024 ** 2).toFixed(1)} MiB from ${first[0]} s on, ` +
      `${(after / 1024 ** 2).toFixed(1)} MiB at the end: ${percent} %`,
  );
  expect(after).toBeLessThan(before * GROWTH_MAX);
  expect(log.fdsHeld(...last)).toBe(log.fdsHeld(...first));
  expect(log.threadsMax(...last)).toBeLessThanOrEqual(
    log.threadsMax(0, SECONDS - WINDOW_SECONDS) + THREADS_GROWTH_MAX,
  );
}

interface Agents {
  readonly guest: AgentProcess;
  readonly host: AgentProcess;
}

/** Keys are the numbers of calls; one start in ten thousand waits in vain. */
async function startAgents(tid: number): Promise<Agents> {
  const place = `unix:${workspace.file("soak.sock")}`;
  const pushed = (id: number, alias: string): string =>
    `raw_syscalls:sys_enter/common_pid==${tid}&&id==${id}/push=${place}/alias=${alias}/`;
  const pulled = (alias: string): string =>
    `raw_syscalls:sys_enter//pull=${place}/key=args[0]/alias=${alias}/`;
  const sent = ["-e", pushed(GETPPID, "start"), "-e", pushed(GETPGRP, "end"), "-m", RING_PAGES];
  const guest = startAgent(workspace, "agent-guest", ["trace", ...sent], { isBuilt: true });
  await guest.said(/^Pushing /m);
  const paired = ["-e", pulled("start"), "-e", pulled("end"), "-i", "1000", "--json"];
  const host = startAgent(workspace, "agent-host", ["multi-trace", ...paired], { isBuilt: true });
  await host.said(/^Tracing$/m, DEADLINE_MS);
  return { guest, host };
}

/** Every event of the load was produced, and is delivered or counted as lost; every pair is one. */
function expectAllAccounted({ host }: Agents, { starts, ends, ms }: LoadMade): void {
  const output = new JsonOutput(host.stdout);
  const [produced, delivered, lost, dropped] = [
    output.sum("guest 1", "produced"),
    output.sum("guest 1", "delivered"),
    output.sum("guest 1", "lost_kernel"),
    output.sum("guest 1", "dropped"),
  ];
  const pairs = output.latencies.reduce((sum, { calls, left_out }) => sum + calls + left_out, 0);
  const perSecond = Math.round((1000 * (starts + ends)) / ms);
  console.log(
    `${perSecond} events a second: ${produced} produced = ${delivered} delivered + ${lost} lost ` +
      `by the kernel + ${dropped} dropped; ${pairs} pairs`,
  );
  expect(perSecond).toBeGreaterThan(EVENTS_PER_SECOND_MIN);
  expect(produced).toBe(starts + ends);
  expect(delivered + lost + dropped).toBe(produced);
  expect(output.verdict).toMatchObject({ state: "balances" });
  // On a machine that is busy otherwise an agent may be so late that the others went on without it.
  const late = output.faults.reduce((sum, { late_events: events }) => sum + Number(events ?? 0), 0);
  expect(output.faults.filter(({ machine }) => machine !== undefined)).toEqual([]);
  expect(pairs).toBeLessThanOrEqual(ends);
  expect(pairs).toBeGreaterThanOrEqual(ends - lost - dropped - late);
}

describe.skipIf(NO_TRACING !== "")("both agents under a steady load", () => {
  test(
    `do not grow in ${SECONDS} s, and account for each event`,
    async () => {
      const load = await SteadyLoad.start(workspace, PAIRS_PER_SECOND);
      const agents = await startAgents(load.tid);
      const { guest, host } = agents;
      const logs = { "agent-guest": new UsageLog(guest), "agent-host": new UsageLog(host) };
      load.begin();
      const { looks } = logs["agent-host"];
      const isOver = (): boolean => (looks.at(-1)?.second ?? 0) >= SECONDS;
      await host.until(isOver, `${SECONDS} seconds`, SECONDS * 1000 + DEADLINE_MS);
      const made = await load.end();
      for (const log of Object.values(logs)) log.stop();
      expect(await host.stop("SIGINT", DEADLINE_MS)).toMatchObject({ code: EXIT.DONE });
      expect(await guest.stop("SIGINT", DEADLINE_MS)).toMatchObject({ code: EXIT.DONE });
      console.log(usageTable(logs, SECONDS));
      expectAllAccounted(agents, made);
      for (const [name, log] of Object.entries(logs)) expectNoGrowth(name, log);
    },
    (SECONDS + 180) * 1000,
  );
});
