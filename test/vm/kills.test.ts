/**
 * Both agents killed by SIGKILL, with a real virtio port of a real guest between them: a program in
 * the guest makes system calls with running numbers, kill(1000000, 0), kill(1000001, 0) and so on.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { EXIT } from "../../shared/cli/failure.ts";
import { ascending, range } from "../agent-guest/support/numbers.ts";
import { KillRun, type Plan } from "../agent-host/support/kill_run.ts";
import { JsonOutput } from "../agent-host/support/live.ts";
import { perNight } from "../nightly.ts";
import { agentBinary, waitForGuestPerfEvents } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { Workspace } from "./workspace.ts";

const KILLS = perNight(6, 40);
/** No kills while it ends here: what the program does meanwhile is nobody's. */
const PLANS: readonly Plan[] = ["early", "tracing", "early", "writing", "tracing"];
/** While it ends, when the program stands still. */
const KILLS_LEAVING = perNight(2, 10);
const DEATHS = perNight(1, 8);
/** Lines that are waited for of each agent. */
const LINES = 200;
const FIRST_NUMBER = 1_000_000;
const DEADLINE_MS = 30_000;
/** Half a minute of the program. */
const RING_PAGES = 1024;

/** Numbers its calls until it is told to stop, and says then where it has got. */
const PROGRAM = `rm -f /run/stop /run/last
i=$1
while [ ! -e /run/stop ]; do
  for n in 1 2 3 4 5 6 7 8 9 10; do kill -0 $i; i=$((i + 1)); done
  usleep 5000
done 2>/dev/null
echo $i >/run/last
`;

setDefaultTimeout(300_000);

/** The number of each call that was printed, in the order of the lines. */
function numbersOf(output: JsonOutput): number[] {
  const events = output.objects.filter(({ type }) => type === "event");
  return events.map(({ fields }) => (fields as { pid: number }).pid);
}

describe("a real virtio port", () => {
  const workspace = new Workspace();
  let guest: QemuGuest;

  /** The agent in the guest, once it may be attached to. */
  async function startAgentGuest(): Promise<number> {
    const event = `syscalls:sys_enter_kill/pid>=${FIRST_NUMBER}/push="/dev/virtio-ports/${PERF_PORT_NAME}"/`;
    const pid = await guest.startInGuest(`agent-guest trace -m ${RING_PAGES} -e '${event}'`);
    await waitForGuestPerfEvents(guest, pid);
    return pid;
  }

  /** Ends it, and waits until it has let go of the port, which has one opener. */
  async function endAgentGuest(pid: number, signal: "INT" | "KILL"): Promise<void> {
    await guest.shell.output(
      `kill -${signal} ${pid}; ` +
        `while ls -l /proc/${pid}/fd 2>/dev/null | grep -q vport; do usleep 20000; done`,
    );
  }

  async function startProgram(from: number): Promise<void> {
    await guest.startInGuest(`sh /run/numbers ${from}`);
  }

  /** Gives the number after the last one. */
  async function stopProgram(): Promise<number> {
    await guest.shell.output("touch /run/stop");
    const last = async (): Promise<number> =>
      Number((await guest.shell.run("cat /run/last")).output.trim());
    return await waitUntil(async () => (await last()) || undefined, DEADLINE_MS, "its last number");
  }

  const runOf = (name: string): KillRun => {
    const args = ["trace", "-e", `syscalls:sys_enter_kill//pull=${guest.channel}/`];
    return new KillRun(workspace, args, name, () => 0);
  };

  beforeAll(async () => {
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    guest = await QemuGuest.boot({ prerequisites, initramfsPath });
    await guest.shell.output(`cat >/run/numbers <<'END'\n${PROGRAM}END`);
  });

  afterAll(async () => {
    await workspace.dispose();
    await guest?.shutdown();
  });

  test("agent-host killed at any moment: with --resume each event comes once", async () => {
    const agent = await startAgentGuest();
    const run = runOf("host");
    const first = run.start();
    await run.untilTracing(first);
    await startProgram(FIRST_NUMBER);
    expect(await first.stop("SIGKILL")).toMatchObject({ signal: "SIGKILL" });
    for (let kill = 0; kill < KILLS; kill++) await run.kill(PLANS[kill % PLANS.length]);
    const end = await stopProgram();
    while ((run.phases.get("leaving") ?? 0) < KILLS_LEAVING) await run.kill("leaving");
    const host = run.start();
    await run.untilTracing(host);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(run.output());
    const numbers = numbersOf(output);
    const made = end - FIRST_NUMBER;
    console.log(`${run.kills + 1} kills: ${made} calls, ${numbers.length} lines; ${run.phaseText}`);
    expect(ascending(numbers)).toEqual(range(made, FIRST_NUMBER));
    const sums = (["produced", "delivered", "lost_kernel", "dropped"] as const).map((of) =>
      output.sum("guest 1", of),
    );
    expect(sums).toEqual([made, made, 0, 0]);
    for (const { state } of output.verdicts) expect(state).toBe("balances");
    expect(await guest.isRunningInGuest(agent)).toBe(true);
    await endAgentGuest(agent, "INT");
  });

  test("agent-guest killed: each of its streams is in the ledger, and nothing comes twice", async () => {
    let agent = await startAgentGuest();
    const run = runOf("guest");
    let host = run.start();
    await run.untilTracing(host);
    await startProgram(FIRST_NUMBER);
    for (let death = 0; death < DEATHS; death++) {
      const before = linesOf(run);
      await host.until(() => linesOf(run) > before + LINES, "events of this agent");
      await endAgentGuest(agent, "KILL");
      // Every other time the host dies with it.
      if (death % 2 === 1) {
        await host.stop("SIGKILL");
        host = run.start();
      }
      agent = await startAgentGuest();
    }
    const before = linesOf(run);
    await host.until(() => linesOf(run) > before + LINES, "events of the last agent");
    const end = await stopProgram();
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(run.output());
    const numbers = ascending(numbersOf(output));
    expect(new Set(numbers).size).toBe(numbers.length);
    expect(numbers.at(-1)).toBe(end - 1);
    const names = output.streamEnds.map(({ stream }) => stream);
    expect(names).toEqual(Array.from({ length: DEATHS }, (_, i) => String(i + 1)));
    // What each agent took with it is one piece, and the rows count what lies in between.
    const parts = partsOf(numbers);
    expect(parts.length).toBe(DEATHS + 1);
    const rows = (stream: string) => output.ledger.filter((row) => row.stream === stream);
    const delivered = parts.map((_, i) =>
      rows(String(i + 1)).reduce((sum, row) => sum + row.delivered, 0),
    );
    expect(delivered).toEqual(parts);
    console.log(
      `${DEATHS} agents killed: ${end - FIRST_NUMBER} calls, ${numbers.length} lines, in streams ` +
        `of ${parts.join(", ")}`,
    );
    await endAgentGuest(agent, "INT");
  });
});

function linesOf(run: KillRun): number {
  return run.output().split("\n").length;
}

/** The lengths of the pieces without a gap. */
function partsOf(numbers: readonly number[]): number[] {
  const parts: number[] = [];
  numbers.forEach((number, i) => {
    if (i === 0 || number !== numbers[i - 1]! + 1) parts.push(0);
    parts[parts.length - 1]!++;
  });
  return parts;
}
