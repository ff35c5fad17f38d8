/**
 * Hostile requests: whatever a host says in Control, the guest answers or skips it, opens nothing
 * that it was not allowed to, and goes on serving.
 */
import { describe, expect, setDefaultTimeout, test } from "bun:test";
import fc from "fast-check";
import { isBug } from "../../../agent-guest/serve/control_error.ts";
import { checkOpenEvents, resolveOrder } from "../../../agent-guest/serve/event_requests.ts";
import { LIMITS_DEFAULT } from "../../../agent-guest/serve/limits.ts";
import { Tracefs } from "../../../shared/tracefs/tracefs.ts";
import { FrameType } from "../../../shared/wire/frame.ts";
import { FrameWriter } from "../../../shared/wire/frame_writer.ts";
import {
  type Control,
  type EventRequest,
  OpenEvents,
} from "../../../shared/wire/gen/vmspan/v1/channel.ts";
import { NIGHTLY } from "../../nightly.ts";
import { callGetppid, NO_TRACING } from "../../shared/event/kernel.ts";
import { eventRequest, ownCalls, startServe } from "../support/serve.ts";

setDefaultTimeout(120_000);

const CHECKED_RUNS = NIGHTLY ? 200_000 : 3000;
const SENT_RUNS = NIGHTLY ? 5000 : 300;
/** Requests sent without waiting: more than the guest lets wait. */
const BURST = 12;

const text = fc.oneof(
  fc.string({ maxLength: 40 }),
  fc.constantFrom("irq", "*", "../..", "irq_handler_entry", "a".repeat(5000), "\0", "[", "irq==1"),
);

const anyRequest: fc.Arbitrary<EventRequest> = fc.record({
  kind: fc.integer({ min: -1, max: 9 }) as fc.Arbitrary<EventRequest["kind"]>,
  system: text,
  name: text,
  alias: text,
  filter: text,
  definition: fc.oneof(
    text,
    fc.constantFrom("uprobe:main@/bin/ls", "kprobe:do_exit x=%di", "irq:*"),
  ),
  cpus: fc.array(fc.nat(), { maxLength: 4 }),
  threadIds: fc.boolean(),
  callChain: fc.boolean(),
  maxStack: fc.nat(200),
  callChainPart: fc.nat(5) as fc.Arbitrary<EventRequest["callChainPart"]>,
});

const anyOpen = fc.record({
  events: fc.array(anyRequest, { maxLength: 4 }),
  ringBytes: fc.oneof(fc.constant(0), fc.nat(), fc.constantFrom(4096, 2 ** 31, 65_536)),
  watermarkBytes: fc.nat(),
});

describe("checkOpenEvents", () => {
  test("checkOpenEvents() of anything gives an order within the limits, or a typed error", () => {
    fc.assert(
      fc.property(anyOpen, (open) => {
        try {
          const { specs, ringBytes, watermarkBytes } = checkOpenEvents(open, LIMITS_DEFAULT);
          expect(specs.length).toBe(open.events.length);
          expect(specs.every(({ probe }) => probe === undefined)).toBe(true);
          expect(ringBytes).toBeLessThanOrEqual(LIMITS_DEFAULT.ringBytesMax);
          expect(watermarkBytes).toBeLessThanOrEqual(ringBytes);
        } catch (error) {
          expect(isBug(error)).toBe(false);
        }
      }),
      { numRuns: CHECKED_RUNS },
    );
  });

  test.skipIf(NO_TRACING !== "")("resolveOrder() never finds what is denied", () => {
    const limits = { ...LIMITS_DEFAULT, allow: ["irq:*"], deny: ["irq:softirq_*"] };
    const tracefs = Tracefs.open();
    const name = fc.constantFrom("*", "softirq_entry", "irq_handler_entry", "s*", "sched_switch");
    const system = fc.constantFrom("*", "irq", "sched", "i?q", "[is]*");
    fc.assert(
      fc.property(system, name, (wantedSystem, wantedName) => {
        const request = {
          events: [eventRequest(wantedSystem, wantedName)],
          ringBytes: 0,
          watermarkBytes: 0,
        };
        try {
          const events = resolveOrder(checkOpenEvents(request, limits), limits, tracefs);
          expect(events.every((event) => event.system === "irq")).toBe(true);
          expect(events.some((event) => event.name.startsWith("softirq_"))).toBe(false);
          expect(events.length).toBeGreaterThan(0);
        } catch (error) {
          expect(isBug(error)).toBe(false);
        }
      }),
    );
  });
});

describe.skipIf(NO_TRACING !== "")("a guest that serves", () => {
  test("outlives whatever bytes its host sends as Control, and serves on", async () => {
    await using served = await startServe(["--allow", "irq:irq_handler_entry,raw_syscalls"]);
    const host = await served.attach();
    const writer = new FrameWriter();
    const request = fc.oneof(
      fc.record({ $case: fc.constant("open" as const), value: anyOpen }),
      fc.record({
        $case: fc.constant("close" as const),
        value: fc.record({ indexes: fc.array(fc.nat(), { maxLength: 5 }) }),
      }),
      fc.record({ $case: fc.constant("list" as const), value: fc.record({ pattern: text }) }),
      fc.record({ $case: fc.constant("describe" as const), value: fc.record({ pattern: text }) }),
      fc.constant(undefined),
    );
    const control = fc.record({ id: fc.nat(), request }) as fc.Arbitrary<Control>;
    const flips = fc.array(fc.tuple(fc.nat(), fc.nat(255)), { maxLength: 4 });
    const sample = fc.sample(fc.tuple(control, flips), SENT_RUNS);
    for (const [index, [message, places]] of sample.entries()) {
      const frame = writer.encode(FrameType.CONTROL, message, 0).slice();
      // The header stays: what is behind it is the request, and shall arrive.
      for (const [at, byte] of places) {
        if (frame.length > 16) frame[16 + (at % (frame.length - 16))] = byte;
      }
      host.client.sendBytes(frame);
      if (index % BURST !== 0) continue;
      // A pong tells that all before it has been read: what is sent next finds room.
      const { pongs } = host.reader;
      const seq = index + 1;
      host.client.send(FrameType.PING, { seq, senderTsc: 1n, awaitUs: 0 });
      await host.client.until(() => pongs.includes(seq), "the pong");
    }
    await host.client.until(() => host.reader.replies.length > 0, "answers");
    host.client.close();
    await served.said("Disconnected from");
    expect(served.agent.stderr).not.toContain("BUG");
    const next = await served.attach();
    await next.begin([ownCalls()]);
    callGetppid(100);
    await next.client.until(() => next.reader.samples === 100, "100 samples");
    next.client.close();
  });

  test("OpenEvents written by hand is what it reads", () => {
    // events: {system "irq", name "x", cpus packed 1 2, thread_ids, part kernel}, ring_bytes 4096
    const event = [0x12, 3, 0x69, 0x72, 0x71, 0x1a, 1, 0x78, 0x3a, 2, 1, 2, 0x40, 1, 0x58, 2];
    const bytes = Uint8Array.of(0x0a, event.length, ...event, 0x10, 0x80, 0x20);
    expect(OpenEvents.decode(bytes)).toEqual({
      events: [
        eventRequest("irq", "x", { kind: 0, cpus: [1, 2], threadIds: true, callChainPart: 2 }),
      ],
      ringBytes: 4096,
      watermarkBytes: 0,
    });
  });
});
