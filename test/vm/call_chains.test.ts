/**
 * Call chains of a real guest over its virtio port: interrupts that QEMU injects, their handlers'
 * stacks named by the host with symbols that the guest has sent. The guest's kernel is another one
 * than the host's.
 */
import { afterAll, beforeAll, expect, setDefaultTimeout, test } from "bun:test";
import { agentBinary, HostAgent, waitForGuestPerfEvents } from "./agents.ts";
import { buildInitramfs } from "./initramfs.ts";
import { Poker } from "./poke.ts";
import { ensurePrerequisites } from "./prerequisites.ts";
import { QemuGuest } from "./qemu.ts";
import { PERF_PORT_NAME } from "./qemu_args.ts";
import { ensureTracingMounts } from "./tracing_mounts.ts";
import { Workspace } from "./workspace.ts";

const INTERRUPTS = 20;
const EVENTS_MIN = 5;

setDefaultTimeout(180_000);

interface ChainedEvent {
  readonly type: string;
  readonly machine: string;
  readonly stack?: readonly {
    readonly ip: string;
    readonly symbol: string | null;
    readonly module: string;
  }[];
}

const workspace = new Workspace();
let guest: QemuGuest;
let poker: Poker;

beforeAll(async () => {
  ensureTracingMounts();
  const prerequisites = ensurePrerequisites({ progress: console.log });
  const initramfsPath = buildInitramfs(prerequisites, { programs: [agentBinary("agent-guest")] });
  const config = { transport: "unix", tsc: "reliable", portLinks: true } as const;
  guest = await QemuGuest.boot({ prerequisites, initramfsPath, config });
  poker = new Poker(guest);
  await poker.start();
  const { line } = await poker.learnInterrupt();
  const port = `/dev/virtio-ports/${PERF_PORT_NAME}`;
  const event = `irq:irq_handler_entry/name~"${line.name}*"/stack=kernel/push="${port}"/`;
  const pid = await guest.startInGuest(`agent-guest trace -e '${event}'`);
  await waitForGuestPerfEvents(guest, pid);
});

afterAll(async () => {
  await workspace.dispose();
  await guest?.shutdown();
});

test("the host names the guest's kernel functions, those of its modules too", async () => {
  const event = `irq:irq_handler_entry//pull=${guest.channel}/`;
  const host = new HostAgent(workspace, ["trace", "-e", event, "--json", "-N", `${EVENTS_MIN}`]);
  await host.waitReady();
  await poker.poke(INTERRUPTS);
  expect(await host.waitEnd()).toBe(0);
  const events = host.log.lines
    .filter((line) => line.startsWith('{"type":"event"'))
    .map((line) => JSON.parse(line) as ChainedEvent);
  expect(events.length).toBe(EVENTS_MIN);
  for (const { machine, stack = [] } of events) {
    expect(machine).toBe("guest 1");
    const names = stack.map(({ symbol }) => symbol);
    expect(names).toContain("__handle_irq_event_percpu");
    expect(names).toContain("handle_irq_event");
    expect(names).not.toContain(null);
    // The interrupted task may have been in a module.
    for (const { module } of stack) expect(module).toMatch(/^\[[\w.]+\]$/);
  }
  console.log(events[0]!.stack!.map(({ ip, symbol }) => `${ip} ${symbol}`).join("\n"));
});
