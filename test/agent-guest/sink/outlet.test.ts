/** Outlet on real sockets and files: whatever a descriptor takes, the frames stay whole. */
import { afterAll, describe, expect, test } from "bun:test";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import fc from "fast-check";
import {
  Outlet,
  type OutletOptions,
  SPAN_BYTES_MAX,
  WAITING_BYTES_MAX,
} from "../../../agent-guest/sink/outlet.ts";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { O_CREAT, O_WRONLY } from "../../../shared/sys/abi.ts";
import { SysError } from "../../../shared/sys/errno.ts";
import { type Fd, openFile } from "../../../shared/sys/fd.ts";
import { FrameType, PORT_WRITE_BYTES_MAX } from "../../../shared/wire/frame.ts";
import { PingView } from "../../../shared/wire/ping_frame.ts";
import { MappedRing } from "../support/mapped_ring.ts";
import { Received, readAll } from "../support/received.ts";
import { SocketPair } from "../support/socket_pair.ts";

const folder = mkdtempSync(join(tmpdir(), "vmspan-outlet-"));
afterAll(() => rmSync(folder, { recursive: true }));

const GATHERED: OutletOptions = { isStaged: false, hasChecksums: false };
const STAGED: OutletOptions = { isStaged: true, hasChecksums: false };
const FILE: OutletOptions = { isStaged: false, hasChecksums: true };

/** Drains both ends until nothing waits. */
function settle(outlet: Outlet, pair: SocketPair, into: Received): void {
  do readAll(pair, into);
  while (!outlet.flush() && outlet.failure === undefined);
  readAll(pair, into);
}

function sendNumber(outlet: Outlet, number: number): void {
  outlet.send(FrameType.PROGRESS, { tsc: BigInt(number) });
}

function openOutlet(fd: Fd, options: OutletOptions): Outlet {
  return new Outlet(fd, "the test", 1, options);
}

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

  test("restart() finds the begun frame wherever reading stopped and the buffer moved", () => {
    const reads = fc.array(fc.integer({ min: 1, max: 300_000 }), { minLength: 1, maxLength: 8 });
    fc.assert(
      fc.property(reads, (sizes) => {
        using pair = new SocketPair("stream");
        const outlet = openOutlet(pair.writer, GATHERED);
        const received = new Received();
        const task = { tasks: new Array(400).fill({ pid: 1, comm: new Uint8Array(60) }) };
        let restarts = 0;
        for (const size of sizes) {
          // Fills the buffer, so that some frames make room by moving others.
          while (!outlet.isCrowded) outlet.send(FrameType.TASK, task);
          for (let left = size; left > 0; ) {
            const chunk = pair.read(left);
            if (chunk.length === 0) break;
            received.push(chunk);
            left -= chunk.length;
            outlet.flush();
          }
          outlet.restart();
          sendNumber(outlet, restarts++);
        }
        settle(outlet, pair, received);
        expect(outlet.failure).toBeUndefined();
        expect(received.progress.at(-1)).toBe(restarts - 1);
        const { tornFrames, garbageBytes } = received.decoder.counters;
        expect([tornFrames, garbageBytes, received.decoder.pendingBytes]).toEqual([0, 0, 0]);
        outlet.close();
      }),
      { numRuns: 30 },
    );
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

  type Step =
    | { readonly kind: "records"; readonly eighths: readonly number[] }
    | { readonly kind: "send" | "control" | "flush" }
    | { readonly kind: "read"; readonly bytes: number };
  const step: fc.Arbitrary<Step> = fc.oneof(
    fc.record({
      kind: fc.constant("records" as const),
      eighths: fc.array(fc.integer({ min: 1, max: 200 }), { maxLength: 20 }),
    }),
    fc.record({ kind: fc.constantFrom("send" as const, "send", "control", "flush") }),
    fc.record({ kind: fc.constant("read" as const), bytes: fc.integer({ min: 1, max: 9000 }) }),
  );

  test("whatever the order of writes and reads, the stream is whole and in order", () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60 }), fc.boolean(), (steps, isStaged) => {
        using pair = new SocketPair("stream");
        using ring = new MappedRing(32 * 1024, 2 ** 32 - 20_000);
        const outlet = openOutlet(pair.writer, isStaged ? STAGED : GATHERED);
        const received = new Received();
        const written: number[] = [];
        outlet.seek(0, ring.ring.tail);
        let controls = 0;
        for (const each of steps) {
          if (each.kind === "records") {
            for (const eighth of each.eighths) {
              // As the kernel does, which drops what finds no room.
              if (ring.ring.head - ring.ring.tail + eighth * 8 > ring.ring.bytes) break;
              const before = ring.ring.head;
              ring.write(PERF_RECORD_SAMPLE, eighth * 8, written.length);
              written.push(...ring.bytesAt(before, ring.ring.refreshHead()));
            }
          } else if (each.kind === "send") {
            outlet.sendRing(0, ring.cpuRing, ring.ring.head);
            ring.ring.setTail(outlet.wholeUpTo(0, ring.cpuRing));
          } else if (each.kind === "control") sendNumber(outlet, controls++);
          else if (each.kind === "read") received.push(pair.read(each.bytes));
          else outlet.flush();
        }
        while (outlet.isBlocked || outlet.positions[0]! < ring.ring.head) {
          settle(outlet, pair, received);
          outlet.sendRing(0, ring.cpuRing, ring.ring.head);
        }
        readAll(pair, received);
        expect([...received.joined()]).toEqual(written);
        expect(received.progress).toEqual(Array.from({ length: controls }, (_, i) => i));
        expect(received.sequences).toEqual(received.sequences.map((_, i) => i));
        outlet.close();
      }),
      { numRuns: 300 },
    );
  });
});
