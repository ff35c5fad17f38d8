/** Hello and Events frames of sets that were never opened: what a host needs, in small frames. */
import { describe, expect, test } from "bun:test";
import { buildHello, splitEvents } from "../../agent-guest/hello.ts";
import type { EventSet } from "../../shared/event/event_set.ts";
import type { MachineInfo } from "../../shared/event/machine.ts";
import type { ResolvedEvent } from "../../shared/event/resolve.ts";
import { parseEventSpecs } from "../../shared/event/spec.ts";
import { PERF_SAMPLE_IDENTIFIER, PERF_SAMPLE_TIME } from "../../shared/perf/sample_type.ts";
import { FRAME_PAYLOAD_BYTES_MAX, FrameType } from "../../shared/wire/frame.ts";
import { FrameWriter } from "../../shared/wire/frame_writer.ts";
import { ClockSource, EventKind } from "../../shared/wire/gen/vmspan/v1/channel.ts";
import { decodeMessage } from "../../shared/wire/message.ts";

const MACHINE: MachineInfo = {
  bootId: "5c0f6f6e-6d39-4a42-8d42-3c5a5d0ecb7e",
  hostname: "guest",
  kernelRelease: "6.1.0",
  architecture: "x86_64",
  clocksource: "kvm-clock",
  apicIds: new Map([[0, 4]]),
};

/** Stands for what a kernel does not take. */
function isRefused(filter: string): boolean {
  return filter.includes("+");
}

function fakeSet(texts: readonly string[], formatBytes: number, sampleType: number): EventSet {
  const events = texts.map((text, id) => {
    const spec = parseEventSpecs(text)[0]!;
    const probe = spec.probe && { definition: `p:vmspan_1/${spec.name}` };
    const { system, name } = spec;
    return { specIndex: id, spec, system, name, id, formatText: "x".repeat(formatBytes), probe };
  });
  return {
    events,
    sampleType,
    rings: [{ cpu: 0 }, { cpu: 7 }],
    options: { ringBytes: 1 << 20, watermarkBytes: 1 << 18 },
    clock: { source: "fitted", clockId: 4 },
    identifiers: (index: number) => [BigInt(index * 2), BigInt(index * 2 + 1)],
    kernelFilter: ({ spec }: ResolvedEvent) => (isRefused(spec.filter) ? "" : spec.filter),
    refusal: ({ spec: { filter } }: ResolvedEvent) =>
      isRefused(filter)
        ? { filter, kernel: { reason: "Invalid operator", position: 1 } }
        : undefined,
  } as unknown as EventSet;
}

describe("splitEvents", () => {
  test("splitEvents() describes events as the user asked for them", () => {
    const texts = ["irq:irq_handler_entry/irq==3/alias=handler/", 'uretprobe:f@"/bin/x"'];
    const [group, ...more] = splitEvents(fakeSet(texts, 10, PERF_SAMPLE_TIME), false);
    expect(more).toEqual([]);
    expect(group).toMatchObject([
      {
        index: 0,
        system: "irq",
        name: "irq_handler_entry",
        alias: "handler",
        filter: "irq==3",
        ids: [],
        sampleType: BigInt(PERF_SAMPLE_TIME),
        sampleIdAll: true,
        kind: EventKind.TRACEPOINT,
        definition: "",
      },
      { index: 1, kind: EventKind.URETPROBE, definition: "p:vmspan_1/f" },
    ]);
    expect(new TextDecoder().decode(group![0]!.format)).toBe("xxxxxxxxxx");
  });

  test("splitEvents() says which filter the kernel applies, and which it refused", () => {
    const [group] = splitEvents(fakeSet(["a:b/x==1/", "a:c/x+1==2/"], 10, PERF_SAMPLE_TIME), false);
    expect(group).toMatchObject([
      { filter: "x==1", refusedFilter: "" },
      {
        filter: "",
        refusedFilter: "x+1==2",
        refusedReason: "Invalid operator",
        refusedPosition: 1,
      },
    ]);
  });

  test("splitEvents() gives identifiers where samples carry them", () => {
    const sampleType = PERF_SAMPLE_TIME | PERF_SAMPLE_IDENTIFIER;
    const [group] = splitEvents(fakeSet(["a:b", "a:b"], 10, sampleType), false);
    expect(group!.map(({ ids }) => ids)).toEqual([
      [0n, 1n],
      [2n, 3n],
    ]);
  });

  test("splitEvents() makes groups that each fit into a frame, and loses none", () => {
    const texts = Array.from({ length: 300 }, (_, i) => `a:event_${i}`);
    const groups = splitEvents(fakeSet(texts, 10_000, PERF_SAMPLE_TIME), false);
    expect(groups.length).toBeGreaterThan(1);
    expect(groups.flat().map(({ index }) => index)).toEqual(texts.map((_, i) => i));
    const writer = new FrameWriter();
    for (const events of groups) {
      const frame = writer.encode(FrameType.EVENTS, { events }, 0);
      expect(frame.length).toBeLessThan(FRAME_PAYLOAD_BYTES_MAX * 0.75);
    }
  });
});

describe("buildHello", () => {
  test("buildHello() survives the wire, with what the machine says of itself", () => {
    const set = fakeSet(["a:b"], 10, PERF_SAMPLE_TIME);
    const hello = buildHello(set, MACHINE, {
      streamNonce: 5n,
      attachNonce: 6n,
      agentVersion: "1.0",
      isTscDisplay: true,
      isServing: false,
      isTwoWay: true,
      events: splitEvents(set, false)[0]!,
      start: Float64Array.of(4096, 2 ** 40),
    });
    const frame = new FrameWriter().encode(FrameType.HELLO, hello, 0);
    const decoded = decodeMessage(FrameType.HELLO, frame, 16, frame.length);
    expect(decoded).toMatchObject({
      streamNonce: 5n,
      attachNonce: 6n,
      bootId: MACHINE.bootId,
      hostname: "guest",
      machine: "x86_64",
      // CPU 7 has no APIC id here: that is not the same as 0.
      cpus: [{ cpu: 0, apicId: 4 }, { cpu: 7 }],
      clock: { source: ClockSource.FITTED, clockId: 4, clocksource: "kvm-clock" },
      eventCount: 1,
      tscDisplay: true,
      twoWay: true,
      pageBytes: 4096,
      ringBytes: 1 << 20,
      watermarkBytes: 1 << 18,
      start: [
        { cpu: 0, position: 4096n },
        { cpu: 7, position: 1n << 40n },
      ],
    });
    expect(decoded.cpus[1]!.apicId).toBeUndefined();
  });
});
