/**
 * The command lines of the document that vmspan starts from (perf-prof over virtio-ports), verbatim
 * but for the program's name: each parses, runs, and prints the layout of the document.
 *
 * The port is the document's when it is free, else one that the kernel chooses. The process id of
 * the document's virtual machine is first taken as it stands (nothing on the host matches then) and
 * then replaced by ours, so that there is something to measure. Where the document has a guest with
 * 80 CPUs and virtio-net, the test plays one; the chain agent-guest, character device, tcp port,
 * agent-host runs for real on this machine's own interrupts.
 *
 * Left out: `irq-off --period 5ms --than 10ms --tsc` of section 4.3.1, a profiler that is still to
 * come.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, writeSync } from "node:fs";
import { EXIT } from "../../shared/cli/failure.ts";
import { Tracefs } from "../../shared/tracefs/tracefs.ts";
import { ascii, common, plainSample, u16, u32 } from "../agent-host/analyze/record_bytes.ts";
import { type AgentProcess, startAgent } from "../agent-host/support/agent_process.ts";
import { FakeGuest, type FakePeer, type GuestManners } from "../agent-host/support/fake_guest.ts";
import { fakeEvent, nowNs } from "../agent-host/support/guest_stream.ts";
import { NO_TRACING } from "../shared/event/kernel.ts";
import { waitUntil } from "../vm/deadline.ts";
import { Workspace } from "../vm/workspace.ts";
import { MsiInjector } from "./msi_injector.ts";
import { SerialBridge } from "./serial_bridge.ts";

const GUEST_TRACE = [
  "trace",
  "-e",
  'irq:irq_handler_entry/name~"virtio0-input*"/push="/dev/virtio-ports/org.qemu.perf0"/',
  "--tsc",
];
const HOST_TRACE = ["trace", "-e", "irq:irq_handler_entry//pull=9900/", "-N", "2"];
const HOST_MULTI_TRACE = [
  "multi-trace",
  "-e",
  'kvm:kvm_msi_set_irq/common_pid==26027/key="(((address>>18)&1)?42:0) + ((address>>12)&0x3f)"/',
  "-e",
  'irq:irq_handler_entry//pull=9900/key="83-irq+32"/',
  "--tsc",
  "--tsc-offset",
  "0xffdafd48df582d22",
  "--order",
  "-i",
  "1000",
  "--than",
  "1ms",
];
const PORT = 9900;
const TSC_OFFSET = 0xffdafd48df582d22n;

const DATE = String.raw`\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}`;
/** "2023-04-12 13:47:26.370747 G           <idle>      0 d.h. [077] 186430.038050: irq:..." */
const EVENT_LINE = (mark: string, task: string, cpu: string, info: string): RegExp =>
  new RegExp(String.raw`^${DATE} ${mark} ${task} \S{4,5} \[${cpu}\] \d+\.\d{6}: ${info}$`, "m");
const TITLES = new RegExp(
  String.raw`^          start => end                  calls      total\(kcyc\)    min\(kcyc\)` +
    String.raw`    p50\(kcyc\)    p95\(kcyc\)    p99\(kcyc\)    max\(kcyc\)$`,
  "m",
);
const RULES = new RegExp(`^-{15}    -{17} -{8} -{16}${" -{12}".repeat(5)}$`, "m");
const ROW = /^kvm_msi_set_irq => irq_handler_entry +\d+ +\d+\.\d{3}(?: +\d+\.\d{3}){5}/m;

/** The document's interrupt: destination 0x65 and vector 35 make key 79, as does irq 36. */
const MSI = { address: 0xfee65000, data: 0x23 };
const IRQ = { irq: 36, name: "virtio0-input.2", cpu: 79, pid: 350094 };

/** common_flags: "dNh." and "d.h.", as the document has them. */
const IN_HANDLER = 0x2d;
const IN_IDLE = 0x09;

const noKvm = ((): string => {
  try {
    new MsiInjector().close();
    return "";
  } catch (error) {
    return (error as Error).message;
  }
})();
if (NO_TRACING === "" && noKvm !== "") console.warn(`skipped: injections by KVM: ${noKvm}`);

let workspace: Workspace;

beforeAll(() => {
  workspace = new Workspace();
});

afterAll(() => workspace.dispose());

/** A sample of irq:irq_handler_entry, stamped now. */
function irqRecord({ irq, name, pid }: typeof IRQ, flags: number): number[] {
  const text = [...ascii(name), 0];
  const raw = [...common(irqType(), pid, flags), ...u32(irq), ...u16(16), ...u16(text.length)];
  return plainSample(nowNs(), [...raw, ...text]);
}

function irqType(): number {
  return Tracefs.open().eventId("irq", "irq_handler_entry");
}

