/**
 * Call chains with both agents on this machine: a program with known functions runs, and what the
 * host prints of the guest's events names them, with what the guest has sent.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { statSync } from "node:fs";
import { GCC, LIBC_DEV, packagesProblem } from "../../apt.ts";
import { NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { ABC_CALLS, ABC_FRAMES, ABC_NUMBER, buildAbcProgram } from "../support/abc_program.ts";
import { type AgentProcess, startAgent } from "../support/agent_process.ts";
import { startHost } from "../support/live.ts";

const problem = NO_TRACING === "" ? packagesProblem([GCC, LIBC_DEV]) : NO_TRACING;
if (problem !== "") console.log(`skipped: ${problem}`);

/** Other programs make these calls too. */
const EVENT = `raw_syscalls:sys_enter/id==${ABC_NUMBER}/`;
/** The functions of any kernel take more. */
const TABLE_BYTES_MIN = 256 * 1024;
const KERNEL = "[kernel.kallsyms]";

setDefaultTimeout(60_000);

interface Frame {
  readonly ip: string;
  readonly symbol: string | null;
  readonly offset?: number;
  readonly module: string;
}

interface ChainedEvent {
  readonly type: string;
  readonly machine: string;
  readonly tid: number;
  readonly stack?: readonly Frame[];
}

