/** push=/dev/...: a pseudo terminal is the character device, its master end plays QEMU's part. */
import { describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { LEAVE_MS_MAX } from "../../../agent-guest/sink/acked_link.ts";
import type { Outlet } from "../../../agent-guest/sink/outlet.ts";
import { PortSink } from "../../../agent-guest/sink/port_sink.ts";
import type { SinkHost } from "../../../agent-guest/sink/sink.ts";
import { PollSet } from "../../../shared/sys/poll.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import { ByeReason } from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { openPty } from "../../bench/pty.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { waitUntil } from "../../vm/deadline.ts";
import { DEADLINE_MS, GuestClient } from "../support/guest_client.ts";
import { ascending, range } from "../support/numbers.ts";
import { startTrace, type Trace } from "../support/trace.ts";

const noPty = NO_TRACING !== "" || !existsSync("/dev/ptmx");
if (noPty && NO_TRACING === "") console.warn("skipped: ports: there is no /dev/ptmx");

class Port {
  readonly trace: Trace;
  readonly client: GuestClient;

  constructor(trace: Trace, client: GuestClient) {
    this.trace = trace;
    this.client = client;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.client.close();
    await this.trace[Symbol.asyncDispose]();
  }
}

async function openPort(args: readonly string[] = []): Promise<Port> {
  const pty = openPty();
  const trace = await startTrace(pty.path, args);
  // From here on the agent holds the slave: when the master goes, so does the port.
  await trace.agent.said(/^Connected to "\/dev\/pts/m);
  pty.slave.close();
  return new Port(trace, new GuestClient(pty.master));
}

async function cpuSecondsWithin(trace: Trace, milliseconds: number): Promise<number> {
  const [startMs, startCpu] = [performance.now(), trace.agent.cpuSeconds()];
  const isOver = (): boolean => performance.now() - startMs > milliseconds;
  await waitUntil(isOver, DEADLINE_MS, `${milliseconds} ms`);
  return trace.agent.cpuSeconds() - startCpu;
}

describe.skipIf(noPty)("PortSink", () => {
  test("a host attaches, takes every event, acknowledges and says goodbye", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.attach();
    client.isAcknowledging = true;
    await client.untilSampling();
    const { twoWay, attachNonce } = client.reader.hello!;
    expect([twoWay, attachNonce]).toEqual([true, 1n]);
    callGetppid(3000);
    await client.until(() => client.reader.samples === 3000, "3000 samples");
    expect(ascending(client.reader.numbers)).toEqual(range(3000));
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(client.reader.bye).toMatchObject({ reason: ByeReason.DETACHED });
    expect(client.reader.ledger()).toEqual({
      produced: 3000,
      lostKernel: 0,
      dropped: 0,
      final: true,
    });
    expect(client.reader.decoder.counters).toMatchObject({ garbageBytes: 0, sequenceGaps: 0 });
    await trace.stop();
  });

  test("nothing is written before a host attaches", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    callGetppid(100);
    expect(await cpuSecondsWithin(trace, 1000)).toBeLessThan(0.3);
    expect(client.read()).toBe(0);
    client.send(FrameType.PING, { seq: 3, senderTsc: 1n, awaitUs: 0 });
    await client.until(() => client.reader.pongs.includes(3), "a pong");
    expect(client.reader.frameTypes).toEqual([FrameType.PONG]);
    await trace.stop();
  });

  test("of hosts that attached one after the other the last is answered", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    const writer = new FrameWriter();
    const frames = range(20, 1).map((nonce) => {
      const attach = { attachNonce: BigInt(nonce), streamNonce: 0n, resume: [], agentVersion: "" };
      return [...writer.encode(FrameType.ATTACH, attach, nonce)];
    });
    client.sendBytes(Uint8Array.from(frames.flat()));
    await client.until(() => client.reader.hello?.attachNonce === 20n, "the last Hello");
    const hellos = client.reader.frameTypes.filter((type) => type === FrameType.HELLO);
    // A wake-up may come when only some have been written.
    expect(hellos.length).toBeLessThan(5);
    client.isAcknowledging = true;
    await client.untilSampling();
    callGetppid(10);
    await client.until(() => client.reader.samples === 10, "10 samples");
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(client.reader.ledger()).toMatchObject({ produced: 10, dropped: 0, final: true });
    await trace.stop();
  });

  test("a host that stops reading stalls nobody, and gets all of it when it reads again", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.attach();
    await client.untilSampling();
    // A pty holds some 8 KiB: most of this waits in the rings.
    callGetppid(4000);
    expect(await cpuSecondsWithin(trace, 1000)).toBeLessThan(0.3);
    expect(trace.agent.hasEnded).toBe(false);
    client.isAcknowledging = true;
    await client.until(() => client.reader.samples === 4000, "4000 samples");
    expect(ascending(client.reader.numbers)).toEqual(range(4000));
    expect(client.reader.decoder.counters).toMatchObject({ garbageBytes: 0, tornFrames: 0 });
    const stopped = trace.stop();
    await client.until(() => client.reader.bye !== undefined, "the end");
    expect(await stopped).toEqual([{ produced: 4000, lostKernel: 0, dropped: 0, forwarded: 4000 }]);
  });

  test("a host that says goodbye gets the rest, as fast as it reads", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.attach();
    client.isAcknowledging = true;
    await client.untilSampling();
    // Most of this waits in the rings: a pty holds some 8 KiB.
    callGetppid(2000);
    client.bye();
    await client.until(() => client.reader.bye !== undefined, "the answer");
    expect(ascending(client.reader.numbers)).toEqual(range(2000));
    expect(client.reader.ledger()).toMatchObject({ produced: 2000, dropped: 0, final: true });
    await trace.stop();
  });

  test("a host that says goodbye and does not read is waited for a second", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.attach();
    await client.untilSampling();
    callGetppid(4000);
    client.bye();
    const cpu = await cpuSecondsWithin(trace, LEAVE_MS_MAX + 500);
    expect(cpu).toBeLessThan(0.3);
    await client.until(() => client.reader.bye !== undefined, "the answer");
    const { produced, dropped } = client.reader.ledger();
    expect(produced).toBe(4000);
    expect(dropped).toBeGreaterThan(0);
    expect(client.reader.samples + dropped).toBe(4000);
    client.attach();
    await client.until(() => client.reader.frameTypes.at(-1) !== FrameType.BYE, "another stream");
    await trace.stop();
  });

  test("hosts that are replaced in mid-frame go on where they stood, or begin anew", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    const { reader } = client;
    client.attach();
    await client.untilSampling();
    let called = 0;
    for (let round = 1; round <= 12; round++) {
      callGetppid(500, called);
      called += 500;
      await client.untilReadable();
      client.read(round * 1237);
      if (round % 2 === 0) client.acknowledge();
      // The next host finds the rest of the last frame in front of its Hello.
      reader.reconnect();
      client.attach({ resume: true });
      const nonce = reader.hello!.attachNonce;
      await client.until(() => reader.hello!.attachNonce !== nonce, "another Hello");
    }
    await client.until(() => reader.samples >= called, "all samples");
    expect(ascending(reader.numbers)).toEqual(range(called));
    expect(reader.gaps).toEqual([]);
    client.attach();
    await client.untilSampling();
    callGetppid(100, 1_000_000);
    await client.until(() => reader.numbers.includes(1_000_099), "the last sample");
    client.acknowledge();
    const stopped = trace.stop();
    await client.until(() => reader.bye !== undefined, "the end");
    expect(await stopped).toEqual([{ produced: 100, lostKernel: 0, dropped: 0, forwarded: 100 }]);
  });

  test("a port that goes away for good ends the agent with an error", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.attach();
    await client.untilSampling();
    callGetppid(10);
    await client.until(() => client.reader.samples === 10, "10 samples");
    client.close();
    expect(await trace.agent.end()).toEqual({ code: 1, signal: null });
    expect(trace.agent.stderr).toContain("EIO (input/output error)\nHINT: the port was unplugged");
  });

  test("noise on the port is skipped", async () => {
    await using port = await openPort();
    const { trace, client } = port;
    client.sendBytes(Uint8Array.from({ length: 3000 }, (_, i) => (i * 2654435761) >>> 11));
    client.attach();
    await client.untilSampling();
    callGetppid(10);
    await client.until(() => client.reader.samples === 10, "10 samples");
    client.acknowledge();
    await trace.stop("SIGTERM");
  });

  test("a host that lets its answers pile up has vanished, and the next one is served", async () => {
    const pty = openPty();
    const said: string[] = [];
    const begun: bigint[] = [];
    const vanished: Outlet[] = [];
    let outlet: Outlet | undefined;
    const host: SinkHost = {
      rings: [],
      begin: (to, attach) => {
        outlet = to;
        begun.push(attach!.attachNonce);
        return true;
      },
      vanish: (from) => vanished.push(from),
      status: (text) => said.push(text),
      control: () => {},
      askSymbols: () => {},
      end: () => {},
      forget: () => {},
      missed: () => {},
    };
    const sink = new PortSink(pty.path, host);
    const client = new GuestClient(pty.master);
    const poll = new PollSet();
    const hasBegun = (times: number): boolean => {
      poll.clear();
      sink.register(poll);
      poll.wait(10);
      sink.service(poll);
      return begun.length === times;
    };
    try {
      client.attach();
      await waitUntil(() => hasBegun(1), DEADLINE_MS, "a stream");
      const tasks = [{ pid: 1, comm: new Uint8Array(64 * 1024) }];
      while (outlet!.failure === undefined) outlet!.send(FrameType.TASK, { tasks });
      expect(sink.failure).toBeUndefined();
      sink.register(poll);
      expect(vanished).toEqual([outlet!]);
      expect(outlet!.failure).toBeUndefined();
      expect(said[1]).toMatch(/^Cannot send to "\/dev\/pts\/\d+": \d+ bytes wait already/);
      expect(said.slice(2)).toEqual([`Disconnected from "${pty.path}"`]);
      client.attach();
      await client.until(() => hasBegun(2), "another stream");
      expect(said.at(-1)).toBe(`Connected to "${pty.path}"`);
    } finally {
      poll.close();
      sink.close();
      client.close();
      pty.slave.close();
    }
  });
});