/** The document's guest: its agent was started with --tsc, its TSC is off by the document's N. */
async function playGuest(): Promise<{ guest: FakeGuest; port: number }> {
  const formatText = Tracefs.open().formatText("irq", "irq_handler_entry");
  const event = fakeEvent({
    system: "irq",
    name: "irq_handler_entry",
    commonType: irqType(),
    format: new TextEncoder().encode(formatText),
    filter: 'name~"virtio0-input*"',
  });
  const cpus = [77, 79].map((cpu) => ({ cpu, apicId: cpu }));
  const manners: GuestManners = {
    hello: { events: [event], cpus, start: [], tscDisplay: true },
    tscOffset: TSC_OFFSET,
  };
  const guest = await FakeGuest.listen({ port: PORT }, manners).catch(() =>
    FakeGuest.listen({ port: 0 }, manners),
  );
  return { guest, port: guest.port };
}

/** The document's command line with the port that there is. */
function withPort(args: readonly string[], port: number): string[] {
  return args.map((arg) => arg.replace("pull=9900/", `pull=${port}/`));
}

/** Tells the host every 20 ms that nothing is under way, as a guest's agent does. */
function keepProgress(peer: FakePeer): Disposable {
  const timer = setInterval(() => peer.progress(), 20);
  return { [Symbol.dispose]: () => clearInterval(timer) };
}

describe.skipIf(NO_TRACING !== "")("4.2 the host receives events", () => {
  test("agent-host trace -e irq:irq_handler_entry//pull=9900/ -N 2", async () => {
    const { guest, port } = await playGuest();
    await using _ = guest;
    const host = startAgent(workspace, "agent-host", withPort(HOST_TRACE, port));
    const peer = await guest.attached();
    await host.said(/^Tracing$/m);
    using _progress = keepProgress(peer);
    const idle = { irq: 38, name: "virtio0-input.3", cpu: 77, pid: 0 };
    const first = irqRecord(idle, IN_IDLE);
    peer.samples(77, 0, first);
    peer.samples(77, first.length, [...irqRecord(idle, IN_IDLE), ...irqRecord(idle, IN_IDLE)]);
    expect(await host.end()).toMatchObject({ code: EXIT.DONE });
    const lines = host.stdout.trimEnd().split("\n");
    const info = String.raw`irq:irq_handler_entry: irq=38 name=virtio0-input\.3`;
    expect(lines).toHaveLength(2);
    for (const line of lines) {
      expect(line).toMatch(EVENT_LINE("G", "          <idle>      0", "077", info));
      expect(line).toContain(" d.h. ");
    }
    expect(host.stderr).toMatch(new RegExp(`^Connected to 127\\.0\\.0\\.1:${port}$`, "m"));
    expect(host.stderr).toMatch(new RegExp(`^Disconnect from 127\\.0\\.0\\.1:${port}$`, "m"));
  });
});

describe.skipIf(NO_TRACING !== "" || noKvm !== "")("4.3 the host processes events", () => {
  test("agent-host multi-trace ... --tsc --tsc-offset N --order -i 1000 --than 1ms", async () => {
    const { guest, port } = await playGuest();
    await using _ = guest;
    const host = startAgent(workspace, "agent-host", withPort(HOST_MULTI_TRACE, port));
    const peer = await guest.attached();
    await host.said(/^Tracing$/m);
    using _progress = keepProgress(peer);
    peer.samples(79, 0, irqRecord(IRQ, IN_HANDLER));
    await host.showed(new RegExp(`^${DATE} \nno pairs$`, "m"));
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(host.stdout).not.toMatch(ROW);
    expect(host.stderr).toMatch(/^ledger: /m);
  });

  test("the same with a virtual machine of ours: lines of a slow pair, then the table", async () => {
    using injector = { ...openInjector() };
    const { guest, port } = await playGuest();
    await using _ = guest;
    const args = withPort(HOST_MULTI_TRACE, port).map((arg) =>
      arg.replace("common_pid==26027", `common_pid==${process.pid}`),
    );
    const host = startAgent(workspace, "agent-host", args);
    const peer = await guest.attached();
    await host.said(/^Tracing$/m);
    using _progress = keepProgress(peer);
    await measureInterrupts(host, peer, injector.value);
    expect(await host.stop()).toMatchObject({ code: EXIT.THRESHOLD });
    expectPair(host.stdout);
    expect(host.stdout).toMatch(new RegExp(`^${DATE} $`, "m"));
    expect(host.stdout).toMatch(TITLES);
    expect(host.stdout).toMatch(RULES);
    expect(host.stdout).toMatch(ROW);
    expect(host.stderr).not.toContain("WARNING");
    expect(host.stderr).toMatch(/^ledger: /m);
  });
});

function openInjector(): { readonly value: MsiInjector } & Disposable {
  const value = new MsiInjector();
  return { value, [Symbol.dispose]: () => value.close() };
}

