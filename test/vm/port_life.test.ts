/**
 * The life of a virtio-serial port in a real guest: nobody opens it, hosts come and go, it is
 * unplugged and plugged in again, alone and with its controller, the guest is stopped and goes on,
 * the host reads a byte a second. Through all of it agent-guest neither spins nor ends nor holds up
 * its guest, and a host gets every event once. First with fixed events, then with an agent that
 * serves.
 *
 * The guest's events carry a running number: a shell that renames itself 0, 1, 2, ...
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { connect, type Socket } from "node:net";
import { EXIT } from "../../shared/cli/failure.ts";
import { FrameType } from "../../shared/wire/frame.ts";
import { FrameWriter } from "../../shared/wire/frame_writer.ts";
import { ascending, range } from "../agent-guest/support/numbers.ts";
import { type AgentProcess, startAgent } from "../agent-host/support/agent_process.ts";
import { JsonOutput } from "../agent-host/support/live.ts";
import { agentBinary } from "./agents.ts";
import { waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { Workspace } from "./workspace.ts";

const DEADLINE_MS = 30_000;
const PORT = `/dev/virtio-ports/${PERF_PORT_NAME}`;
/** Of USER_HZ, within IDLE_SECONDS: a loop that spins takes 100 in the second. */
const IDLE_TICKS_MAX = 30;
const IDLE_SECONDS = 1;
const IDLE_DEADLINE_MS = 15_000;
/** Renaming by a guest that is held up does not get done at all. */
const PACE_MAX = 100;
const OPENINGS = 200;
const CONTROLLER_ID = "virtio-serial0";

setDefaultTimeout(180_000);

