/**
 * A real guest without the agents: what agents will find in it, and what the tests can do to it.
 * Boots one: stock TSC, no links in /dev/virtio-ports, the channel on a unix socket.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { existsSync } from "node:fs";
import type { Socket } from "node:net";
import { gunzipSync } from "node:zlib";
import {
  compareMadeUp,
  countRendered,
  type FormatText,
} from "../shared/tracefs/support/made_up.ts";
import { oracleProblem } from "../shared/tracefs/support/oracle.ts";
import { DeadlineError, waitUntil } from "./deadline.ts";
import { buildInitramfs } from "./initramfs.ts";
import { Poker } from "./poke.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { GuestError, QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { connectUnix } from "./qmp.ts";

const STEP_DEADLINE_MS = 10_000;

setDefaultTimeout(120_000);

describe("QemuGuest", () => {
  let guest: QemuGuest;
  let poker: Poker;

  beforeAll(async () => {
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const initramfsPath = buildInitramfs(prerequisites, { programs: [] });
    guest = await QemuGuest.boot({
      prerequisites,
      initramfsPath,
      config: { transport: "unix", tsc: "stock", portLinks: false },
    });
    poker = new Poker(guest);
    await poker.start();
  });

  afterAll(async () => {
    await guest?.shutdown();
  });

  test("shell runs commands and reports their status", async () => {
    expect(await guest.shell.output("nproc")).toBe("2\n");
    expect(await guest.shell.run("echo out; echo err >&2; exit 3")).toEqual({
      exitCode: 3,
      output: "out\nerr\n",
    });
  });

  test("shell gives up on a command at the deadline and goes on", async () => {
    await expect(guest.shell.run("sleep 1", 50)).rejects.toBeInstanceOf(DeadlineError);
    expect(await guest.shell.output("echo on")).toBe("on\n");
  });

  test("ports have a name in sysfs and no link", async () => {
    expect(await guest.waitForPort(PERF_PORT_NAME)).toBe("/dev/vport0p1");
    expect((await guest.shell.run("ls /dev/virtio-ports")).exitCode).not.toBe(0);
  });

  test("channel carries bytes both ways through a unix socket", async () => {
    const device = await guest.waitForPort(PERF_PORT_NAME);
    const socket: Socket = await connectUnix(guest.channel.replace(/^unix:/, ""));
    await guest.waitForHostEnd(device);
    await guest.shell.output(`(cat <>${device} >&0) >/dev/null 2>&1 &`);
    let received = "";
    socket.on("data", (bytes) => {
      received += bytes.toString("latin1");
    });
    socket.write("over and back");
    await waitUntil(() => received === "over and back", STEP_DEADLINE_MS, "the echo");
    socket.destroy(); // the echo reads the end and exits
  });

  test("pokes raise one interrupt line, whose message QEMU tells", async () => {
    const { line, message } = await poker.learnInterrupt();
    expect(line.name).toBe("virtio1-input");
    expect(Number(message.address & 0xfff0_0000n)).toBe(0xfee0_0000);
    expect(message.data & 0xff).toBeGreaterThanOrEqual(0x20);
  });

  test("a port can be unplugged and plugged in again", async () => {
    const gone = guest.qmp.waitForEvent(
      ({ event, data }) => event === "DEVICE_DELETED" && data.device === "channel0",
      STEP_DEADLINE_MS,
    );
    await guest.qmp.execute("device_del", { id: "channel0" });
    await gone;
    const isThere = async (): Promise<boolean> =>
      (await guest.shell.run("test -e /dev/vport0p1")).exitCode === 0;
    await waitUntil(async () => !(await isThere()), STEP_DEADLINE_MS, "the port to vanish");
    await guest.qmp.execute("device_add", {
      driver: "virtserialport",
      bus: "virtio-serial0.0",
      nr: 1,
      chardev: "perf0",
      id: "channel0",
      name: PERF_PORT_NAME,
    });
    expect(await guest.waitForPort(PERF_PORT_NAME)).toBe("/dev/vport0p1");
  });

  test("every tracepoint of Debian's kernel is rendered, as libtraceevent does", async () => {
    const release = (await guest.shell.output("uname -r")).trim();
    const events = await readFormats(guest);
    expect(events.length).toBeGreaterThan(1000);
    // What calls functions of the kernel that no tool outside of it has is printed as fields.
    const { unrendered } = countRendered(release, events);
    expect(unrendered.filter((event) => !event.includes("(unknown function "))).toEqual([]);
    expect(unrendered.length).toBeLessThanOrEqual(events.length / 500);
    const problem = oracleProblem();
    if (problem !== "") {
      console.log(`not compared: ${problem}`);
      return;
    }
    const comparison = compareMadeUp(events);
    comparison.report(`libtraceevent on made-up records of ${release}`);
    expect(comparison.equal / comparison.compared).toBeGreaterThan(0.95);
    expect(comparison.unexplained.length).toBeLessThanOrEqual(comparison.compared / 200);
  });

  test("a stopped guest goes on where it stood", async () => {
    await guest.qmp.execute("stop");
    const answer = guest.shell.output("echo awake");
    const state = (await guest.qmp.execute("query-status")) as { status: string };
    expect(state.status).toBe("paused");
    await guest.qmp.execute("cont");
    expect(await answer).toBe("awake\n");
  });

  test("errors quote the guest's console", async () => {
    await guest.shell.output("echo 'a line on the console' >/dev/console");
    await guest.console.waitForLine(/a line on the console/, STEP_DEADLINE_MS);
    const error = guest.explain(new Error("Cannot do it"));
    expect(error).toBeInstanceOf(GuestError);
    expect(error.message).toStartWith("Cannot do it\n--- guest console, last lines ---\n");
    expect(error.message).toContain("a line on the console");
  });

  test("a guest that powers off fails what waits for it; shutdown() removes files", async () => {
    const outcomes = await Promise.allSettled([
      guest.console.waitForLine(/never printed/, STEP_DEADLINE_MS),
      guest.shell.output("poweroff -f"),
    ]);
    const reasons = outcomes.map((outcome) => String((outcome as PromiseRejectedResult).reason));
    expect(reasons[0]).toContain("QEMU ended: status 0");
    expect(reasons[1]).toContain("Lost the guest");
    const socketPath = guest.channel.replace(/^unix:/, "");
    await guest.shutdown();
    expect(existsSync(socketPath)).toBe(false);
    expect(existsSync(`/proc/${guest.pid}/exe`)).toBe(false);
  });
});

/** All format files of a guest by one process, "irq/irq_handler_entry/format:LINE" each. */
async function readFormats(guest: QemuGuest): Promise<FormatText[]> {
  const script = `mount -t tracefs tracefs /sys/kernel/tracing 2>/dev/null
cd /sys/kernel/tracing/events && grep -H "" */*/format | gzip -1 | base64 -w 0`;
  const encoded = await guest.shell.output(script, 60_000);
  const texts = new Map<string, string[]>();
  for (const line of gunzipSync(Buffer.from(encoded, "base64")).toString("latin1").split("\n")) {
    const end = line.indexOf("/format:");
    if (end < 0) continue;
    const event = line.slice(0, end);
    const lines = texts.get(event) ?? [];
    lines.push(line.slice(end + "/format:".length));
    texts.set(event, lines);
  }
  return [...texts].map(([event, lines]) => {
    const [system, name] = event.split("/") as [string, string];
    return { system, name, text: `${lines.join("\n")}\n` };
  });
}

test("QemuGuest.boot() names QEMU's own complaint when QEMU refuses to start", async () => {
  const prerequisites = {
    ...ensurePrerequisites(),
    kernel: { release: "", imagePath: "/dev/null", modulesPath: "" },
  };
  const boot = QemuGuest.boot({ prerequisites, initramfsPath: "/nonexistent" });
  await expect(boot).rejects.toThrow(/QEMU ended: status 1, .*(kernel|initrd|load)/);
});