/** Fifty interrupts that are handled at once, and one that waits for milliseconds. */
async function measureInterrupts(
  host: AgentProcess,
  peer: FakePeer,
  injector: MsiInjector,
): Promise<void> {
  let position = 0;
  const handle = (): void => {
    const record = irqRecord(IRQ, IN_HANDLER);
    peer.samples(79, position, record);
    position += record.length;
  };
  for (let i = 0; i < 50; i++) {
    injector.inject(MSI.address, MSI.data);
    handle();
  }
  const startMs = performance.now();
  injector.inject(MSI.address, MSI.data);
  await waitUntil(() => performance.now() > startMs + 2, 5000, "a slow handler");
  handle();
  await host.showed(/irq:irq_handler_entry: irq=36/);
}

function expectPair(stdout: string): void {
  const dst = String.raw`kvm:kvm_msi_set_irq: dst 65 vec 35 \(Fixed\|physical\|edge\)`;
  const irq = String.raw`irq:irq_handler_entry: irq=36 name=virtio0-input\.2`;
  const own = `.{16} +${process.pid}`;
  expect(stdout).toMatch(EVENT_LINE(" ", own, String.raw`\d{3}`, dst));
  expect(stdout).toMatch(EVENT_LINE("G", "           <...> 350094", "079", irq));
  expect(stdout).toContain(" dNh. [079] ");
  // The guest's event comes after the host's, by the time column too: both show guest TSC.
  const times = [...stdout.matchAll(/\[\d{3}\] (\d+\.\d{6}): /g)].map((match) => Number(match[1]));
  expect(times.length).toBeGreaterThanOrEqual(2);
  expect(times[1]!).toBeGreaterThan(times[0]!);
}

/** In a mount namespace of its own, /dev with the guest's port, which is our pseudo terminal. */
function withPortDevice(ptyPath: string): string[] {
  const folder = workspace.file("dev");
  mkdirSync(folder, { recursive: true });
  const script = [
    `mount --rbind /dev ${folder}`,
    "mount -t tmpfs none /dev",
    `ln -s ${folder}/* /dev/`,
    "mkdir /dev/virtio-ports",
    `ln -s ${ptyPath} /dev/virtio-ports/org.qemu.perf0`,
    'exec "$@"',
  ].join(" && ");
  return ["unshare", "--mount", "--", "sh", "-c", script, "sh"];
}

/** Makes the disk under the scratch folder raise interrupts, a few hundred a second. */
function provokeInterrupts(): Disposable {
  const fd = openSync(workspace.file("poke"), "w");
  const timer = setInterval(() => {
    writeSync(fd, "x");
    fsyncSync(fd);
  }, 5);
  return {
    [Symbol.dispose]: () => {
      clearInterval(timer);
      closeSync(fd);
    },
  };
}

const interruptSources = (): string => readFileSync("/proc/interrupts", "utf8");
const hasVirtio = /virtio\d+-(?:req|input)/.test(interruptSources());
if (!hasVirtio) console.warn("skipped: the whole chain: this machine has no virtio interrupts");

describe.skipIf(NO_TRACING !== "")("4.1 the guest samples events", () => {
  test("agent-guest trace ... push=/dev/virtio-ports/org.qemu.perf0 --tsc, and a host", async () => {
    await using bridge = new SerialBridge();
    const port = await bridge.listen(PORT);
    const wrapper = withPortDevice(bridge.pty.path);
    const guest = startAgent(workspace, "agent-guest", GUEST_TRACE, { wrapper });
    await guest.said(/^Pushing irq:irq_handler_entry to "\/dev\/virtio-ports\/org\.qemu\.perf0"$/m);
    const host = startAgent(workspace, "agent-host", withPort(HOST_TRACE, port));
    await host.said(/^Tracing$/m);
    expect(await host.stop()).toMatchObject({ code: EXIT.DONE });
    expect(host.stderr).toMatch(/^ledger: balances: 0 produced = 0 delivered/m);
    expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
  });

  test.skipIf(!hasVirtio)(
    "the same for interrupts that happen here, to printed lines",
    async () => {
      await using bridge = new SerialBridge();
      const port = await bridge.listen(PORT);
      const args = GUEST_TRACE.map((arg) => arg.replace("virtio0-input*", "virtio*"));
      const wrapper = withPortDevice(bridge.pty.path);
      const guest = startAgent(workspace, "agent-guest", args, { wrapper });
      await guest.said(/^Pushing /m);
      using _poke = provokeInterrupts();
      const host = startAgent(workspace, "agent-host", withPort(HOST_TRACE, port));
      expect(await host.end()).toMatchObject({ code: EXIT.DONE });
      const lines = host.stdout.trimEnd().split("\n");
      expect(lines).toHaveLength(2);
      const info = String.raw`irq:irq_handler_entry: irq=\d+ name=virtio\S+`;
      for (const line of lines) {
        expect(line).toMatch(EVENT_LINE("G", String.raw`.{16} +\d+`, String.raw`\d{3}`, info));
      }
      expect(host.stderr).toMatch(/^ledger: balances: /m);
      expect(await guest.stop()).toMatchObject({ code: EXIT.DONE });
    },
  );
});
