/**
 * Probes on the kernel of a real guest: Debian's has kprobes, whatever the host's kernel has. Files
 * that the guest opens by a name of ours are counted, timed from entry to return, and filtered by a
 * C expression that its kernel does not take; what a killed agent leaves behind is swept.
 */
import { afterAll, beforeAll, describe, expect, setDefaultTimeout, test } from "bun:test";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { JsonOutput } from "../agent-host/support/live.ts";
import { consoleExamples, linePattern } from "../readme/examples.ts";
import { agentBinary, HostAgent, waitForGuestPerfEvents } from "./agents.ts";
import { buildInitramfs } from "./initramfs.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";
import { Workspace } from "./workspace.ts";

const OPENS = 20;
const PORT = `/dev/virtio-ports/${PERF_PORT_NAME}`;
const KPROBES = "/sys/kernel/tracing/kprobe_events";
/** The second argument of do_sys_openat2(dfd, filename, how) is the name, in user space. */
const ENTRY = "kprobe:do_sys_openat2 name=+0(%si):ustring dfd=%di:s32";
const RETURN = "kretprobe:do_sys_openat2 ret=$retval:s64";

setDefaultTimeout(180_000);

describe("kprobes in a real guest", () => {
  const workspace = new Workspace();
  let guest: QemuGuest;

  beforeAll(async () => {
    ensureTracingMounts();
    const prerequisites = ensurePrerequisites({ progress: console.log });
    const programs = [agentBinary("agent-guest"), agentBinary("agent-host")];
    const initramfsPath = buildInitramfs(prerequisites, { programs });
    const config = { transport: "unix", tsc: "reliable", portLinks: true } as const;
    guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
  });

  afterAll(async () => {
    await workspace.dispose();
    await guest?.shutdown();
  });

  async function startInGuest(events: readonly string[]): Promise<number> {
    const args = events.map((event) => `-e '${event}'`).join(" ");
    const pid = await guest.startInGuest(`agent-guest trace ${args}`);
    await waitForGuestPerfEvents(guest, pid);
    return pid;
  }

  async function guestProbes(): Promise<string[]> {
    const text = await guest.shell.output(`cat ${KPROBES}`);
    return text.split("\n").filter((line) => line.includes(":vmspan_"));
  }

  /** Opens files vmspan-0 to vmspan-19, which are not there. */
  async function openFiles(): Promise<void> {
    const names = Array.from({ length: OPENS }, (_, i) => `/vmspan-${i}`).join(" ");
    await guest.shell.run(`for name in ${names}; do cat $name; done`);
  }

  async function measure(args: readonly string[]): Promise<JsonOutput> {
    const host = new HostAgent(workspace, [...args, "--json"]);
    await host.waitReady();
    await openFiles();
    const status = await host.end("SIGINT");
    if (status !== 0) throw guest.explain(new Error(`ended with ${status}:\n${host.log.tail(40)}`));
    const json = host.log.lines.filter((line) => line.startsWith("{"));
    return new JsonOutput(`${json.join("\n")}\n`);
  }

  test("fire for each call with their arguments, and time it from entry to return", async () => {
    // The name lies in memory behind a pointer, which the kernel's filter reads, and ours too.
    const entry = `${ENTRY}/name~"/vmspan-*"/push="${PORT}"/`;
    const pid = await startInGuest([entry, `${RETURN}/ret==-2/push="${PORT}"/`]);
    expect(await guestProbes()).toHaveLength(2);
    const pull = `pull=${guest.channel}/`;
    const traced = await measure(["trace", "-e", `kprobe:do_sys_openat2//${pull}`]);
    const events = traced.objects.filter(({ type }) => type === "event");
    const names = events.map(({ fields }) => (fields as { name: string }).name);
    expect(names).toEqual(Array.from({ length: OPENS }, (_, i) => `/vmspan-${i}`));
    const paired = await measure([
      ...["multi-trace", "-e", `kprobe:do_sys_openat2//${pull}`],
      ...["-e", `kretprobe:do_sys_openat2//${pull}`, "-k", "common_pid"],
    ]);
    expect(paired.latencies).toMatchObject([{ calls: OPENS, violations: 0 }]);
    expect(paired.latencies[0]!.min_ns).toBeGreaterThan(0);
    await guest.shell.output(`kill -INT ${pid}; while kill -0 ${pid} 2>&1; do sleep 0.1; done`);
    expect(await guestProbes()).toEqual([]);
  });

  test("take a filter that only agent-host can run", async () => {
    const filter = 'name~"/vmspan-*" && strncmp(name, "/vmspan-1", 9) == 0';
    const pid = await startInGuest([`${ENTRY}/${filter}/push="${PORT}"/`]);
    const traced = await measure([
      ...["trace", "-e", `kprobe:do_sys_openat2//pull=${guest.channel}/`],
    ]);
    const events = traced.objects.filter(({ type }) => type === "event");
    const names = events.map(({ fields }) => (fields as { name: string }).name);
    const wanted = [1, ...Array.from({ length: 10 }, (_, i) => 10 + i)];
    expect(names).toEqual(wanted.map((number) => `/vmspan-${number}`));
    const filtered = traced.objects.filter(({ type }) => type === "filtered");
    expect(filtered).toMatchObject([{ machine: "guest 1", event: "kprobe:do_sys_openat2" }]);
    await guest.shell.output(`kill -INT ${pid}; while kill -0 ${pid} 2>&1; do sleep 0.1; done`);
  });

  test("work as README shows them, on the machine itself", async () => {
    const readme = readFileSync(join(import.meta.dirname, "../../README.md"), "utf8");
    const examples = consoleExamples(readme).filter(({ command }) => command.includes("kprobe:"));
    expect(examples.length).toBeGreaterThan(0);
    for (const { command, lines } of examples) {
      const load = "while :; do cat /etc/vmspan; done >/dev/null 2>&1 & load=$!";
      const script = `${load}; ${command} 2>&1; kill $load`;
      const output = await guest.shell.output(script, 60_000);
      console.log(output);
      for (const line of lines) {
        expect(output.split("\n").some((text) => linePattern(line).test(text))).toBe(true);
      }
    }
  });

  test("of a killed agent are swept by the next one", async () => {
    const killed = await startInGuest([`${ENTRY}//push="${PORT}"/`]);
    await guest.shell.output(`kill -KILL ${killed}; while kill -0 ${killed} 2>&1; do :; done`);
    const left = await guestProbes();
    expect(left).toHaveLength(1);
    expect(left[0]).toContain(`:vmspan_${killed}_`);
    const next = await startInGuest([`sched:sched_process_fork//push="${PORT}"/`]);
    expect(await guestProbes()).toEqual([]);
    await guest.shell.run(`kill -INT ${next}`);
  });
});