describe("a virtio-serial port", () => {
  const workspace = new Workspace();
  let guest: QemuGuest;
  let agentPid: number;
  let next = 0;
  /** Milliseconds that a renaming takes while no agent runs. */
  let freeMs: number;
  /** By what went on meanwhile: as many times the free one as a renaming took, at most. */
  const paces = new Map<string, number>();

  beforeAll(async () => {
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config: { transport: "tcp" } });
    freeMs = await renameMs(2000);
    await startInGuest(`trace -e 'task:task_rename//push="${PORT}"/'`, /^Pushing task:task_rename/);
  });

  afterAll(async () => {
    const shown = [...paces].map(([when, pace]) => `${when} x ${pace.toFixed(1)}`);
    console.log(`a renaming beside one that no agent sees, at most: ${shown.join(", ")}`);
    await workspace.dispose();
    await guest?.shutdown();
  });

  async function startInGuest(args: string, said: RegExp): Promise<void> {
    agentPid = await guest.startInGuest(`agent-guest ${args}`);
    await guest.console.waitForLine(said, DEADLINE_MS);
  }

  async function renameMs(count: number): Promise<number> {
    const script = [
      `i=${next}`,
      `while [ $i -lt ${next + count} ]; do echo -n $i >/proc/$$/comm; i=$((i+1)); done`,
    ];
    next += count;
    const startMs = performance.now();
    await guest.shell.output(script.join("; "), DEADLINE_MS);
    return (performance.now() - startMs) / count;
  }

  /** `count` events with the next numbers; gives the numbers. Fails when the guest is held up. */
  async function rename(count: number, when?: string): Promise<number[]> {
    const from = next;
    const pace = (await renameMs(count)) / freeMs;
    if (when !== undefined) paces.set(when, Math.max(pace, paces.get(when) ?? 0));
    expect(pace).toBeLessThan(PACE_MAX);
    return range(count, from);
  }

  /** CPU time of agent-guest while nothing happens. */
  async function idleTicks(): Promise<number> {
    const ticksOf = `awk '{print $14+$15}' /proc/${agentPid}/stat`;
    const output = await guest.shell.output(`${ticksOf}; sleep ${IDLE_SECONDS}; ${ticksOf}`);
    const [before, after] = output.trim().split("\n").map(Number);
    return after! - before!;
  }

  /**
   * It takes next to nothing, as soon as it is done with what it was asked for. On a busy machine
   * the guest's CPUs stand still now and then, and their clocks do not: one that spins takes all of
   * the time, whenever it is looked at.
   */
  async function expectIdle(when: string): Promise<void> {
    const tries: number[] = [];
    const isIdle = async (): Promise<boolean> => {
      tries.push(await idleTicks());
      return tries.at(-1)! < IDLE_TICKS_MAX;
    };
    await waitUntil(isIdle, IDLE_DEADLINE_MS, `agent-guest to be idle, ${when}`);
    console.log(`${when}: ${tries.join(", then ")} ticks in ${IDLE_SECONDS} s`);
  }

  async function startHost(): Promise<AgentProcess> {
    const event = `task:task_rename//pull=${guest.channel}/`;
    const host = startAgent(workspace, "agent-host", ["trace", "-e", event, "--json"]);
    await host.said(/^Tracing$/m);
    return host;
  }

  function numbersOf(host: AgentProcess): number[] {
    const { objects } = new JsonOutput(host.stdout);
    const comms = objects
      .filter(({ type }) => type === "event")
      .map(({ fields }) => (fields as { newcomm: string }).newcomm);
    return comms.filter((comm) => /^\d+$/.test(comm)).map(Number);
  }

  /**
   * Waits until the host has printed these numbers, each once, and no others. What comes after a
   * long silence is printed as it comes: nobody has waited for it.
   */
  async function expectNumbers(host: AgentProcess, numbers: readonly number[]): Promise<void> {
    const isAll = (): boolean => numbersOf(host).length >= numbers.length;
    await host.until(isAll, `${numbers.length} numbers`, DEADLINE_MS);
    expect(ascending(numbersOf(host))).toEqual([...numbers]);
  }

  /** Ends the host: it has nothing to complain of, and every event is accounted for. */
  async function expectSound(host: AgentProcess): Promise<void> {
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    const output = new JsonOutput(host.stdout);
    expect(output.verdict).toMatchObject({ state: "balances" });
    expect(output.sum("guest 1", "lost_kernel") + output.sum("guest 1", "dropped")).toBe(0);
    const faults = output.faults.flatMap((object) => Object.keys(object));
    expect(faults.filter((name) => !["type", "machine", "late_events"].includes(name))).toEqual([]);
    await expectAlive();
  }

  async function expectAlive(): Promise<void> {
    if (await guest.isRunningInGuest(agentPid)) return;
    throw guest.explain(new Error("agent-guest has ended"));
  }

  /** A host that is none: it connects to the port, and says at most that it wants a stream. */
  async function openPort(attaches: boolean): Promise<Socket> {
    const [host = "", port] = guest.channel.split(":");
    const socket = connect({ host, port: Number(port) });
    await new Promise((resolve, reject) => {
      socket.once("connect", resolve).once("error", reject);
    });
    socket.pause();
    const attach = { attachNonce: 1n, streamNonce: 0n, resume: [], agentVersion: "test" };
    const frame = new FrameWriter().encode(FrameType.ATTACH, attach, 0).slice();
    if (attaches) socket.write(frame);
    return socket;
  }

  async function isClosed(): Promise<boolean> {
    const chardevs = (await guest.qmp.execute("query-chardev")) as Record<string, string>[];
    const { filename = "" } = chardevs.find(({ label }) => label === "perf0") ?? {};
    return filename.startsWith("disconnected:");
  }

  async function openAndClose(count: number): Promise<void> {
    for (let i = 0; i < count; i++) {
      (await openPort(i % 3 !== 0)).destroy();
      // What waits for QEMU to accept it would be the next one's delay.
      await waitUntil(isClosed, DEADLINE_MS, "QEMU to see the end of a connection");
    }
  }

  /** Unplugs a device; the guest and QEMU have let go of it, and of what is plugged into it. */
  async function unplug(id: string): Promise<void> {
    const names = "/sys/class/virtio-ports/*/name";
    await guest.qmp.execute("device_del", { id });
    const isGone = async (): Promise<boolean> => {
      const path = "/machine/peripheral";
      const devices = (await guest.qmp.execute("qom-list", { path })) as { name: string }[];
      if (devices.some(({ name }) => name === id || name === "channel0")) return false;
      return (await guest.shell.run(`grep -qx ${PERF_PORT_NAME} ${names}`)).exitCode !== 0;
    };
    await waitUntil(isGone, DEADLINE_MS, "the port to vanish");
  }

  /** As another device than before, by its number. */
  async function plug(nr: number): Promise<void> {
    await guest.qmp.execute("device_add", {
      driver: "virtserialport",
      bus: `${CONTROLLER_ID}.0`,
      nr,
      chardev: "perf0",
      id: "channel0",
      name: PERF_PORT_NAME,
    });
  }

  test("that nobody opens costs nothing, and holds nothing up", async () => {
    await rename(500, "without a host");
    await expectIdle("without a host");
    const socket = await openPort(false);
    await rename(500, "opened by a host that says nothing");
    await expectIdle("opened by a host that says nothing");
    socket.destroy();
  });

  test("gives each host what happens while it is there", async () => {
    for (let turn = 0; turn < 2; turn++) {
      const host = await startHost();
      await expectNumbers(host, await rename(500, "with a host"));
      await expectSound(host);
      await rename(100);
    }
  });

  test(`that is opened and closed ${OPENINGS} times in a row serves the next host`, async () => {
    const startMs = performance.now();
    let isOver = false;
    const openings = openAndClose(OPENINGS).finally(() => {
      isOver = true;
    });
    while (!isOver) await rename(200, "opened and closed");
    await openings;
    const seconds = (performance.now() - startMs) / 1000;
    console.log(`${OPENINGS} openings in ${seconds.toFixed(1)} s`);
    await expectIdle("after the openings");
    const host = await startHost();
    await expectNumbers(host, await rename(300));
    await expectSound(host);
  });

  test("that is unplugged and plugged in again loses nothing that the rings hold", async () => {
    const host = await startHost();
    const numbers = await rename(300);
    await expectNumbers(host, numbers);
    // In the middle of its work, and it comes back as another device.
    const work = rename(1000);
    await unplug("channel0");
    numbers.push(...(await work), ...(await rename(300, "unplugged")));
    await expectIdle("unplugged");
    await plug(7);
    numbers.push(...(await rename(100)));
    await expectNumbers(host, numbers);
    expect((await guest.shell.run("test -e /dev/vport0p7")).exitCode).toBe(0);
    await expectSound(host);
  });

  test("that is unplugged with its controller comes back with another one", async () => {
    const host = await startHost();
    const numbers = await rename(300);
    await expectNumbers(host, numbers);
    await unplug(CONTROLLER_ID);
    numbers.push(...(await rename(300)));
    await expectIdle("without a controller");
    await guest.qmp.execute("device_add", {
      driver: "virtio-serial-pci",
      id: CONTROLLER_ID,
      max_ports: 32,
    });
    await plug(1);
    numbers.push(...(await rename(100)));
    await expectNumbers(host, numbers);
    await expectSound(host);
  });

  test("of a guest that is stopped and goes on", async () => {
    const host = await startHost();
    const numbers = await rename(300);
    await expectNumbers(host, numbers);
    await guest.qmp.execute("stop");
    await host.said(/ is silent: going on without it until it returns$/m);
    await guest.qmp.execute("cont");
    numbers.push(...(await rename(300)));
    await expectNumbers(host, numbers);
    await expectSound(host);
  });

  test("whose host reads a byte per second does not hold the guest up", async () => {
    const socket = await openPort(true);
    const timer = setInterval(() => socket.read(1), 1000);
    try {
      // More than the port, the socket and the rings take.
      await rename(9000, "a byte per second");
      await expectIdle("a byte per second");
    } finally {
      clearInterval(timer);
      socket.destroy();
    }
    const host = await startHost();
    await expectNumbers(host, await rename(300));
    await expectSound(host);
  });

  test("of an agent that serves is unplugged, and its guest stopped meanwhile", async () => {
    await guest.shell.output(`kill ${agentPid}`);
    await startInGuest("serve --grace 60s", /^Waiting for a host at /);
    const host = await startHost();
    const numbers = await rename(300);
    await expectNumbers(host, numbers);
    await unplug("channel0");
    numbers.push(...(await rename(300)));
    await expectIdle("serving, unplugged");
    await guest.qmp.execute("stop");
    await host.said(/ is silent: going on without it until it returns$/m);
    await guest.qmp.execute("cont");
    await plug(2);
    numbers.push(...(await rename(100)));
    await expectNumbers(host, numbers);
    await expectSound(host);
  });
});