describe.skipIf(problem !== "")("call chains of live agents", () => {
  const workspace = new Workspace();
  let program = "";
  const pids = new Set<number>();

  beforeAll(() => {
    program = workspace.file("abc");
    buildAbcProgram(program);
  });

  afterAll(() => workspace.dispose());

  /**
   * Calls of the program. Not by its name: a snapshot that a guest took just before the program was
   * executed, and sent after it, names the process as what it was.
   */
  function eventsOf(stdout: string): ChainedEvent[] {
    return stdout
      .split("\n")
      .slice(0, -1)
      .filter((line) => line.startsWith('{"type":"event"'))
      .map((line) => JSON.parse(line) as ChainedEvent)
      .filter(({ tid }) => pids.has(tid));
  }

  /** Runs the program to its end. */
  function run(): number {
    const { status, pid } = spawnSync(program);
    expect(status).toBe(0);
    pids.add(pid);
    return pid;
  }

  /** Runs the program until the agent has printed all its calls of one run. */
  async function runUntilPrinted(host: AgentProcess): Promise<ChainedEvent[]> {
    run();
    await host.until(() => eventsOf(host.stdout).length >= ABC_CALLS, "the program's calls");
    return eventsOf(host.stdout).slice(0, ABC_CALLS);
  }

  function checkKernel(stack: readonly Frame[]): void {
    const kernel = stack.filter(({ ip }) => ip.startsWith("ffff"));
    expect(kernel.map(({ symbol }) => symbol)).toContain("do_syscall_64");
    expect(kernel.every(({ symbol, module }) => symbol !== null && module === KERNEL)).toBe(true);
  }

  function userFrames(stack: readonly Frame[]): readonly Frame[] {
    return stack.filter(({ module }) => module === program);
  }

  async function startGuest(push: string, attributes = "stack/"): Promise<AgentProcess> {
    const event = `${EVENT}${attributes}push="${push}"/`;
    const guest = startAgent(workspace, "agent-guest", ["trace", "-e", event]);
    await guest.said(/^Pushing /m);
    return guest;
  }

  const pulled = (pull: string): string => `raw_syscalls:sys_enter//pull="${pull}"/`;

  test("the host's own events name kernel and program", async () => {
    const host = await startHost(workspace, ["trace", "-e", `${EVENT}stack/`, "--json"]);
    for (const { machine, stack } of await runUntilPrinted(host)) {
      expect(machine).toBe("host");
      checkKernel(stack!);
      expect(userFrames(stack!).map(({ symbol }) => symbol)).toEqual(ABC_FRAMES);
    }
    expect((await host.stop()).code).toBe(0);
  });

  test("a guest's events over a unix socket: the guest is asked for names", async () => {
    const place = `unix:${workspace.file("chains.sock")}`;
    const guest = await startGuest(place);
    const host = await startHost(workspace, ["trace", "-e", pulled(place), "--json"]);
    for (const { machine, stack } of await runUntilPrinted(host)) {
      expect(machine).toBe("guest 1");
      checkKernel(stack!);
      expect(userFrames(stack!).map(({ symbol }) => symbol)).toEqual(ABC_FRAMES);
    }
    expect((await host.stop()).code).toBe(0);
    // Another host gets them too, as text, and with a smaller stack nothing but the stack changes.
    const second = await startHost(workspace, ["trace", "-e", pulled(place)]);
    run();
    const lines = ABC_FRAMES.map(
      (name) => ` {8}[0-9a-f]{12} ${name}\\+0x[0-9a-f]+ \\(${program}\\)`,
    );
    await second.showed(new RegExp(`^${lines.join("\\n")}\\n`, "m"));
    await second.showed(
      /^ {4}ffffffff[0-9a-f]{8} do_syscall_64\+0x[0-9a-f]+ \(\[kernel\.kallsyms\]\)$/m,
    );
    expect((await second.stop()).code).toBe(0);
    expect((await guest.stop()).code).toBe(0);
  });

  test("a recording has the kernel's names, and of programs the file and the address", async () => {
    const path = workspace.file("chains.vms");
    const guest = await startGuest(path);
    // Its clock and the kernel's functions are in it.
    await waitUntil(() => statSync(path).size > TABLE_BYTES_MIN, 20_000, "the kernel's functions");
    run();
    expect((await guest.stop()).code).toBe(0);
    const host = startAgent(workspace, "agent-host", ["trace", "-e", pulled(path), "--json"]);
    expect((await host.end()).code).toBe(0);
    const events = eventsOf(host.stdout);
    expect(events.length).toBe(ABC_CALLS);
    for (const { stack } of events) {
      checkKernel(stack!);
      const user = userFrames(stack!);
      expect(user.map(({ symbol }) => symbol)).toEqual(ABC_FRAMES.map(() => null));
    }
  });

  test("stack=kernel and max-stack bound what a guest sends", async () => {
    const place = `unix:${workspace.file("bounded.sock")}`;
    const guest = await startGuest(place, "stack=kernel/max-stack=2/");
    const host = await startHost(workspace, ["trace", "-e", pulled(place), "--json"]);
    for (const { stack } of await runUntilPrinted(host)) {
      expect(stack!.length).toBe(2);
      expect(stack!.every(({ symbol, module }) => symbol !== null && module === KERNEL)).toBe(true);
    }
    expect((await host.stop()).code).toBe(0);
    expect((await guest.stop()).code).toBe(0);
  });

  test("stack of a pulled event that was pushed without is refused, with what to do", async () => {
    const place = `unix:${workspace.file("plain.sock")}`;
    const guest = await startGuest(place, "");
    const host = startAgent(workspace, "agent-host", ["trace", "-e", `${pulled(place)}stack/`]);
    expect((await host.end()).code).toBe(4);
    expect(host.stderr).toContain('Cannot show call chains of "raw_syscalls:sys_enter" from');
    expect(host.stderr).toContain("HINT: say stack where the event is pushed");
    expect((await guest.stop()).code).toBe(0);
  });

  test("multi-trace shows the chains of slow pairs, and -g samples them for all", async () => {
    const events = ["-e", EVENT, "-e", EVENT.replace("sys_enter", "sys_exit")];
    const args = [
      "multi-trace",
      ...events,
      "-k",
      "common_pid",
      "--than",
      "1ns",
      "--detail=sametid",
      "-g",
    ];
    const host = await startHost(workspace, args);
    const pid = run();
    const call = `NR ${ABC_NUMBER}`;
    const line = (event: string): string => ` ${pid} .*raw_syscalls:${event}: ${call}.*\\n`;
    const frames = "(?: {4} *[0-9a-f]+ .*\\n)+";
    const [enter, exit] = [line("sys_enter"), line("sys_exit")];
    await host.showed(new RegExp(`${enter}${frames}\\|\\+ .*\\n.*${exit}${frames}`));
    // A threshold was crossed.
    expect((await host.stop()).code).toBe(3);
  });

  test("events without a chain print none beside those that have one", async () => {
    const events = ["-e", `${EVENT}stack/`, "-e", EVENT.replace("sys_enter", "sys_exit")];
    const host = await startHost(workspace, ["trace", ...events, "--json"]);
    run();
    await host.until(() => eventsOf(host.stdout).length >= 2 * ABC_CALLS, "both events");
    const stacks = eventsOf(host.stdout).map(({ stack }) => stack !== undefined);
    expect(stacks.slice(0, 2 * ABC_CALLS)).toEqual([true, false, true, false, true, false]);
    expect((await host.stop()).code).toBe(0);
  });
});
