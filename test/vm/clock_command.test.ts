/**
 * `agent-host clock` on two real guests at once: one that keeps its TSC, on tcp, and one that gave
 * it up, on a unix socket. The compiled agents, an emulated TSC, round trips over virtio-serial.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { spawnSync } from "node:child_process";
import { perNight } from "../nightly.ts";
import { agentBinary, waitForGuestPerfEvents } from "./agents.ts";
import { proveInGuest, sandwichFile } from "./guest_sandwiches.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { type GuestConfig, PERF_PORT_NAME } from "./qemu_args.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";

/** Pings alone come to some hundred; an idle machine gets to 1. */
const EVENT_BOUND_NS_MAX = 50_000;
const CLOCK_DEADLINE_MS = 60_000;
/** Of a hundred sandwiches in each guest. */
const TURNS = perNight(20, 200);

setDefaultTimeout(180_000);

interface ClockObject {
  readonly type: "clock";
  readonly machine: string;
  readonly source?: string;
  readonly settled?: boolean;
  readonly vm_pid?: number;
  readonly vm_name?: string;
  readonly tsc_hz: number;
  readonly perf_clock: "exact" | "fitted";
  readonly cpus_checked: number;
  readonly cpus_apart: readonly unknown[];
  readonly method?: string;
  readonly emulator_readings?: number;
  readonly round_trips?: number;
  readonly ping_disagreements?: number;
  readonly not_used?: readonly { readonly method: string; readonly reason: string }[];
  readonly cpus?: readonly {
    readonly offset: string;
    readonly rate: number;
    readonly bound_ns: number;
    readonly event_bound_ns: number;
  }[];
}

function clock(args: readonly string[]) {
  const { status, stdout, stderr } = spawnSync(agentBinary("agent-host"), ["clock", ...args], {
    encoding: "utf8",
    timeout: CLOCK_DEADLINE_MS,
  });
  return { status, stdout, stderr };
}

function objectsOf(stdout: string): ClockObject[] {
  return stdout
    .trimEnd()
    .split("\n")
    .map((line) => JSON.parse(line) as ClockObject);
}

describe("agent-host clock on real guests", () => {
  const guests: QemuGuest[] = [];

  async function boot(config: Partial<GuestConfig>, initramfsPath: string): Promise<QemuGuest> {
    const prerequisites = ensurePrerequisites();
    const guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
    guests.push(guest);
    const event = `irq:irq_handler_entry//push="/dev/virtio-ports/${PERF_PORT_NAME}"/`;
    const pid = await guest.startInGuest(`agent-guest trace -e '${event}'`);
    await waitForGuestPerfEvents(guest, pid);
    return guest;
  }

  beforeAll(async () => {
    ensureTracingMounts();
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest")];
    const files = await sandwichFile();
    const initramfsPath = buildInitramfs(prerequisites, { programs, files });
    await boot({ transport: "tcp", tsc: "reliable" }, initramfsPath);
    await boot({ transport: "unix", tsc: "stock" }, initramfsPath);
  });

  afterAll(async () => {
    for (const guest of guests) await guest.shutdown();
  });

  test("both settle on QEMU's emulated TSC, borne out by round trips, with the VM behind each", () => {
    const sources = guests.map(({ channel }) => channel);
    const { status, stdout, stderr } = clock([...sources, "--json"]);
    if (status !== 0) throw new Error(`agent-host ended with ${status}: ${stderr}`);
    const [host, ...channels] = objectsOf(stdout);
    expect(host).toMatchObject({ type: "clock", machine: "host", perf_clock: "fitted" });
    expect(channels.length).toBe(2);
    channels.forEach((channel, i) => {
      const guest = guests[i]!;
      expect(channel).toMatchObject({
        machine: `guest ${i + 1}`,
        settled: true,
        vm_pid: guest.pid,
        vm_name: "vmspan-guest",
        method: "emulator",
        ping_disagreements: 0,
        cpus_apart: [],
        not_used: [{ method: "kvm", reason: "QEMU emulates this guest's CPUs, without KVM" }],
      });
      expect(channel.round_trips).toBeGreaterThan(5);
      expect(channel.emulator_readings).toBeGreaterThan(0);
      const [cpu] = channel.cpus!;
      expect(cpu!.rate).toBe(1);
      expect(cpu!.event_bound_ns).toBeLessThan(EVENT_BOUND_NS_MAX);
      // An exact clock's rate is what the guest's kernel believes: measured while this machine was
      // busy, it was a tenth of the truth once.
      if (channel.perf_clock === "exact") return;
      expect(Math.abs(channel.tsc_hz / host!.tsc_hz - 1)).toBeLessThan(1e-3);
    });
    // The other guest's perf clock is the TSC, by its kernel's word.
    expect(channels.map(({ perf_clock }) => perf_clock)).toEqual(["exact", "fitted"]);
    expect(
      stderr.match(/^WARNING: guest 2: its CPUs share readings of its clocksource hpet: /gm)
        ?.length,
    ).toBe(1);
  });

  test("doctor in the guest tells what a shared clocksource means", async () => {
    const { output } = await guests[1]!.shell.run("agent-guest doctor");
    expect(output).toMatch(/^warn +perf clock +fitted; CPUs share readings of hpet: /m);
  });

  test("a stock guest's clock is read on each of its CPUs, now and then", () => {
    const { channel } = guests[1]!;
    // A CPU that let the agent wait, as on a loaded machine, is not visited each time.
    for (let tries = 0; tries < 5; tries++) {
      const { status, stdout } = clock([channel, "--json", "--for", tries === 0 ? "3" : "11"]);
      expect(status).toBe(0);
      const [, object] = objectsOf(stdout);
      expect(object!.cpus_apart).toEqual([]);
      if (object!.cpus_checked === 1) return;
    }
    throw new Error("its second CPU was never read");
  });

  test("as text, with the VM named by process id and by an unknown name", () => {
    const [guest] = guests;
    const { status, stdout } = clock([guest!.channel, "--vm", `${guest!.pid}`]);
    expect(status).toBe(0);
    console.log(stdout);
    expect(stdout).toMatch(/ after \d+\.\d s, settled$/m);
    expect(stdout).toMatch(/^ +behind it: process \d+ \("vmspan-guest"\)$/m);
    expect(stdout).toMatch(/^ +method QEMU's emulated TSC, \d+ readings$/m);
    expect(stdout).toMatch(/^ +check ping agrees: \d+ round trips, \+-.* us, quickest .* [um]s$/m);
    const unknown = clock([guest!.channel, "--vm", "vmspan-guests"]);
    expect(unknown.status).toBe(1);
    expect(unknown.stderr).toContain('Cannot find virtual machine "vmspan-guests": there are ');
    const ambiguous = clock([guest!.channel, "--vm", "vmspan-guest"]);
    expect(ambiguous.status).toBe(1);
    for (const { pid } of guests) expect(ambiguous.stderr).toContain(`${pid} ("vmspan-guest")`);
  });

  test("an event of the guest lies between two readings of its TSC, by both kinds of clock", async () => {
    const sources: string[] = [];
    for (const guest of guests) sources.push(await proveInGuest(guest, "guest sandwich", TURNS));
    expect(sources).toEqual(["exact", "fitted"]);
    // The last of the tests: its other CPU's events are gone with it. One that stays has the
    // clocksource to itself, and no stamp is older than its event.
    const [, stock] = guests;
    await stock!.shell.output("echo 0 > /sys/devices/system/cpu/cpu1/online");
    await proveInGuest(stock!, "guest sandwich", TURNS);
  });
});
