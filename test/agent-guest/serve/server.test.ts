/**
 * `agent-guest serve`, played against by a host on raw frames: what it may ask, what it gets, and
 * what becomes of its events when it changes its mind, leaves or vanishes.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import { SysError } from "../../../shared/sys/errno.ts";
import { ErrorCode } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { DEADLINE_MS } from "../support/guest_client.ts";
import { ascending, range } from "../support/numbers.ts";
import { eventRequest, ownCalls, perfEventsOf, type Served, startServe } from "../support/serve.ts";

setDefaultTimeout(60_000);

async function untilNoEvents(served: Served): Promise<void> {
  const isOver = (): boolean => perfEventsOf(served) === 0;
  await waitUntil(isOver, DEADLINE_MS, "the events to be closed");
}

describe.skipIf(NO_TRACING !== "")("Server", () => {
  test("says that it serves, and samples nothing before it is asked", async () => {
    await using served = await startServe();
    const host = await served.attach();
    expect(host.reader.hello).toMatchObject({
      serving: true,
      twoWay: true,
      attachNonce: 1n,
      streamNonce: 0n,
      eventCount: 0,
      events: [],
    });
    expect(perfEventsOf(served)).toBe(0);
    host.client.close();
  });

  test("opens what the host asks for, with its filter, and sends it", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls({ alias: "mine" })]);
    expect(host.reader.hello).toMatchObject({ serving: true, eventCount: 1 });
    const { filter } = ownCalls();
    expect(host.reader.events).toMatchObject([
      { system: "raw_syscalls", name: "sys_enter", alias: "mine", request: 1, filter },
    ]);
    host.client.isAcknowledging = true;
    callGetppid(1000);
    await host.client.until(() => host.reader.samples === 1000, "1000 samples");
    expect(ascending(host.reader.numbers)).toEqual(range(1000));
    host.client.bye();
    await host.client.until(() => host.reader.bye !== undefined, "the goodbye");
    expect(host.reader.ledger()).toEqual({
      produced: 1000,
      lostKernel: 0,
      dropped: 0,
      final: true,
    });
    await untilNoEvents(served);
    host.client.close();
  });

  test("resolves wildcards, and says which request each event answers", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls(), eventRequest("irq", "irq_handler_e*", { filter: "irq==9999" })]);
    const names = host.reader.events.map(({ name, request }) => `${name} ${request}`);
    expect(names).toEqual(["sys_enter 1", "irq_handler_entry 2", "irq_handler_exit 2"]);
    host.client.close();
  });

  test("samples on the CPUs that are asked for only", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls({ cpus: [0] })]);
    expect(host.reader.hello?.cpus.map(({ cpu }) => cpu)).toEqual([0]);
    const { error } = await host.open([ownCalls({ cpus: [4000] })]);
    expect(error).toMatchObject({ code: ErrorCode.BAD_REQUEST });
    expect(error?.message).toBe("Cannot sample CPU 4000: not online in the guest");
    host.client.close();
  });

  test("opens other events in the place of those before, as a new stream", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    const before = host.reader.hello!.streamNonce;
    await host.begin([ownCalls({ alias: "again" }), eventRequest("irq", "irq_handler_entry")]);
    expect(host.reader.hello!.streamNonce).not.toBe(before);
    expect(host.reader.events.map(({ alias, name }) => alias || name)).toEqual([
      "again",
      "irq_handler_entry",
    ]);
    host.client.close();
  });

  test("goes on with the same events when the same are asked for again", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    const { streamNonce } = host.reader.hello!;
    callGetppid(100);
    expect(await host.open([ownCalls()])).toMatchObject({ error: undefined });
    callGetppid(100, 100);
    await host.client.until(() => host.reader.samples === 200, "200 samples");
    expect(host.reader.hello!.streamNonce).toBe(streamNonce);
    host.client.close();
  });

  test("a refused request changes nothing of what is open", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    const { error } = await host.open([eventRequest("irq", "no_such_event")]);
    expect(error).toMatchObject({ code: ErrorCode.UNKNOWN_EVENT });
    callGetppid(100);
    await host.client.until(() => host.reader.samples === 100, "100 samples");
    host.client.close();
  });

  test("closes single events, whose counts stay in the ledger", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls({ alias: "first" }), ownCalls({ alias: "second" })]);
    callGetppid(100);
    await host.client.until(() => host.reader.samples === 200, "200 samples");
    const value = { indexes: [1] };
    expect(await host.ask({ $case: "close", value })).toMatchObject({ error: undefined });
    callGetppid(50, 100);
    await host.client.until(() => host.reader.samples === 250, "50 samples more");
    const unknown = await host.ask({ $case: "close", value: { indexes: [7] } });
    expect(unknown.error).toMatchObject({ code: ErrorCode.BAD_REQUEST });
    host.client.bye();
    await host.client.until(() => host.reader.bye !== undefined, "the goodbye");
    expect(host.reader.ledger()).toMatchObject({ produced: 250, final: true });
    host.client.close();
  });

  test("closing without any open is refused", async () => {
    await using served = await startServe();
    const host = await served.attach();
    const { error } = await host.ask({ $case: "close", value: { indexes: [] } });
    expect(error?.message).toBe("Cannot close events: none are open for this host");
    host.client.close();
  });
});

describe.skipIf(NO_TRACING !== "")("Server, when a host goes", () => {
  test("a host that vanished goes on where it stood, and lacks nothing", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    callGetppid(200);
    await host.client.until(() => host.reader.samples === 200, "200 samples");
    host.client.acknowledge();
    const positions = host.reader.positions();
    callGetppid(300, 200);
    host.client.close();
    await served.said("Disconnected from");
    callGetppid(300, 500);
    const { reader } = host;
    reader.reconnect();
    const again = served.connect(reader);
    again.attach({ resume: true, positions });
    await again.until(() => new Set(reader.numbers).size === 800, "all of 800 calls");
    expect(ascending([...new Set(reader.numbers)])).toEqual(range(800));
    expect(reader.gaps).toEqual([]);
    again.close();
  });

  test("its events are closed when the grace period is over", async () => {
    await using served = await startServe(["--grace", "300ms"]);
    const host = await served.attach();
    await host.begin([ownCalls()]);
    callGetppid(100);
    await host.client.until(() => host.reader.samples === 100, "100 samples");
    host.client.close();
    await untilNoEvents(served);
    expect(served.agent.stderr).toContain("events waited for a host that did not come back");
    const late = served.connect();
    late.reader.hello = host.reader.hello;
    late.attach({ resume: true, positions: [] });
    await late.until(() => late.reader.hello?.eventCount === 0, "an idle Hello");
    late.close();
  });

  test("keeps the events of a host that may still resume until it acknowledges", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    callGetppid(100);
    await host.client.until(() => host.reader.samples === 100, "100 samples");
    host.client.bye(true);
    await host.client.until(() => host.reader.bye !== undefined, "the goodbye");
    expect(host.reader.ledger()).toMatchObject({ produced: 100, final: true });
    expect(perfEventsOf(served)).toBeGreaterThan(0);
    host.client.acknowledge();
    await untilNoEvents(served);
    host.client.close();
  });

  test("another host that only looks leaves its events waiting", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    host.client.close();
    await served.said("Disconnected from");
    callGetppid(100);
    const other = await served.attach();
    const value = { pattern: "irq:irq_handler_entry" };
    const { events } = await other.ask({ $case: "list", value });
    expect(events).toMatchObject([{ system: "irq", name: "irq_handler_entry" }]);
    other.client.bye();
    await other.client.until(() => other.reader.bye !== undefined, "the goodbye");
    other.client.close();
    await served.said("Disconnected from", 2);
    const { reader } = host;
    reader.reconnect();
    const again = served.connect(reader);
    again.attach({ resume: true });
    await again.until(() => reader.samples === 100, "100 samples");
    again.close();
  });

  test("another host that asks for events takes the place of the one that vanished", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.begin([ownCalls()]);
    host.client.close();
    await served.said("Disconnected from");
    callGetppid(70);
    const other = await served.attach();
    await other.begin([ownCalls({ alias: "other" })]);
    expect(served.agent.stderr).toContain("70 events waited for a host that did not come back");
    callGetppid(30, 1000);
    await other.client.until(() => other.reader.samples === 30, "30 samples");
    expect(ascending(other.reader.numbers)).toEqual(range(30).map((n) => n + 1000));
    other.client.close();
  });

  test("a client that never attaches keeps no host out for long", async () => {
    await using served = await startServe();
    const silent = served.connect();
    await served.said("Connected to");
    const attaches = async (): Promise<boolean> => {
      const host = served.connect();
      try {
        host.attach();
        await host.until(() => host.hasEnded || host.reader.hello !== undefined, "an answer");
        return host.reader.hello?.serving === true;
      } catch (error) {
        // It was refused before it could say anything.
        if (!(error instanceof SysError)) throw error;
        return false;
      } finally {
        host.close();
      }
    };
    expect(await attaches()).toBe(false);
    await waitUntil(attaches, DEADLINE_MS, "the silent client to give way");
    await silent.until(() => silent.hasEnded, "its end");
    silent.close();
  });

  test("a second host is told which process the first one is", async () => {
    await using served = await startServe();
    const host = await served.attach();
    const second = served.connect();
    await second.until(() => second.hasEnded, "the refusal");
    expect(second.reader.errors).toMatchObject([
      {
        code: ErrorCode.BUSY,
        message: expect.stringMatching(new RegExp(`process ${process.pid} \\(.+\\) is attached$`)),
      },
    ]);
    second.close();
    host.client.close();
  });
});

describe.skipIf(NO_TRACING !== "")("Server, asked for what it has", () => {
  test("lists all events in several frames, as many as the kernel has", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.ask({ $case: "list", value: { pattern: "" } });
    const names = host.reader.replies.flatMap(({ events }) => events);
    expect(host.reader.replies.length).toBeGreaterThan(1);
    expect(host.reader.replies.filter(({ more }) => !more)).toHaveLength(1);
    expect(names.length).toBeGreaterThan(500);
    expect(names.every(({ format }) => format.length === 0)).toBe(true);
    host.client.close();
  });

  test("describes events with ids and formats, however many there are", async () => {
    await using served = await startServe();
    const host = await served.attach();
    await host.ask({ $case: "describe", value: { pattern: "sched:*" } });
    const events = host.reader.replies.flatMap(({ events }) => events);
    for (const { name, format, commonType } of events) {
      const text = new TextDecoder().decode(format);
      expect(text).toStartWith(`name: ${name}\nID: ${commonType}\n`);
    }
    await host.ask({ $case: "describe", value: { pattern: "*:*" } });
    const all = host.reader.replies.flatMap(({ events }) => events);
    expect(all.length).toBeGreaterThan(500 + events.length);
    host.client.close();
  });

  test("a host that does not read its answers costs the others nothing", async () => {
    await using served = await startServe();
    const host = await served.attach();
    for (let i = 0; i < 200; i++) host.tell({ $case: "describe", value: { pattern: "*:*" } });
    host.client.close();
    await served.said("Disconnected from");
    expect(served.agent.residentBytes()).toBeLessThan(400 * 1024 * 1024);
    const other = await served.attach();
    await other.begin([ownCalls()]);
    other.client.close();
  });

  test("an unknown pattern or request is refused", async () => {
    await using served = await startServe();
    const host = await served.attach();
    const { error } = await host.ask({ $case: "list", value: { pattern: "sched:sched_swich" } });
    expect(error).toMatchObject({
      code: ErrorCode.UNKNOWN_EVENT,
      hint: "did you mean sched:sched_switch?",
    });
    expect((await host.ask(undefined)).error).toMatchObject({ code: ErrorCode.UNSUPPORTED });
    host.client.close();
  });
});
