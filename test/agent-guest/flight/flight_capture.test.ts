/**
 * Flight recorders: what a dump brings, when it comes, who gets it, and that nothing else comes.
 */
import { describe, expect, test } from "bun:test";
import { EXIT } from "../../../shared/cli/failure.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { runAgent } from "../../agent-host/support/agent_process.ts";
import { NO_TRACING, OWN_GETPGRP } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { Workspace } from "../../vm/workspace.ts";
import { DEADLINE_MS, GuestClient } from "../support/guest_client.ts";
import { range } from "../support/numbers.ts";
import { CAPACITY, capacityOf, fire, fireTrigger, startRecorder } from "../support/recorder.ts";
import type { StreamReader } from "../support/stream_reader.ts";
import { freePort, readStreamFile, type Trace } from "../support/trace.ts";

/** With 8 MiB of ring, and as much again for a dump under way. */
const RESIDENT_BYTES_MAX = 200 * 1024 * 1024;

/** Frames that lie outside of dumps. */
function typesBetween(reader: StreamReader): Set<number> {
  const types = new Set<number>();
  let isDump = false;
  let dumps = 0;
  for (const type of reader.frameTypes) {
    if (type !== FrameType.DUMP) {
      if (!isDump) types.add(type);
      continue;
    }
    isDump = !reader.dumps[dumps++]!.complete;
  }
  return types;
}

async function untilDumps(trace: Trace, file: string, count: number): Promise<StreamReader> {
  const complete = (): number =>
    readStreamFile(trace, file).dumps.filter((mark) => mark.complete).length;
  await waitUntil(() => complete() >= count, DEADLINE_MS, `${count} dumps in ${file}`);
  return readStreamFile(trace, file);
}

function connect(trace: Trace, reader?: StreamReader): GuestClient {
  return GuestClient.connect({ kind: "unix", path: trace.workspace.file("s") }, reader);
}

function askFor(client: GuestClient, id: number): void {
  client.send(FrameType.CONTROL, { id, request: { $case: "dump", value: {} } });
}

/** A host asks for a dump of 400 events, and vanishes before it has any of it. */
async function vanishFromDump(trace: Trace): Promise<GuestClient> {
  fire(400, 0);
  const client = connect(trace);
  client.attach();
  await client.until(() => client.reader.hello !== undefined, "Hello");
  askFor(client, 1);
  await trace.agent.said(/^Dump 1 \(host\): 400 events$/m);
  client.close();
  await trace.agent.said(/^Disconnected /m);
  return client;
}

async function untilComplete(client: GuestClient, number: number): Promise<void> {
  const isComplete = (): boolean =>
    client.reader.dumps.some((mark) => mark.complete && mark.number === number);
  await client.until(isComplete, `dump ${number}`);
}

