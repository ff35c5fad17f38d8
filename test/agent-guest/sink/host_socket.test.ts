/**
 * push=unix:PATH: one host at a time, which may be killed and come back without losing an event.
 */
import { describe, expect, test } from "bun:test";
import { existsSync, statSync } from "node:fs";
import { listenOn } from "../../../shared/sys/socket.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { ByeReason, ErrorCode } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { callGetppid, NO_TRACING, OWN_GETPPID } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { DEADLINE_MS, GuestClient } from "../support/guest_client.ts";
import { ascending, range } from "../support/numbers.ts";
import type { StreamReader } from "../support/stream_reader.ts";
import { startTrace, startTraceOf, type Trace } from "../support/trace.ts";

function startUnix(args: readonly string[] = []): Promise<Trace> {
  return startTrace("unix:FOLDER/s", args);
}

function connectUnix(trace: Trace, reader?: StreamReader): GuestClient {
  return GuestClient.connect({ kind: "unix", path: trace.workspace.file("s") }, reader);
}

/** Connects as soon as the agent has noticed that the host before is gone. */
async function reconnect(trace: Trace, gone: number, reader?: StreamReader): Promise<GuestClient> {
  const count = (): number => trace.agent.stderr.split("Disconnected from").length - 1;
  await waitUntil(() => count() >= gone, DEADLINE_MS, `${gone} hosts to be gone`);
  return connectUnix(trace, reader);
}

async function attachTo(trace: Trace): Promise<GuestClient> {
  const client = connectUnix(trace);
  client.attach();
  await client.untilSampling();
  return client;
}

