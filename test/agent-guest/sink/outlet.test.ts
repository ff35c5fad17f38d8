/** Outlet on real sockets and files: whatever a descriptor takes, the frames stay whole. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { SPAN_BYTES_MAX, WAITING_BYTES_MAX } from "../../../agent-guest/sink/outlet.ts";
import { O_CREAT, O_WRONLY } from "../../../shared/sys/abi.ts";
import { readTsc } from "../../../shared/sys/clock.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { openFile } from "../../../shared/sys/fd.ts";
import { FrameType, PORT_WRITE_BYTES_MAX } from "../../../shared/wire/frame.ts";
import { FrameDecoder } from "../../../shared/wire/frame_decoder.ts";
import { decodeMessage } from "../../../shared/wire/message.ts";
import { PingView } from "../../../shared/wire/ping_frame.ts";
import { MappedRing } from "../support/mapped_ring.ts";
import { range } from "../support/numbers.ts";
import {
  FILE,
  GATHERED,
  openOutlet,
  STAGED,
  sendNumber,
  settle,
} from "../support/outlet_fixture.ts";
import { Received } from "../support/received.ts";
import { SocketPair } from "../support/socket_pair.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-outlet-"));
afterAll(() => rmSync(folder, { recursive: true }));

describe("Outlet", () => {
  for (const [name, options] of [
    ["gathered", GATHERED],
    ["staged", STAGED],
  ] as const) {
    test(`send() and sendRing() make a stream that decodes, ${name}`, () => {
      using pair = new SocketPair("stream", 4 * 1024 * 1024);
      using ring = new MappedRing(64 * 1024);
      const outlet = openOutlet(pair.writer, options);
      const received = new Received();
      ring.writeSamples(100, 96);
      sendNumber(outlet, 1);
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      sendNumber(outlet, 2);
      settle(outlet, pair, received);
      expect(received.types).toEqual([FrameType.PROGRESS, FrameType.SAMPLES, FrameType.PROGRESS]);
      expect(received.sequences).toEqual([0, 1, 2]);
      expect(received.spans[0]).toMatchObject({ cpu: 3, position: 0, recordStart: true });
      expect(received.joined()).toEqual(ring.bytesAt(0, 9600));
      expect(outlet.positions[0]).toBe(9600);
      expect([outlet.framesSent, outlet.isBlocked]).toEqual([3, false]);
      expect(outlet.bytesSent).toBe(received.decoder.counters.frameBytes);
      outlet.close();
    });

    test(`a span that wraps the ring comes in one piece, ${name}`, () => {
      using pair = new SocketPair("stream", 4 * 1024 * 1024);
      using ring = new MappedRing(4096, 2 ** 32 - 512);
      const outlet = openOutlet(pair.writer, options);
      const received = new Received();
      outlet.seek(0, ring.ring.tail);
      ring.writeSamples(10, 104);
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      settle(outlet, pair, received);
      expect(received.spans.length).toBe(1);
      expect(received.joined()).toEqual(ring.bytesAt(2 ** 32 - 512, 2 ** 32 - 512 + 1040));
      outlet.close();
    });
  }

  test("long stretches are cut, and only the first piece claims to begin a record", () => {
    using pair = new SocketPair("stream", 4 * 1024 * 1024);
    using ring = new MappedRing(1024 * 1024);
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    // 104 does not divide 256 KiB: the cut is within a record.
    ring.writeSamples(7000, 104);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    while (outlet.positions[0]! < ring.ring.head) {
      settle(outlet, pair, received);
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    }
    settle(outlet, pair, received);
    expect(received.spans.map(({ bytes }) => bytes.length)).toEqual([
      SPAN_BYTES_MAX,
      SPAN_BYTES_MAX,
      7000 * 104 - 2 * SPAN_BYTES_MAX,
    ]);
    expect(received.spans.map(({ recordStart }) => recordStart)).toEqual([true, false, false]);
    expect(received.joined()).toEqual(ring.bytesAt(0, 7000 * 104));
    outlet.close();
  });

  test("a staged write is one write, of at most what a virtio port takes", () => {
    using pair = new SocketPair("packets", 4 * 1024 * 1024);
    using ring = new MappedRing(256 * 1024);
    const outlet = openOutlet(pair.writer, STAGED);
    const received = new Received();
    ring.writeSamples(1500, 104);
    const writes: number[] = [];
    while (outlet.positions[0]! < ring.ring.head || outlet.isBlocked) {
      outlet.flush();
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      for (let chunk = pair.read(); chunk.length > 0; chunk = pair.read()) {
        writes.push(chunk.length);
        received.push(chunk);
      }
    }
    expect(writes.length).toBe(received.spans.length);
    expect(Math.max(...writes)).toBeLessThanOrEqual(PORT_WRITE_BYTES_MAX);
    expect(Math.max(...writes)).toBeGreaterThan(PORT_WRITE_BYTES_MAX - 64);
    expect(received.joined()).toEqual(ring.bytesAt(0, 1500 * 104));
    outlet.close();
  });

  test("the rest of a begun frame comes before everything else", () => {
    using pair = new SocketPair("stream");
    using ring = new MappedRing(256 * 1024);
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    ring.writeSamples(2000, 104);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    expect(outlet.isBlocked).toBe(true);
    const sent = outlet.positions[0]!;
    for (let i = 0; i < 10; i++) sendNumber(outlet, i);
    // Nothing of the ring goes out meanwhile, whatever it holds.
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    expect(outlet.positions[0]).toBe(sent);
    // What was begun has been copied: the kernel may have its ring back.
    const expected = ring.bytesAt(0, sent);
    ring.ring.data.fill(0xee);
    settle(outlet, pair, received);
    expect(received.joined()).toEqual(expected);
    expect(received.types).toEqual([
      FrameType.SAMPLES,
      ...new Array<FrameType>(10).fill(FrameType.PROGRESS),
    ]);
    expect(received.decoder.counters).toMatchObject({ garbageBytes: 0, sequenceGaps: 0 });
    outlet.close();
  });

  for (const options of [GATHERED, STAGED]) {
    test(`a descriptor that takes nothing begins no frame (staged: ${options.isStaged})`, () => {
      using pair = new SocketPair("stream");
      using ring = new MappedRing(64 * 1024);
      const filler = openOutlet(pair.writer, GATHERED);
      const received = new Received();
      let fillers = 0;
      while (!filler.isBlocked) sendNumber(filler, fillers++);
      const outlet = openOutlet(pair.writer, options);
      outlet.seek(0, 0);
      ring.writeSamples(10, 96);
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      expect([outlet.positions[0], outlet.isBlocked, outlet.framesSent]).toEqual([0, false, 0]);
      expect(outlet.failure).toBeUndefined();
      settle(filler, pair, received);
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      settle(outlet, pair, received);
      expect(received.progress.length).toBe(fillers);
      expect(received.spans.map(({ position }) => position)).toEqual([0]);
      expect(received.sequences.at(-1)).toBe(0);
    });
  }

  test("messages that find no room wait for it, and come in their order", () => {
    using pair = new SocketPair("stream");
    using ring = new MappedRing(64 * 1024);
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    // Six times what the waiting buffer takes.
    const comm = new Uint8Array(256 * 1024);
    const count = (6 * WAITING_BYTES_MAX) / comm.length;
    for (let pid = 1; pid <= count; pid++) {
      outlet.send(FrameType.TASK, { tasks: [{ pid, comm }] });
      expect(outlet.failure).toBeUndefined();
    }
    // Samples wait for them, too.
    ring.writeSamples(1, 96);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    expect([outlet.isBlocked, outlet.positions[0]]).toEqual([true, 0]);
    settle(outlet, pair, received);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    settle(outlet, pair, received);
    expect(received.sequences).toEqual(range(count + 1));
    expect(received.types).toEqual([...new Array(count).fill(FrameType.TASK), FrameType.SAMPLES]);
    expect(received.decoder.counters.garbageBytes).toBe(0);
    outlet.close();
  });

  test("restart() forgets messages that wait for room", () => {
    using pair = new SocketPair("stream");
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    const comm = new Uint8Array(256 * 1024);
    for (let pid = 1; pid <= 16; pid++) outlet.send(FrameType.TASK, { tasks: [{ pid, comm }] });
    outlet.restart();
    sendNumber(outlet, 7);
    settle(outlet, pair, received);
    // The one that was begun is finished.
    expect(received.types).toEqual([FrameType.TASK, FrameType.PROGRESS]);
    expect(received.progress).toEqual([7]);
    outlet.close();
  });

  test("a full waiting buffer is a failure, and said to be crowded before", () => {
    using pair = new SocketPair("stream");
    const outlet = openOutlet(pair.writer, GATHERED);
    const task = { tasks: new Array(500).fill({ pid: 1, comm: new Uint8Array(60) }) };
    let crowdedAt = 0;
    let frames = 0;
    while (outlet.failure === undefined) {
      outlet.send(FrameType.TASK, task);
      frames++;
      if (outlet.isCrowded && crowdedAt === 0) crowdedAt = frames;
    }
    expect(crowdedAt).toBeGreaterThan(0);
    expect(crowdedAt).toBeLessThan(frames * 0.6);
    expect(outlet.failure).toBeInstanceOf(RangeError);
    expect(outlet.failure.message).toMatch(
      /^Cannot send to the test: \d+ bytes wait already, it reads too slowly$/,
    );
    const bytes = Number(/\d+/.exec(outlet.failure.message)![0]);
    expect(bytes).toBeLessThanOrEqual(WAITING_BYTES_MAX);
    // What was accepted is whole.
    const { bytesSent } = outlet;
    outlet.send(FrameType.TASK, task);
    expect(outlet.bytesSent).toBe(bytesSent);
    outlet.close();
  });

  test("a peer that has gone is a failure, and nothing more is tried", () => {
    using pair = new SocketPair("stream");
    using ring = new MappedRing(4096);
    const outlet = openOutlet(pair.writer, GATHERED);
    pair.reader.close();
    sendNumber(outlet, 1);
    expect(outlet.failure).toBeInstanceOf(SysError);
    expect(outlet.failure!.message).toBe("Cannot write to the test: EPIPE (broken pipe)");
    ring.writeSamples(3, 96);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    sendNumber(outlet, 2);
    outlet.sendPong(new PingView(), new Uint32Array(2));
    expect([outlet.positions[0], outlet.bytesSent]).toEqual([0, 0]);
    outlet.close();
  });

  test("sendPong() answers with both stamps, the last one taken as it is written", () => {
    using pair = new SocketPair("stream");
    const outlet = openOutlet(pair.writer, GATHERED);
    const decoder = new FrameDecoder();
    const ping = new PingView();
    ping.seq = 77;
    ping.senderTsc.set([1, 2]);
    sendNumber(outlet, 1);
    const before = readTsc();
    outlet.sendPong(ping, Uint32Array.of(3, 4));
    const after = readTsc();
    decoder.push(pair.read());
    expect(decoder.next()!.type).toBe(FrameType.PROGRESS);
    const { type, bytes, payloadStart, payloadEnd } = decoder.next()!;
    expect(type).toBe(FrameType.PONG);
    const pong = decodeMessage(FrameType.PONG, bytes, payloadStart, payloadEnd);
    const { seq, echoTsc, receivedTsc, sentTsc } = pong;
    expect([seq, echoTsc, receivedTsc]).toEqual([77, (2n << 32n) | 1n, (4n << 32n) | 3n]);
    expect(before <= sentTsc && sentTsc <= after).toBe(true);
    outlet.close();
  });

  test("restart() finishes the frame that was begun, drops the rest and begins to count anew", () => {
    using pair = new SocketPair("stream");
    using ring = new MappedRing(256 * 1024);
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    ring.writeSamples(2000, 104);
    sendNumber(outlet, 1);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    const sent = outlet.positions[0]!;
    for (let number = 2; number < 10; number++) sendNumber(outlet, number);
    expect(outlet.isBlocked).toBe(true);
    outlet.restart();
    sendNumber(outlet, 100);
    settle(outlet, pair, received);
    expect(received.progress).toEqual([1, 100]);
    expect(received.joined().length).toBe(sent);
    expect(received.sequences).toEqual([0, 1, 0]);
    const { tornFrames, garbageBytes } = received.decoder.counters;
    expect([tornFrames, garbageBytes]).toEqual([0, 0]);
    outlet.restart();
    sendNumber(outlet, 101);
    settle(outlet, pair, received);
    expect(received.progress).toEqual([1, 100, 101]);
    outlet.close();
  });

  test("a file takes frames with checksums, and a full one fails", () => {
    using ring = new MappedRing(4096, 4096 - 256);
    const path = join(folder, "x.vms");
    const outlet = openOutlet(openFile(path, O_WRONLY | O_CREAT), FILE);
    outlet.seek(0, ring.ring.tail);
    ring.writeSamples(20, 104);
    sendNumber(outlet, 1);
    outlet.sendRing(0, ring.cpuRing, ring.ring.head);
    sendNumber(outlet, 2);
    outlet.close();
    const received = new Received();
    received.push(readFileSync(path));
    expect(received.joined()).toEqual(ring.bytesAt(4096 - 256, 4096 - 256 + 2080));
    expect(received.progress).toEqual([1, 2]);
    expect(received.decoder.counters).toMatchObject({ frames: 3, badChecksums: 0 });
    const full = openOutlet(openFile("/dev/full", O_WRONLY), FILE);
    sendNumber(full, 1);
    expect(full.failure!.message).toBe(
      "Cannot write to the test: ENOSPC (no space left on device)",
    );
    full.close();
  });

  test("wholeUpTo() is where the last record begins that has not been sent whole", () => {
    using pair = new SocketPair("stream");
    using ring = new MappedRing(256 * 1024);
    const outlet = openOutlet(pair.writer, GATHERED);
    const received = new Received();
    ring.writeSamples(2400, 104);
    expect(outlet.wholeUpTo(0, ring.cpuRing)).toBe(0);
    let isCut = false;
    while (outlet.positions[0]! < ring.ring.head) {
      outlet.sendRing(0, ring.cpuRing, ring.ring.head);
      const position = outlet.positions[0]!;
      const whole = outlet.wholeUpTo(0, ring.cpuRing);
      expect(whole).toBe(position - (position % 104));
      isCut ||= whole !== position;
      ring.ring.setTail(whole);
      settle(outlet, pair, received);
      // The kernel goes on writing; the outlet never asks for what was given back.
      if (ring.ring.head < 2_000_000) ring.writeSamples(100, 104);
    }
    expect(outlet.wholeUpTo(0, ring.cpuRing)).toBe(ring.ring.head);
    expect(isCut || received.spans.length > 1).toBe(true);
    outlet.close();
  });
});
