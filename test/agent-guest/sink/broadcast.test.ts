/** push=PORT: everything to everybody, and nobody pays for one who does not read. */
import { describe, expect, test } from "bun:test";
import { readFileSync } from "node:fs";
import { BroadcastSink } from "../../../agent-guest/sink/broadcast_sink.ts";
import type { SinkHost } from "../../../agent-guest/sink/sink.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { ByeReason, type Lost } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { DEADLINE_MS, GuestClient } from "../support/guest_client.ts";
import { ascending, range } from "../support/numbers.ts";
import { freePort, startTrace, type Trace } from "../support/trace.ts";

async function startBroadcast(
  args: readonly string[] = [],
): Promise<{ trace: Trace; port: number }> {
  const port = await freePort();
  return { trace: await startTrace(`${port}`, args), port };
}

function connectTcp(port: number): GuestClient {
  return GuestClient.connect({ kind: "tcp", host: "127.0.0.1", port });
}

/** Calls in batches that a small ring holds, reading one client meanwhile. */
async function callAndRead(client: GuestClient, count: number, batch = 1000): Promise<void> {
  for (let first = 0; first < count; first += batch) {
    callGetppid(batch, first);
    await client.until(() => client.reader.samples >= first + batch, `${first + batch} samples`);
  }
}

/** The ranges that Lost frames name, neighbours joined. */
function skippedRanges(lost: readonly Lost[]): string[] {
  const ranges: { cpu: number; from: number; to: number }[] = [];
  for (const { cpu, fromPosition, toPosition } of lost) {
    const [from, to] = [Number(fromPosition), Number(toPosition)];
    const before = ranges.find((range) => range.cpu === cpu && range.to === from);
    if (before === undefined) ranges.push({ cpu, from, to });
    else before.to = to;
  }
  return ranges.map(({ cpu, from, to }) => `CPU ${cpu}: ${from} to ${to}`);
}

/** One client reads, another one does not until the end: both account for every call. */
async function checkSlowClient(pages: string, burst: number, calls: number): Promise<void> {
  const { trace, port } = await startBroadcast(["-m", pages]);
  await using _ = trace;
  const slow = GuestClient.connectNarrow(port);
  await slow.untilReadable();
  const fast = connectTcp(port);
  await fast.untilSampling();
  await callAndRead(fast, calls, burst);
  expect(ascending(fast.reader.numbers)).toEqual(range(calls));
  expect([fast.reader.lost.length, fast.reader.lostInRings]).toEqual([0, 0]);
  const missed = (): number =>
    slow.reader.lost.reduce((sum, { events }) => sum + Number(events), 0);
  await slow.until(() => slow.reader.samples + missed() >= calls, "all samples or their loss");
  expect(missed()).toBeGreaterThan(0);
  expect(slow.reader.samples + missed()).toBe(calls);
  expect(new Set(slow.reader.numbers).size).toBe(slow.reader.samples);
  // What the stream skips is what it says that it skips.
  const announced = skippedRanges(slow.reader.lost);
  for (const { cpu, from, to } of slow.reader.gaps) {
    expect(announced).toContain(`CPU ${cpu}: ${from} to ${to}`);
  }
  for (const { place } of slow.reader.lost) expect(place).toBe("slow client");
  expect(slow.reader.decoder.counters).toMatchObject({ garbageBytes: 0, sequenceGaps: 0 });
  await trace.agent.said(/client 1 of tcp .* is too slow: \d+ events not sent$/m);
  fast.close();
  slow.close();
  await trace.stop();
}

