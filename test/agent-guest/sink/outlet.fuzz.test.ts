/** Outlet under any order of writes, reads and restarts: the stream stays whole. */
import { describe, expect, test } from "bun:test";
import fc from "fast-check";
import { PERF_RECORD_SAMPLE } from "../../../shared/perf/record.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { MappedRing } from "../support/mapped_ring.ts";
import { GATHERED, openOutlet, STAGED, sendNumber, settle } from "../support/outlet_fixture.ts";
import { Received, readAll } from "../support/received.ts";
import { SocketPair } from "../support/socket_pair.ts";

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

describe("Outlet", () => {
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