describe.skipIf(NO_TRACING !== "")("HostSocketSink", () => {
  test("nothing is sent and nothing sampled before a host attaches", async () => {
    await using trace = await startUnix();
    const client = connectUnix(trace);
    await trace.agent.said(/^Connected to unix:/m);
    callGetppid(100);
    client.send(FrameType.PING, { seq: 5, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(5), "a pong");
    expect(client.reader.frameTypes).toEqual([FrameType.PONG]);
    client.attach();
    await client.untilSampling();
    const { twoWay, attachNonce } = client.reader.hello!;
    expect([twoWay, attachNonce]).toEqual([true, 2n]);
    callGetppid(50);
    await client.until(() => client.reader.samples === 50, "50 samples");
    client.close();
  });

  test("samples are acknowledged, and the ledger says how far", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    client.isAcknowledging = true;
    callGetppid(2000);
    await client.until(() => client.reader.samples === 2000, "2000 samples");
    client.acknowledge();
    const stopped = trace.stop();
    await client.until(() => client.hasEnded, "the end");
    expect(await stopped).toEqual([{ produced: 2000, lostKernel: 0, dropped: 0, forwarded: 2000 }]);
    expect(ascending(client.reader.numbers)).toEqual(range(2000));
    for (const cpu of client.reader.stats.at(-1)!.cpus) {
      expect([cpu.sentPosition, cpu.ackedPosition]).toEqual([cpu.headPosition, cpu.headPosition]);
    }
    expect(client.reader.bye).toMatchObject({ reason: ByeReason.DONE });
    client.close();
  });

  test("an acknowledged ring has room again, one that is not fills up", async () => {
    await using trace = await startUnix(["-m", "16"]);
    const client = await attachTo(trace);
    for (let i = 0; i < 20; i++) {
      callGetppid(200, i * 200);
      await client.until(() => client.reader.samples === (i + 1) * 200, "200 samples");
      client.acknowledge();
    }
    // The last acknowledgement has been read once a ping behind it is answered.
    client.send(FrameType.PING, { seq: 1, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(1), "a pong");
    // 64 KiB hold some 600 events; without acknowledgements the kernel has no room for more.
    callGetppid(3000, 4000);
    const stopped = trace.stop();
    await client.until(() => client.reader.bye !== undefined, "the end");
    const [ledger] = await stopped;
    expect(ledger!.produced).toBe(7000);
    expect(ledger!.lostKernel).toBeGreaterThan(1000);
    expect(client.reader.samples + ledger!.lostKernel).toBe(7000);
    client.close();
  });

  /** A host that says goodbye, but has what it was sent kept, and takes all of it. */
  async function partFrom(client: GuestClient, called: number): Promise<void> {
    const { reader } = client;
    await client.until(() => reader.samples === called, `${called} samples`);
    client.bye(true);
    await client.until(() => reader.bye !== undefined, "its goodbye");
    expect(reader.stats.at(-1)!.final).toBe(true);
    // Nothing is recorded for a host that has left.
    callGetppid(70, called);
  }

  test("a host that is killed behind its goodbye finds what it has not acknowledged", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(200);
    await partFrom(client, 200);
    const nonce = client.reader.hello!.streamNonce;
    client.close();
    const next = await reconnect(trace, 1);
    next.reader.hello = client.reader.hello;
    next.attach({ resume: true, positions: [] });
    await next.until(() => next.reader.samples >= 200, "what was sent before");
    expect(next.reader.hello!.streamNonce).toBe(nonce);
    callGetppid(100, 200);
    await next.until(() => next.reader.samples >= 300, "what came since");
    expect(ascending(next.reader.numbers)).toEqual(range(300));
    next.acknowledge();
    const stopped = trace.stop();
    await next.until(() => next.hasEnded, "the end");
    expect(await stopped).toEqual([{ produced: 300, lostKernel: 0, dropped: 0, forwarded: 300 }]);
    next.close();
  });

  test("it finds its ledger, too, when it has acknowledged everything before", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(200);
    await client.until(() => client.reader.samples === 200, "200 samples");
    client.acknowledge();
    await partFrom(client, 200);
    const { hello } = client.reader;
    client.close();
    const next = await reconnect(trace, 1, client.reader);
    next.reader.reconnect();
    next.attach({ resume: true });
    await next.untilSampling();
    expect(next.reader.hello!.streamNonce).toBe(hello!.streamNonce);
    const stopped = trace.stop();
    expect(await stopped).toEqual([{ produced: 200, lostKernel: 0, dropped: 0, forwarded: 200 }]);
    next.close();
  });

  test("once that is acknowledged, the stream is over, and the next has another name", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(200);
    await partFrom(client, 200);
    client.acknowledge();
    const { hello } = client.reader;
    client.close();
    const next = await reconnect(trace, 1);
    next.reader.hello = hello;
    next.attach({ resume: true });
    await next.untilSampling();
    expect(next.reader.hello!.streamNonce).not.toBe(hello!.streamNonce);
    callGetppid(100, 200);
    await next.until(() => next.reader.samples === 100, "what came since");
    expect(trace.agent.stderr).not.toContain("did not come back");
    next.close();
  });

  test("a host killed again and again receives every event exactly once", async () => {
    await using trace = await startUnix();
    let client = await attachTo(trace);
    const { reader } = client;
    let called = 0;
    // Reads of odd sizes cut frames, spans and records anywhere; some rounds acknowledge.
    for (let round = 1; round <= 25; round++) {
      const calls = (round * 97) % 400;
      callGetppid(calls, called);
      called += calls;
      await client.untilReadable();
      client.read((round * 7919) % 40_000);
      if (round % 3 === 0) client.acknowledge();
      client.close();
      callGetppid(50, called);
      called += 50;
      reader.reconnect();
      client = await reconnect(trace, round, reader);
      client.attach({ resume: true });
    }
    await client.until(() => reader.samples >= called, `all ${called} samples`);
    expect(ascending(reader.numbers)).toEqual(range(called));
    expect(reader.gaps).toEqual([]);
    client.acknowledge();
    const stopped = trace.stop();
    await client.until(() => client.hasEnded, "the end");
    expect(await stopped).toEqual([
      { produced: called, lostKernel: 0, dropped: 0, forwarded: called },
    ]);
    expect(reader.ledger()).toEqual({ produced: called, lostKernel: 0, dropped: 0, final: true });
    client.close();
  });

  test("while no host is there the ring keeps what it can, the kernel counts the rest", async () => {
    await using trace = await startUnix(["-m", "16"]);
    const first = await attachTo(trace);
    callGetppid(100);
    await first.until(() => first.reader.samples === 100, "100 samples");
    first.close();
    await trace.agent.said(/Disconnected from/);
    callGetppid(5000, 100);
    first.reader.reconnect();
    const second = await reconnect(trace, 1, first.reader);
    second.attach({ resume: true });
    second.isAcknowledging = true;
    await second.untilSampling();
    await second.until(() => second.reader.samples > 100, "what the ring held");
    const stopped = trace.stop();
    await second.until(() => second.hasEnded, "the end");
    const [ledger] = await stopped;
    expect(ledger!.produced).toBe(5100);
    expect(ledger!.lostKernel).toBeGreaterThan(3000);
    expect(second.reader.samples + ledger!.lostKernel).toBe(5100);
    expect(new Set(second.reader.numbers).size).toBe(second.reader.samples);
    second.close();
  });

  test("the agent outlives a host that was killed, for longer than its messages take", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(10);
    // With all read, the agent sees an end and no failed write.
    await client.until(() => client.reader.samples === 10, "10 samples");
    client.close();
    await trace.agent.said(/Disconnected from/);
    // Clock readings follow every second, statistics too: none may go to the host that is gone.
    const startMs = performance.now();
    await waitUntil(
      () => trace.agent.hasEnded || performance.now() - startMs > 2500,
      DEADLINE_MS,
      "2.5 s",
    );
    expect(trace.agent.hasEnded).toBe(false);
    const again = await reconnect(trace, 1);
    again.attach();
    await again.untilSampling();
    again.close();
  });

  test("what waits for a host that does not come back is in the ledger at the end", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(100);
    await client.until(() => client.reader.samples === 100, "100 samples");
    client.acknowledge();
    client.send(FrameType.PING, { seq: 1, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(1), "a pong");
    client.close();
    await trace.agent.said(/Disconnected from/);
    callGetppid(40, 100);
    expect(await trace.stop()).toEqual([
      { produced: 140, lostKernel: 0, dropped: 40, forwarded: 100 },
    ]);
    expect(trace.agent.stderr).toContain("host did not come back: 40");
  });

  test("another host begins anew, and what waited for the first one is said to be gone", async () => {
    await using trace = await startUnix();
    const first = await attachTo(trace);
    first.close();
    await trace.agent.said(/Disconnected from/);
    callGetppid(30);
    const second = await reconnect(trace, 1);
    second.attach();
    await second.untilSampling();
    await trace.agent.said(/30 events waited for a host that did not come back/);
    callGetppid(20, 1000);
    await second.until(() => second.reader.samples === 20, "20 samples");
    expect(ascending(second.reader.numbers)).toEqual(range(20, 1000));
    second.acknowledge();
    const stopped = trace.stop();
    await second.until(() => second.hasEnded, "the end");
    expect(await stopped).toEqual([{ produced: 20, lostKernel: 0, dropped: 0, forwarded: 20 }]);
    second.close();
  });

  test("a host that attaches twice on one connection resumes, or begins anew, as it says", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(100);
    await client.until(() => client.reader.samples === 100, "100 samples");
    client.attach({ resume: true });
    await client.until(() => client.reader.hello!.attachNonce === 2n, "the second Hello");
    callGetppid(100, 100);
    await client.until(() => client.reader.samples >= 200, "200 samples");
    expect(ascending(client.reader.numbers)).toEqual(range(200));
    client.attach();
    await client.until(() => client.reader.hello!.attachNonce === 3n, "the third Hello");
    await client.untilSampling();
    callGetppid(10, 500);
    await client.until(() => client.reader.numbers.includes(509), "the last sample");
    client.close();
  });

  test("Bye closes the books at once, and events stop", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(300);
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(client.reader.bye).toMatchObject({ reason: ByeReason.DETACHED });
    expect(client.reader.samples).toBe(300);
    expect(client.reader.ledger()).toMatchObject({ produced: 300, final: true });
    callGetppid(300, 300);
    client.attach();
    await client.untilSampling();
    callGetppid(10, 1000);
    await client.until(() => client.reader.numbers.includes(1009), "the last sample");
    expect(client.reader.samples).toBe(310);
    client.close();
  });

  test("a second host is told that the first one is there, and the first one goes on", async () => {
    await using trace = await startUnix();
    const first = await attachTo(trace);
    const second = connectUnix(trace);
    await second.until(() => second.hasEnded, "the refusal");
    expect(second.reader.errors).toMatchObject([
      { code: ErrorCode.BUSY, message: expect.stringMatching(/process \d+ \(.+\) is attached$/) },
    ]);
    second.close();
    callGetppid(100);
    await first.until(() => first.reader.samples === 100, "100 samples");
    first.close();
  });

  test("nothing that a host sends ends the agent", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    callGetppid(200);
    await client.until(() => client.reader.samples === 200, "200 samples");
    const { cpus } = client.reader.hello!;
    const ack = (position: bigint, cpu = cpus[0]!.cpu): void =>
      client.send(FrameType.ACK, { positions: [{ cpu, position }] });
    for (const position of [0n, 1n << 40n, (1n << 64n) - 1n]) ack(position);
    ack(0n, 4000);
    // Into the middle of a record: the ring is given back up to there, which counts nothing twice.
    for (const { cpu, position } of client.reader.positions()) ack(position - 12n, cpu);
    client.send(FrameType.HELLO, client.reader.hello!);
    client.send(FrameType.CONTROL, { id: 3, request: { $case: "list", value: { pattern: "*" } } });
    client.sendBytes(Uint8Array.from({ length: 50_000 }, (_, i) => (i * 2654435761) >>> 11));
    client.attach({ resume: true, positions: [{ cpu: cpus[0]!.cpu, position: 3n }] });
    client.attach({ resume: true, positions: [{ cpu: 99, position: 1n << 60n }] });
    client.send(FrameType.PING, { seq: 9, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(9), "a pong");
    client.close();
    callGetppid(100, 200);
    await trace.stop();
  });

  test("the socket is for root and its group, and goes with the agent", async () => {
    await using trace = await startUnix();
    const path = trace.workspace.file("s");
    expect(statSync(path).mode & 0o777).toBe(0o660);
    await trace.stop("SIGTERM");
    expect(existsSync(path)).toBe(false);
  });

  test("a socket that a killed agent left is taken over", async () => {
    await using trace = await startTraceOf((workspace) => {
      listenOn({ kind: "unix", path: workspace.file("s") }).close();
      // As a bare path, too: what lies there is a socket.
      return [`${OWN_GETPPID()}push=${workspace.file("s")}/`];
    });
    const client = await attachTo(trace);
    client.close();
  });

  test("an agent without a host idles", async () => {
    await using trace = await startUnix();
    const client = await attachTo(trace);
    client.close();
    await trace.agent.said(/Disconnected from/);
    const [startMs, startCpu] = [performance.now(), trace.agent.cpuSeconds()];
    await waitUntil(() => performance.now() - startMs > 1000, DEADLINE_MS, "one second");
    expect(trace.agent.cpuSeconds() - startCpu).toBeLessThan(0.3);
  });
});