describe.skipIf(NO_TRACING !== "")("BroadcastSink", () => {
  test("two clients get every event, each from its own Hello on", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    const first = connectTcp(port);
    await first.untilSampling();
    callGetppid(1000);
    await first.until(() => first.reader.samples === 1000, "1000 samples");
    const second = connectTcp(port);
    await second.untilSampling();
    callGetppid(500, 1000);
    await first.until(() => first.reader.samples === 1500, "1500 samples");
    await second.until(() => second.reader.samples === 500, "500 samples");
    expect(ascending(first.reader.numbers)).toEqual(range(1500));
    expect(ascending(second.reader.numbers)).toEqual(range(500, 1000));
    const stopped = trace.stop();
    await first.until(() => first.hasEnded, "the end");
    await second.until(() => second.hasEnded, "the end");
    // The second one began while events ran: its counts cannot be compared, so it has no ledger.
    expect(await stopped).toEqual([{ produced: 1500, lostKernel: 0, dropped: 0, forwarded: 1500 }]);
    expect(first.reader.ledger()).toEqual({
      produced: 1500,
      lostKernel: 0,
      dropped: 0,
      final: true,
    });
    expect(second.reader.stats.at(-1)).toMatchObject({ cpus: [], final: true });
    for (const { reader } of [first, second]) {
      expect(reader.bye).toMatchObject({ reason: ByeReason.DONE });
      expect(reader.decoder.counters).toMatchObject({ garbageBytes: 0, sequenceGaps: 0 });
    }
    first.close();
    second.close();
  });

  test("events run only while somebody listens", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    callGetppid(100);
    const first = connectTcp(port);
    await first.untilSampling();
    callGetppid(10);
    await first.until(() => first.reader.samples === 10, "10 samples");
    first.bye();
    await first.until(() => first.hasEnded, "the end");
    expect(first.reader.ledger()).toMatchObject({ produced: 10, final: true });
    expect(first.reader.bye).toMatchObject({ reason: ByeReason.DETACHED });
    first.close();
    callGetppid(100);
    const second = connectTcp(port);
    await second.untilSampling();
    callGetppid(20);
    await second.until(() => second.reader.samples === 20, "20 samples");
    second.close();
    await trace.stop();
  });

  // Bursts beyond the span of one frame leave the slow client in mid-record.
  for (const [pages, burst, calls] of [
    ["128", 1000, 60_000],
    ["1024", 10_000, 100_000],
  ] as const) {
    test(`bursts of ${burst}: a client that never reads learns what it missed`, async () => {
      await checkSlowClient(pages, burst, calls);
    });
  }

  test("the agent ends although a client never reads, and its ledger says what that one lacks", async () => {
    const { trace, port } = await startBroadcast(["-m", "128"]);
    await using _ = trace;
    const slow = GuestClient.connectNarrow(port);
    await slow.untilReadable();
    const fast = connectTcp(port);
    await fast.untilSampling();
    await callAndRead(fast, 60_000);
    const [ledger] = await trace.stop();
    expect(ledger).toMatchObject({ produced: 60_000, lostKernel: 0 });
    expect(ledger!.dropped).toBeGreaterThan(0);
    fast.close();
    slow.close();
  });

  test("clients that go without a word, in mid-stream, disturb nobody", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    const staying = connectTcp(port);
    await staying.untilSampling();
    let called = 0;
    for (let i = 0; i < 8; i++) {
      const leaving = connectTcp(port);
      await leaving.untilReadable();
      callGetppid(3000, called);
      called += 3000;
      // Closing with unread bytes resets the connection.
      leaving.close();
      callGetppid(100, called);
      called += 100;
    }
    await staying.until(() => staying.reader.samples >= called, "all samples");
    expect(ascending(staying.reader.numbers)).toEqual(range(called));
    const stopped = trace.stop();
    await staying.until(() => staying.hasEnded, "the end");
    expect((await stopped)[0]).toMatchObject({ produced: called, lostKernel: 0, dropped: 0 });
    staying.close();
  });

  test("what a client sends is answered when it is a ping, and else ignored", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    const client = connectTcp(port);
    await client.untilSampling();
    const noise = Uint8Array.from({ length: 60_000 }, (_, i) => (i * 2654435761) >>> 13);
    client.sendBytes(noise);
    client.send(FrameType.ATTACH, {
      attachNonce: 1n,
      streamNonce: client.reader.hello!.streamNonce,
      resume: [],
      agentVersion: "test",
    });
    client.send(FrameType.ACK, { positions: [{ cpu: 0, position: 1n << 51n }] });
    client.send(FrameType.CONTROL, { id: 1, request: undefined });
    client.send(FrameType.PING, { seq: 7, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(7), "a pong");
    callGetppid(100);
    await client.until(() => client.reader.samples === 100, "100 samples");
    client.close();
    await trace.stop();
  });

  test("the 65th client is refused, and room made is room again", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    const clients: GuestClient[] = [];
    for (let i = 0; i < 64; i++) {
      clients.push(connectTcp(port));
      await clients.at(-1)!.untilReadable();
    }
    const refused = connectTcp(port);
    await refused.until(() => refused.hasEnded, "the refusal");
    await trace.agent.said(/64 are connected/);
    clients.pop()!.close();
    refused.close();
    const retry = async (): Promise<GuestClient | undefined> => {
      const client = connectTcp(port);
      await client.untilReadable();
      client.read();
      if (!client.hasEnded) return client;
      client.close();
      return undefined;
    };
    clients.push(await waitUntil(retry, DEADLINE_MS, "room for a client"));
    for (const client of clients) client.close();
    await trace.stop();
  });

  test("a bare port is loopback's", async () => {
    const { trace, port } = await startBroadcast();
    await using _ = trace;
    const hexPort = port.toString(16).toUpperCase().padStart(4, "0");
    const LISTEN = "0A";
    const listening = (file: string): string[] =>
      readFileSync(file, "utf8")
        .split("\n")
        .map((line) => line.trim().split(/\s+/))
        .filter(([, local, , state]) => local?.endsWith(`:${hexPort}`) && state === LISTEN)
        .map(([, local]) => local!);
    expect(listening("/proc/net/tcp")).toEqual([`0100007F:${hexPort}`]);
    expect(listening("/proc/net/tcp6")).toEqual([]);
    await trace.stop();
  });
});