describe.skipIf(NO_TRACING !== "")("agent-guest trace --overwrite", () => {
  test("a file gets a dump at each SIGUSR2: what is new, or the newest of it", async () => {
    await using trace = await startRecorder("FOLDER/x.vms");
    fire(100, 0);
    trace.agent.kill("SIGUSR2");
    const first = await untilDumps(trace, "x.vms", 1);
    expect(first.numbers).toEqual(range(100));
    fire(50_000, 100);
    trace.agent.kill("SIGUSR2");
    const second = await untilDumps(trace, "x.vms", 2);
    const newest = second.numbers.slice(100);
    // Records of tasks that are born or end take some of the room.
    expect(newest.length).toBeGreaterThan(CAPACITY / 2);
    expect(newest).toEqual(range(50_100).slice(-newest.length));
    fire(7, 60_000);
    const [ledger] = await trace.stop();
    const forwarded = 100 + newest.length;
    expect(ledger).toEqual({
      produced: 50_107,
      lostKernel: 0,
      dropped: 50_107 - forwarded,
      forwarded,
    });
    expect(trace.agent.stderr).toContain(`not dumped: 7, overwritten: ${50_100 - forwarded}\n`);
    const all = readStreamFile(trace, "x.vms");
    expect(all.dumps).toMatchObject([
      { number: 1, trigger: "SIGUSR2", complete: false },
      { number: 1, trigger: "SIGUSR2", complete: true },
      { number: 2, trigger: "SIGUSR2", complete: false },
      { number: 2, trigger: "SIGUSR2", complete: true },
    ]);
    expect(all.gaps).toEqual([]);
    expect(typesBetween(all)).not.toContain(FrameType.SAMPLES);
    expect(typesBetween(all)).not.toContain(FrameType.PROGRESS);
  });

  test("a host asks over the channel, acknowledges, and asks again", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    fire(300, 0);
    const client = connect(trace);
    client.attach();
    client.isAcknowledging = true;
    await client.until(() => client.reader.clockSamples.length > 2, "clock samples");
    expect(client.reader.hello).toMatchObject({ overwrite: true, twoWay: true });
    askFor(client, 5);
    await untilComplete(client, 1);
    expect(client.reader.numbers).toEqual(range(300));
    expect(client.reader.replies).toMatchObject([{ id: 5, error: undefined }]);
    fire(20, 300);
    askFor(client, 6);
    await untilComplete(client, 2);
    expect(client.reader.numbers).toEqual(range(320));
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(client.reader.ledger()).toEqual({
      produced: 320,
      lostKernel: 0,
      dropped: 0,
      final: true,
    });
    client.close();
    await trace.stop();
  });

  test("a dump that a killed host has not taken is sent to it when it is back", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const first = await vanishFromDump(trace);
    const second = connect(trace, first.reader);
    first.reader.reconnect();
    second.attach({ resume: true });
    second.isAcknowledging = true;
    await untilComplete(second, 1);
    expect(second.reader.numbers).toEqual(range(400));
    expect(second.reader.gaps).toEqual([]);
    second.close();
    await trace.stop();
  });

  test("another host does not get it, and it is said to be gone", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    await vanishFromDump(trace);
    const second = connect(trace);
    second.attach();
    await second.until(() => second.reader.hello !== undefined, "Hello");
    await trace.agent.said(/^400 events waited for a host that did not come back$/m);
    second.close();
    await trace.stop();
  });

  test("a dump that nobody has taken by the end is in the ledger", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    fire(50, 0);
    trace.agent.kill("SIGUSR2");
    await trace.agent.said(/^Dump 1 \(SIGUSR2\): 50 events, which wait for a receiver$/m);
    fire(7, 50);
    expect(await trace.stop()).toEqual([
      { produced: 57, lostKernel: 0, dropped: 57, forwarded: 0 },
    ]);
    expect(trace.agent.stderr).toContain("not dumped: 7, not taken before the end: 50\n");
  });

  test("an event with trigger dumps by itself; without a receiver the dump waits", async () => {
    await using trace = await startRecorder("unix:FOLDER/s", [`${OWN_GETPGRP()}trigger/`]);
    fire(50, 0);
    fireTrigger();
    await trace.agent.said(/^Dump 1 \(raw_syscalls:sys_enter\): 51 events, which wait/m);
    fire(5, 50);
    const client = connect(trace);
    client.attach();
    client.isAcknowledging = true;
    await untilComplete(client, 1);
    // The trigger's own event is one of them, and carries no number of ours.
    expect(client.reader.samples).toBe(51);
    askFor(client, 1);
    await untilComplete(client, 2);
    expect(client.reader.samples).toBe(56);
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(client.reader.ledger()).toMatchObject({ produced: 56, dropped: 0, final: true });
    client.close();
    await trace.stop();
  });

  test("tcp: every client gets the dumps that follow", async () => {
    const port = await freePort();
    await using trace = await startRecorder(`${port}`);
    const address = { kind: "tcp", host: "127.0.0.1", port } as const;
    const [one, two] = [GuestClient.connect(address), GuestClient.connect(address)];
    const clients = [one, two];
    for (const client of clients) {
      await client.until(() => client.reader.clockSamples.length > 2, "clock samples");
    }
    fire(60, 0);
    askFor(one, 1);
    for (const client of clients) await untilComplete(client, 1);
    expect(clients.map(({ reader }) => reader.numbers)).toEqual([range(60), range(60)]);
    for (const client of clients) client.close();
    await trace.stop();
  });

  test("tcp: a client that stops reading in a dump misses it, and costs the others a wait", async () => {
    const port = await freePort();
    // More than sockets take, and what waits for one.
    const pages = 2048;
    await using trace = await startRecorder(`${port}`, [], pages);
    const slow = GuestClient.connectNarrow(port);
    await slow.untilReadable();
    const fast = GuestClient.connect({ kind: "tcp", host: "127.0.0.1", port });
    await fast.until(() => fast.reader.clockSamples.length > 2, "clock samples");
    const before = trace.agent.cpuSeconds();
    const startMs = performance.now();
    const kept = capacityOf(pages);
    fire(kept + 10_000, 0);
    askFor(fast, 1);
    await untilComplete(fast, 1);
    expect(fast.reader.numbers).toEqual(
      range(fast.reader.samples, kept + 10_000 - fast.reader.samples),
    );
    expect(fast.reader.samples).toBeGreaterThan(kept - 100);
    // The next one waits for the first client as long as that may take; those after it do not.
    for (const number of [2, 3]) {
      fast.reader.numbers = [];
      fire(500, number * 1_000_000);
      askFor(fast, number);
      await untilComplete(fast, number);
      expect(fast.reader.numbers).toEqual(range(500, number * 1_000_000));
    }
    const share = (trace.agent.cpuSeconds() - before) / ((performance.now() - startMs) / 1000);
    console.log(`${(share * 100).toFixed(1)} % of a CPU while a client is waited for`);
    expect(share).toBeLessThan(0.5);
    expect(trace.agent.residentBytes()).toBeLessThan(RESIDENT_BYTES_MAX);
    const stopped = trace.stop();
    await fast.until(() => fast.reader.bye !== undefined, "the end");
    const ledgers = await stopped;
    const total = kept + 11_000;
    expect(fast.reader.ledger()).toMatchObject({ produced: total, final: true });
    expect(ledgers.map(({ produced }) => produced)).toEqual([total, total]);
    for (const { produced, lostKernel, dropped, forwarded } of ledgers) {
      expect(lostKernel + dropped + forwarded).toBe(produced);
    }
    expect(trace.agent.stderr).toMatch(/slow client: \d+/);
    fast.close();
    slow.close();
  });

  test("other requests are refused, with a hint", async () => {
    await using trace = await startRecorder("unix:FOLDER/s");
    const client = connect(trace);
    client.attach();
    client.send(FrameType.CONTROL, { id: 9, request: { $case: "list", value: { pattern: "*" } } });
    await client.until(() => client.reader.replies.length > 0, "a reply");
    expect(client.reader.replies[0]).toMatchObject({
      id: 9,
      error: { hint: "start it as agent-guest serve" },
    });
    client.close();
    await trace.stop();
  });
});

test("trigger without --overwrite is a usage error", async () => {
  const workspace = new Workspace();
  try {
    const event = "sched:sched_switch//trigger/push=9/";
    const { code, stderr } = await runAgent(workspace, "agent-guest", ["trace", "-e", event]);
    expect({ code, stderr }).toMatchObject({ code: EXIT.USAGE });
    expect(stderr).toContain("HINT: --overwrite");
  } finally {
    await workspace.dispose();
  }
});
