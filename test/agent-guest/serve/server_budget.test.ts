/** A server's time: what a host asks for takes no more of it than the host is given. */
import { expect, test } from "bun:test";
import { LIMITS_DEFAULT } from "../../../agent-guest/serve/limits.ts";
import { Server } from "../../../agent-guest/serve/server.ts";
import { HostSocketSink } from "../../../agent-guest/sink/host_socket_sink.ts";
import { SLICE_MS, TalkBudget } from "../../../agent-guest/sink/talk_budget.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { type EventName, Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { Workspace } from "../../vm/workspace.ts";
import { GuestClient } from "../support/guest_client.ts";
import { ServedHost } from "../support/serve.ts";

const BUSY_MS = 2 * SLICE_MS;

/** Its events take long to be found. */
class SlowTracefs extends Tracefs {
  finds = 0;

  override find(): EventName[] {
    this.finds++;
    for (const fromMs = performance.now(); performance.now() < fromMs + BUSY_MS; );
    return [];
  }
}

/** Time is left when the test says so. */
class ToldBudget extends TalkBudget {
  hasTime = false;
  readonly takenMs: number[] = [];

  override isLeft(): boolean {
    return this.hasTime;
  }

  override take(fromMs: number, toMs: number): void {
    this.takenMs.push(toMs - fromMs);
  }
}

test("pump() obeys one request a turn that takes long, while time is left, and pays for each", async () => {
  const workspace = new Workspace();
  const tracefs = new SlowTracefs("");
  const budget = new ToldBudget();
  const options = { limits: LIMITS_DEFAULT, agentVersion: "test", onStatus: () => {}, budget };
  const server = new Server({ ...options, tracefs });
  const address = { kind: "unix", path: workspace.file("s") } as const;
  server.attachSink(new HostSocketSink(address, server));
  const client = GuestClient.connect(address);
  const host = new ServedHost(client);
  const poll = new PollSet();
  const pump = (): void => {
    poll.clear();
    server.register(poll);
    poll.wait(0);
    server.pump(poll, performance.now());
  };
  try {
    client.attach();
    for (let i = 0; i < 3; i++) host.tell({ $case: "list", value: { pattern: "x:y" } });
    await client.until(() => {
      pump();
      return client.reader.hello !== undefined;
    }, "Hello");
    for (let i = 0; i < 10; i++) pump();
    expect(tracefs.finds).toBe(0);
    expect(server.dueInMs(performance.now())).toBeGreaterThan(0);
    budget.hasTime = true;
    expect(server.dueInMs(performance.now())).toBe(0);
    pump();
    expect(tracefs.finds).toBe(1);
    budget.hasTime = false;
    pump();
    expect(tracefs.finds).toBe(1);
    budget.hasTime = true;
    await client.until(() => {
      pump();
      return client.reader.replies.filter(({ more }) => !more).length === 3;
    }, "all answers");
    expect(tracefs.finds).toBe(3);
    expect(budget.takenMs.filter((ms) => ms >= BUSY_MS).length).toBe(3);
  } finally {
    client.close();
    server.close();
    poll.close();
    await workspace.dispose();
  }
});