const nothing = (): void => {};

describe("BroadcastSink, as a crowd sees it", () => {
  test("all clients have the time of one", async () => {
    const [CLIENTS, REQUESTS, BUSY_MS] = [4, 200, 1];
    const port = await freePort();
    let heard = 0;
    const host: SinkHost = {
      rings: [],
      begin: () => true,
      vanish: nothing,
      status: nothing,
      control: () => {
        heard++;
        for (const fromMs = performance.now(); performance.now() < fromMs + BUSY_MS; );
      },
      askSymbols: nothing,
      end: nothing,
      forget: nothing,
      missed: nothing,
    };
    const sink = new BroadcastSink({ kind: "tcp", host: "127.0.0.1", port }, host);
    const poll = new PollSet();
    /** One turn of the loop; gives how many descriptors it waited for. */
    const turn = (): number => {
      poll.clear();
      sink.register(poll);
      poll.wait(0);
      sink.service(poll);
      return poll.count;
    };
    const clients: GuestClient[] = [];
    try {
      for (let i = 0; i < CLIENTS; i++) {
        clients.push(GuestClient.connect({ kind: "tcp", host: "127.0.0.1", port }));
      }
      await waitUntil(() => turn() === 1 + CLIENTS, DEADLINE_MS, "all clients");
      for (const client of clients) {
        for (const id of range(REQUESTS)) {
          client.send(FrameType.CONTROL, { id, request: undefined });
        }
      }
      await waitUntil(() => turn() <= 1, DEADLINE_MS, "the end of their time");
      // Of their own each would have had as much: 200 ms.
      expect(heard).toBeGreaterThan(0);
      expect(heard).toBeLessThan((CLIENTS - 1) * REQUESTS);
    } finally {
      for (const client of clients) client.close();
      sink.close();
      poll.close();
    }
  });
});
